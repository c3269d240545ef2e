"""The registered estimator: plain files, the numbers of the sweep, versions by content."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from entropy.profile import FEATURES, profile
from entropy.trace import Ragged
from estimators.config import DEFAULT
from estimators.intervals import estimate_slices
from estimators.table import FeatureTable
from tasks.errors import SentinelError
from tasks.signals.features import Joined
from tasks.tracking.estimator import OUTPUT, TrainedEstimator
from tasks.tracking.registry import example, load_registered, register
from tasks.tracking.runs import Runs, connect, experiment_id

ABOUT = {"experiment": "e", "judge": "rules"}


def joined(seed: int = 0, model: str = "m") -> Joined:
    rng = np.random.default_rng(seed)
    X = rng.random((90, len(FEATURES) + 1))
    y = (X[:, 2] + rng.normal(0, 0.2, 90) < 0.5).astype(float)
    return Joined(
        FeatureTable(model, ("a", "b", "c"), (*FEATURES, "n_tokens"), X, y, np.arange(90) % 3), ()
    )


@pytest.fixture
def trained() -> TrainedEstimator:
    return TrainedEstimator.of(joined(), ABOUT)


def rows(n: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.random((n, len(FEATURES))), columns=list(FEATURES))
    return frame.assign(slice=["x", "y", "y"] * (n // 3))


def test_estimates_are_those_of_the_intervals(trained: TrainedEstimator) -> None:
    found = trained.estimate(rows(), level=0.8)
    assert tuple(found.columns) == OUTPUT
    X = rows()[list(DEFAULT.features)].to_numpy()
    slice_of = (rows()["slice"] == "y").to_numpy().astype(np.int64)
    for name, one in zip("xy", estimate_slices(trained.training, X, slice_of, 0.8), strict=True):
        part = found[found["slice"] == name]
        assert (part["slice_accuracy"] == one.estimate).all()
        assert (part["slice_low"] == one.low).all()
        assert (part["slice_high"] == one.high).all()
        assert (part["slice_responses"] == one.n).all()
        assert part["p_correct"].mean() == pytest.approx(one.estimate)


def test_traces_and_their_statistics_agree(trained: TrainedEstimator) -> None:
    rng = np.random.default_rng(1)
    traces = [rng.random(n).round(3).tolist() for n in (3, 1, 7, 5)]
    X = profile(Ragged(np.concatenate(traces), np.cumsum([0, *map(len, traces)])))
    by_trace = trained.estimate(pd.DataFrame({"entropy": traces}))
    by_number = trained.estimate(pd.DataFrame(X, columns=list(FEATURES)))
    pd.testing.assert_frame_equal(by_trace, by_number)
    assert set(by_trace["slice"]) == {"all"}


def test_a_response_without_tokens_does_not_count(trained: TrainedEstimator) -> None:
    found = trained.estimate(pd.DataFrame({"entropy": [[0.1, 0.2], []]}))
    assert np.isnan(found["p_correct"][1])
    assert found["slice_responses"].tolist() == [1, 1]


def test_what_cannot_be_estimated_is_told(trained: TrainedEstimator) -> None:
    with pytest.raises(SentinelError, match=r"slice empty holds no response with tokens"):
        trained.estimate(pd.DataFrame({"entropy": [[0.1], []], "slice": ["full", "empty"]}))
    with pytest.raises(SentinelError, match=r"no mean, std"):
        trained.estimate(pd.DataFrame({"text": ["a"]}))
    with pytest.raises(SentinelError, match="not finite"):
        trained.estimate(rows().assign(max=np.nan))


def test_training_answers_of_one_class_give_their_rate() -> None:
    table = joined().table
    right = FeatureTable(
        table.model, table.benchmarks, table.features, table.X, np.ones(90), table.group
    )
    found = TrainedEstimator.of(Joined(right, ()), ABOUT).estimate(rows())
    assert (found["p_correct"] == 1).all()
    assert (found[["slice_low", "slice_high"]].drop_duplicates().to_numpy() == [[0, 1]]).all()


def test_files_give_back_the_estimator_and_hold_no_pickle(
    trained: TrainedEstimator, tmp_path: Path
) -> None:
    trained.save(tmp_path)
    again = TrainedEstimator.load(tmp_path)
    assert again.digest == trained.digest
    assert again.about == ABOUT
    pd.testing.assert_frame_equal(again.estimate(rows()), trained.estimate(rows()))
    assert {p.name for p in tmp_path.iterdir()} == {"estimator.json", "training.parquet"}
    assert json.loads((tmp_path / "estimator.json").read_text())["model"] == "m"
    assert (tmp_path / "training.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize("damage", ["format", "column", "label", "missing", "cut"])
def test_damaged_files_are_refused(trained: TrainedEstimator, tmp_path: Path, damage: str) -> None:
    trained.save(tmp_path)
    about, table = tmp_path / "estimator.json", tmp_path / "training.parquet"
    frame = pd.read_parquet(table)
    if damage == "format":
        about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    elif damage == "column":
        frame.drop(columns="max").to_parquet(table)
    elif damage == "label":
        frame.assign(correct=2.0).to_parquet(table)
    elif damage == "missing":
        table.unlink()
    else:
        table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(SentinelError, match="holds no estimator of this version"):
        TrainedEstimator.load(tmp_path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("mlflow")
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    return Runs(client, experiment_id(client, "e", (folder / "art").as_uri()))


def versions(runs: Runs, name: str) -> list[int]:
    return sorted(int(v.version) for v in runs.client.search_model_versions(f"name = '{name}'"))


def champion(runs: Runs, name: str) -> int:
    return int(runs.client.get_model_version_by_alias(name, "champion").version)


@pytest.mark.slow
def test_versions_follow_the_content(runs: Runs, trained: TrainedEstimator) -> None:
    for _ in range(2):
        assert register(runs, "e-m", trained) == "1"
        assert champion(runs, "e-m") == 1
    other = TrainedEstimator.of(joined(seed=9), ABOUT)
    assert register(runs, "e-m", other) == "2"
    assert champion(runs, "e-m") == 2
    # Back to the first content: its version is in use again, and there is no third.
    assert register(runs, "e-m", trained) == "1"
    assert champion(runs, "e-m") == 1
    assert versions(runs, "e-m") == [1, 2]
    first = runs.client.get_model_version("e-m", "1")
    assert "| a | 30 |" in first.description
    run = runs.client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["sentinel.kind"] == "training"
    assert run.data.metrics["rows"] == 90
    assert len(runs.find({"registered": "e-m"})) == 2


@pytest.mark.slow
def test_a_rollback_stays_until_the_rows_change(runs: Runs, trained: TrainedEstimator) -> None:
    register(runs, "back", trained)
    register(runs, "back", TrainedEstimator.of(joined(seed=9), ABOUT))
    runs.client.set_registered_model_alias("back", "champion", "1")
    runs.client.set_registered_model_alias("back", "mine", "1")
    register(runs, "back", TrainedEstimator.of(joined(seed=9), ABOUT))
    assert champion(runs, "back") == 1
    register(runs, "back", TrainedEstimator.of(joined(seed=10), ABOUT))
    assert champion(runs, "back") == 3
    assert str(runs.client.get_model_version_by_alias("back", "mine").version) == "1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", ["create_model_version", "log_artifacts", "set_registered_model_tag"]
)
def test_an_interrupted_registration_is_completed(
    runs: Runs, trained: TrainedEstimator, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = f"cut-{step}"
    with monkeypatch.context() as cut:
        cut.setattr(MlflowClient, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            register(runs, name, trained)
    assert register(runs, name, trained) == "1"
    assert versions(runs, name) == [1]
    (run,) = runs.find({"registered": name})
    assert run.info.status == "FINISHED"
    assert load_registered(runs.client.tracking_uri, name).digest == trained.digest


@pytest.mark.slow
def test_of_versions_made_twice_at_one_moment_the_first_stays(
    runs: Runs, trained: TrainedEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process registers the same between the look and the creation."""
    create, raced = MlflowClient.create_model_version, []

    def late(client: MlflowClient, *words, **named):
        if not raced:
            raced.append(True)
            register(runs, "raced", trained)
        return create(client, *words, **named)

    monkeypatch.setattr(MlflowClient, "create_model_version", late)
    assert register(runs, "raced", trained) == "1"
    assert versions(runs, "raced") == [1]
    assert champion(runs, "raced") == 1
    assert len(runs.find({"registered": "raced"})) == 1


@pytest.mark.slow
def test_a_registered_estimator_is_read_without_its_code(
    runs: Runs, trained: TrainedEstimator
) -> None:
    uri = runs.client.tracking_uri
    register(runs, "read", trained)
    assert load_registered(uri, "read").digest == trained.digest
    assert load_registered(uri, "read", "1").digest == trained.digest
    for name, alias in (("nobody", "champion"), ("read", "absent"), ("read", "7")):
        with pytest.raises(
            SentinelError, match=f"(?s)no registered estimator {name}@{alias}.*read"
        ):
            load_registered(uri, name, alias)
    # The way of everybody else; what it reads are plain files as well.
    version = runs.client.get_model_version("read", "1")
    source = Path(version.source.removeprefix("file://"))
    kinds = {p.suffix for p in source.rglob("*") if p.is_file()}
    assert kinds <= {"", ".json", ".parquet", ".yaml", ".txt"}
    mlflow.set_tracking_uri(uri)
    served = mlflow.pyfunc.load_model("models:/read@champion")
    pd.testing.assert_frame_equal(
        served.predict(rows(), params={"level": 0.8}), trained.estimate(rows(), 0.8)
    )
    shown = served.predict(example())
    assert list(shown.columns) == [c.name for c in served.metadata.get_output_schema().inputs]
    assert shown["slice"].tolist() == ["support", "support", "billing"]
