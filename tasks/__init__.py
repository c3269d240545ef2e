"""The hands: files, engines, judges, Ray and MLflow. Flows call them; the ground floor does not.

The rooms, in the order of a run:

what to run
    ``conf`` (YAML into frozen sections), ``questions`` and ``benchmarks`` (the items), ``jobs``
    (model x benchmark, and where its artefacts lie), ``validation``, ``plan`` and ``reasons`` (what
    is missing and why), ``added`` and ``commits`` (models that are new)
answers
    ``generate``, ``claims`` (the line that runs share), ``engines`` (vLLM and endpoints),
    ``endpoint`` (one chat API: key, limits, failures)
what they are worth
    ``judge`` and ``judging`` (rules and models), ``verdicts``, ``agreement``, ``audit`` (by a
    person)
what is learned from them
    ``traces`` and ``profile`` (statistics), ``features`` (joined with labels), ``sweep``,
    ``transfer``, ``sensitivity``, ``pieces`` (their fan-out over Ray)
what people see
    ``compared`` and ``shared`` (what can stand side by side), ``summary``, ``sweep_table``,
    ``figures``, ``results``, ``report``, ``answers`` (what it says), and in MLflow ``track``,
    ``runs``, ``labels``, ``registry``, ``estimator``, ``served``, ``estimates``
where it happens
    ``workspace`` (root, state, environment), ``store`` and ``keys`` (addressed parts), ``tables``
    and ``records`` (files and rows), ``cluster`` and ``room`` (Ray), ``servers`` and ``worker``
    (one host), ``versions``, ``errors`` and ``problems``
"""
