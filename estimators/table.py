"""The feature table of one model: one scored response a row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features and correctness of every scored response of one model.

    Parameters
    ----------
    model : str
        Name of the model that wrote the responses.
    benchmarks : tuple of str
        Sorted benchmark names, without duplicates; each has at least one row.
    features : tuple of str
        Names of the columns of `X`, without duplicates.
    X : ndarray of shape (n, d), float64
        Finite feature values; entropies are in nats.
    y : ndarray of shape (n,), float64
        1 for a correct response, 0 for an incorrect one. Unscorable responses are no rows.
    group : ndarray of shape (n,), int
        Index of each row's benchmark in `benchmarks`.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, a label is neither 0 nor 1, a benchmark has no
        row, or names are unsorted or repeated. The message names the benchmark, feature and row.
    """

    model: str
    benchmarks: tuple[str, ...]
    features: tuple[str, ...]
    X: FloatArray
    y: FloatArray
    group: IntArray

    def __post_init__(self) -> None:
        """Normalise dtypes, then refuse a table that no estimator could be trusted on."""
        object.__setattr__(self, "X", np.asarray(self.X, dtype=np.float64))
        object.__setattr__(self, "y", np.asarray(self.y, dtype=np.float64))
        object.__setattr__(self, "group", np.asarray(self.group, dtype=np.int64))
        self._check_names()
        self._check_shapes()
        self._check_values()

    def _check_names(self) -> None:
        for what, names in (("benchmark", self.benchmarks), ("feature", self.features)):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{self.model}: duplicate {what} names: {', '.join(repeated)}")
        if list(self.benchmarks) != sorted(self.benchmarks):
            raise ValueError(f"{self.model}: benchmarks must be sorted, got {self.benchmarks}")

    def _check_shapes(self) -> None:
        n = len(self.y)
        expected = {"X": (n, len(self.features)), "y": (n,), "group": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{self.model}: {name} has shape {getattr(self, name).shape}, expected {shape}"
                )
        if n and not (self.group.min() >= 0 and self.group.max() < len(self.benchmarks)):
            raise ValueError(
                f"{self.model}: group must index the {len(self.benchmarks)} benchmarks, "
                f"got {self.group.min()} to {self.group.max()}"
            )
        rows = np.bincount(self.group, minlength=len(self.benchmarks))
        empty = [name for name, count in zip(self.benchmarks, rows, strict=True) if count == 0]
        if empty:
            raise ValueError(f"{self.model}: no scored response in {', '.join(empty)}")

    def _check_values(self) -> None:
        for row, column in np.argwhere(~np.isfinite(self.X))[:1]:
            raise ValueError(
                f"{self.model}: {self.features[column]} of {self._benchmark(row)} "
                f"is {self.X[row, column]} at row {row}"
            )
        for row in np.flatnonzero((self.y != 0) & (self.y != 1))[:1]:
            raise ValueError(
                f"{self.model}: label of {self._benchmark(row)} is {self.y[row]} at row {row}, "
                "expected 0 or 1"
            )

    def _benchmark(self, row: int) -> str:
        return self.benchmarks[self.group[row]]

    def indices(self, names: Sequence[str]) -> IntArray:
        """Return the index of each benchmark name.

        Raises
        ------
        ValueError
            If a name is not a benchmark of the table.
        """
        return self._positions("benchmark", self.benchmarks, names)

    def columns(self, names: Sequence[str]) -> IntArray:
        """Return the column index of each feature name.

        Raises
        ------
        ValueError
            If a name is not a feature of the table.
        """
        return self._positions("feature", self.features, names)

    def _positions(self, what: str, known: tuple[str, ...], names: Sequence[str]) -> IntArray:
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"{self.model}: no {what} {', '.join(missing)}; the table has {', '.join(known)}"
            )
        return np.array([known.index(name) for name in names], dtype=np.int64)
