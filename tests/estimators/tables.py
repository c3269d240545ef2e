"""Feature tables that tests and benchmarks share."""

import os
from pathlib import Path

import numpy as np

from entropy.profile import FEATURES
from estimators.table import FeatureTable

ROOT = Path(__file__).parents[2]
TRACES = (
    Path(os.environ.get("SENTINEL_SHARED", ROOT.parent / "shared"))
    / "data"
    / "traces"
    / "qwen2.5-coder-0.5b-instruct"
)


def synthetic(n_benchmarks: int = 5, n: int = 160, seed: int = 0) -> FeatureTable:
    """Benchmarks of graded difficulty, whose entropy statistics follow a latent difficulty."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_benchmarks), n)
    latent = np.linspace(-2.0, 2.0, n_benchmarks)[group] + rng.normal(size=group.size)
    y = (rng.random(group.size) < 1 / (1 + np.exp(2 * latent))).astype(float)
    slope = rng.normal(1.0, 0.2, len(FEATURES))
    X = np.exp((latent[:, None] * slope + rng.normal(size=(group.size, len(FEATURES)))) / 2)
    names = tuple(f"bench{i:02d}" for i in range(n_benchmarks))
    return FeatureTable("synthetic", names, FEATURES, X, y, group)


def shared() -> FeatureTable:
    """Return the nine real benchmarks of the shared traces."""
    import pyarrow.parquet as pq

    key = ["benchmark", "item_id"]
    traces = pq.read_table(TRACES / "traces.parquet", columns=[*key, "entropy"])
    labels = pq.read_table(TRACES / "labels.parquet", columns=[*key, "correct"])
    joined = traces.to_pandas().merge(labels.to_pandas(), on=key, validate="one_to_one")
    joined = joined[~joined.benchmark.str.startswith("rg_") & (joined.entropy.map(len) > 1)]
    names = tuple(sorted(joined.benchmark.unique()))
    return FeatureTable(
        "qwen2.5-coder-0.5b",
        names,
        FEATURES,
        np.array([_statistics(np.asarray(e, dtype=float)) for e in joined.entropy]),
        joined.correct.to_numpy(float),
        joined.benchmark.map(names.index).to_numpy(),
    )


def _statistics(entropy: np.ndarray) -> list[float]:
    """Definitions of arXiv 2601.09001 v1, one response at a time."""
    centred, std = entropy - entropy.mean(), entropy.std(ddof=1)
    return [
        entropy.mean(),
        std,
        entropy.max(),
        *np.quantile(entropy, [0.1, 0.25, 0.5, 0.75, 0.9]),
        np.mean(centred**3) / (std**3 + 1e-8),
        np.mean(centred**4) / (std**4 + 1e-8),
        entropy.sum(),
    ]
