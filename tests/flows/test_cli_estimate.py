"""`sentinel estimate`: slices of one's own files by a trained estimator, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy.profile import FEATURES, profile
from entropy.trace import Ragged
from estimators.intervals import estimate_slices
from tasks.tracking.estimator import TrainedEstimator
from tests.flows.files import key, parquet
from tests.tasks.tracked import joined

K = 3


@pytest.fixture
def trained(tmp_path: Path) -> TrainedEstimator:
    estimator = TrainedEstimator.of(joined("m"), {"judge": "rules", "top_k": str(K)})
    estimator.save(tmp_path / "estimator")
    return estimator


def profiles(*slices: str, seed: int = 3) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {**key(n, name), "n_tokens": 4, **dict(zip(FEATURES, rng.random(11).tolist(), strict=True))}
        for name in slices
        for n in range(12)
    ]


def test_slices_of_profiles_are_those_of_the_intervals(sentinel, trained, tmp_path) -> None:
    rows = profiles("x", "y")
    path, out = parquet(tmp_path / "p.parquet", rows[::-1]), tmp_path / "o.parquet"
    words = ("estimate", "--profiles", path, "--estimator", tmp_path / "estimator")
    ran = sentinel(*words, "--level", 0.8, "-o", out, "--json")
    assert ran.status == 0, ran.err
    document = json.loads(ran.out)
    assert (document["model"], document["level"], document["without_tokens"]) == ("m", 0.8, 0)
    assert document["trained_on"] == {"judge": "rules", "top_k": str(K)}
    X = np.array([[row[name] for name in FEATURES] for row in rows])
    columns = [FEATURES.index(name) for name in trained.training.features]
    expected = estimate_slices(trained.training, X[:, columns], np.repeat([0, 1], 12), 0.8)
    for row, name, one in zip(document["slices"], "xy", expected, strict=True):
        assert (row["benchmark"], row["n"]) == (name, 12)
        assert [row[c] for c in ("estimate", "low", "high")] == pytest.approx(
            [one.estimate, one.low, one.high]
        )
    written = pq.read_table(out).to_pandas()
    pd.testing.assert_frame_equal(
        written, pd.DataFrame(document["slices"]).assign(level=0.8), check_dtype=False
    )
    shown = sentinel(*words)
    assert shown.status == 0
    assert "90% intervals; trained on labelled responses of m" in " ".join(shown.out.split())
    assert f"{document['slices'][0]['estimate']:.3f}" in shown.out


def test_traces_are_read_over_the_estimators_own_k(sentinel, trained, tmp_path) -> None:
    """Five candidates a token were kept, the estimator knows three."""
    rng = np.random.default_rng(0)
    rows, entropies = [], []
    for n in range(6):
        p = -np.sort(-rng.dirichlet(np.ones(6), size=4), axis=1)[:, :5]
        rows.append({**key(n, "x"), "top_logprobs": np.log(p).ravel().tolist(), "k": 5})
        entropies.append(-(p[:, :K] * np.log(p[:, :K])).sum(axis=1))
    X = profile(Ragged(np.concatenate(entropies), np.arange(7) * 4))
    path = parquet(tmp_path / "t.parquet", [*rows, {**key(9, "x"), "top_logprobs": [], "k": 5}])
    words = ("estimate", "--traces", path, "--estimator", tmp_path / "estimator")
    ran = sentinel(*words, "--json")
    assert ran.status == 0, ran.err
    (row,) = json.loads(ran.out)["slices"]
    expected = estimate_slices(trained.training, X, np.zeros(6, dtype=np.int64))[0]
    assert row["estimate"] == pytest.approx(expected.estimate)
    assert row["n"] == 6
    assert "1 responses without tokens do not count" in sentinel(*words).err
    # The registered model reads them the same way.
    frame = pd.DataFrame(rows)[["top_logprobs", "k"]]
    assert trained.estimate(frame)["slice_accuracy"][0] == pytest.approx(expected.estimate)


def changed(rows: list[dict], number: int, **values: object) -> list[dict]:
    return [row | values if n == number else row for n, row in enumerate(rows)]


REFUSED = {
    "no statistic": ([{k: v for k, v in r.items() if k != "q25"} for r in profiles("x")], "`q25`"),
    "NaN": (changed(profiles("x"), 7, max=float("nan")), "row 7 (x / 7): max is nan"),
    "infinite": (changed(profiles("x"), 3, sum=float("inf")), "row 3 (x / 3): sum is inf"),
    "the same row twice": ([*profiles("x"), profiles("x")[4]], "item_id '4' stands on rows 4 and"),
    "no tokens": (
        [*profiles("x"), *(r | {"n_tokens": 0} for r in profiles("y"))],
        "no response of y has tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_refuses_profiles_with(refused, trained, tmp_path, kind: str) -> None:
    rows, words = REFUSED[kind]
    path = parquet(tmp_path / "p.parquet", rows)
    told = refused("estimate", "--profiles", path, "--estimator", tmp_path / "estimator")
    assert str(path) in told
    assert words in told


def test_it_refuses_files_and_options(refused, trained, tmp_path) -> None:
    good, where = parquet(tmp_path / "p.parquet", profiles("x")), tmp_path / "estimator"
    empty = parquet(tmp_path / "e.parquet", pa.table({"benchmark": [], "item_id": []}))
    assert "e.parquet holds no rows" in refused(
        "estimate", "--profiles", empty, "--estimator", where
    )
    few = parquet(tmp_path / "t.parquet", [{**key(0), "top_logprobs": [-1.0, -2.0], "k": 2}])
    told = refused("estimate", "--traces", few, "--estimator", where)
    assert "2 log-probabilities a token, 3 are expected" in told
    assert "neither or both" in refused("estimate", "--estimator", where)
    assert "is no folder" in refused("estimate", "--profiles", good, "--estimator", tmp_path / "no")
    (tmp_path / "bare").mkdir()
    told = refused("estimate", "--profiles", good, "--estimator", tmp_path / "bare")
    assert "holds no estimator of this version" in told
    told = refused("estimate", "--profiles", good, "--estimator", where, "--level", 1)
    assert "--level 1 is no probability" in told


@pytest.mark.slow
def test_a_registered_estimator_by_its_alias(sentinel, trained, tmp_path, monkeypatch) -> None:
    from tasks.tracking.registry import register
    from tasks.tracking.runs import Runs, connect, experiment_id

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("SENTINEL_ROOT", str(tmp_path / "root"))
    client = connect(uri)
    register(Runs(client, experiment_id(client, "e", (tmp_path / "a").as_uri())), "e-m", trained)
    path = parquet(tmp_path / "p.parquet", profiles("x"))
    found = [
        sentinel("estimate", "--profiles", path, "--estimator", where, "--json").out
        for where in (
            "models:/e-m@champion",
            "models:/e-m/1",
            "models:/e-m",
            tmp_path / "estimator",
        )
    ]
    assert len(set(found)) == 1
    assert json.loads(found[0])["slices"][0]["n"] == 12
    ran = sentinel("estimate", "--profiles", path, "--estimator", "models:/nobody@champion")
    assert ran.status == 2
    assert "no registered estimator nobody@champion\n  -> registered are: e-m" in ran.err
