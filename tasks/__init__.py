"""The hands: files, engines, judges, Ray and MLflow. Flows call them; the ground floor does not.

The rooms, in the order of a run:

what to run
    ``conf`` (YAML into frozen sections), ``benchmarks`` (the items), ``jobs`` (model x benchmark,
    and where its artefacts lie), ``validation``, ``planning`` (what is missing and why, new models)
answers
    ``generation`` (the line of batches that runs share), ``engines`` (vLLM and endpoints),
    ``endpoint`` (one chat API: key, limits, failures)
what they are worth
    ``judging`` (rules and models), ``verdicts`` (stored beside the answers), ``audit`` (by people)
what is learned from them
    ``signals`` (statistics of a trace, joined with labels), ``sweeps``, ``sensitivity``
what people see
    ``report``, ``answers`` (what it says), ``tracking`` (runs and estimators in MLflow)
where it happens
    ``storage`` (addressed parts), ``tables`` and ``records`` (files and rows), ``cluster`` (Ray),
    ``host`` (workspace, servers, worker), ``errors`` and ``problems``
"""
