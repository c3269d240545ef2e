"""The classifiers of the sweep, compiled and sharing whatever the configurations share.

Same statistics as ``estimators.calibration``, which is the readable reference and the oracle of
the tests. Random draws are scikit-learn's own, so most fits agree one by one. Divisions follow
NumPy (``error_model``): the check for zero that Python's need keeps loops from being vectorised.

Compiled code is cached beside the sources. numba renews a cached function when its own file
changes, not when a function it calls in another file does: after editing a module here, delete
``estimators/fast/__pycache__``.
"""
