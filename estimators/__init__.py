"""From features of a response to P(correct), and from P(correct) to the accuracy of a benchmark.

``table`` holds what is known, ``compositions`` what to train on, ``config`` which estimator,
``sweep`` evaluates them. Arrays in, rows out: no files, no cluster, no logging.
"""
