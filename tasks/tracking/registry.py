"""The registered estimators: an MLflow model by experiment and language model, a version a content.

The files of a version are artifacts of a run of its own (kind ``training``), which no later sweep
replaces. Only drivers write here; several may register the same content at the same moment, and
one version is left: the one with the lowest number, which MLflow gives out one after the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, DataType

from estimators.config import DEFAULT
from tasks.errors import SentinelError
from tasks.tracking.estimator import ABOUT, OUTPUT, TrainedEstimator
from tasks.tracking.runs import Runs, Wanted, connect, was_faster
from tasks.tracking.told import public, told

#: Alias of the version in use.
CHAMPION = "champion"
_CONTENT = "sentinel.content"
_FOLDER = "estimator"

# Looking again where another process was faster.
_ATTEMPTS = 10


def register(runs: Runs, name: str, estimator: TrainedEstimator) -> str:
    """Register ``estimator`` as ``name`` and make it the champion if it is new; its version.

    A version with this content is found and not doubled. The alias moves when the content is
    another one than at the last call; in between it stays where people have put it.

    Raises
    ------
    SentinelError
        If other processes keep changing the model.
    """
    for _ in range(_ATTEMPTS):
        try:
            number = _register(runs, name, estimator)
        except MlflowException as error:
            if not was_faster(error):
                raise
        else:
            if number is not None:
                return number
    raise SentinelError(
        f"MLflow: the registered model {name} was changed by others again and again",
        "run it again when no other run of this experiment is ending",
    )


def _register(runs: Runs, name: str, estimator: TrainedEstimator) -> str | None:
    """Register once; ``None`` where the version was deleted under its hands."""
    client, content = runs.client, estimator.digest
    model = _model(client, name, estimator)
    found = _oldest(runs, name, content)
    last = model.tags.get(_CONTENT)
    if found is not None and last == content and CHAMPION in model.aliases:
        return str(found.version)
    if found is None:
        run = runs.single(_training(name, estimator))
        client.create_model_version(
            name,
            RunsArtifactRepository.get_underlying_uri(
                f"runs:/{run.info.run_id}/{_FOLDER}", client.tracking_uri
            ),
            run_id=run.info.run_id,
            tags={_CONTENT: content, "rows": str(len(estimator.training.y))},
            description=estimator.describe(),
        )
        found = _oldest(runs, name, content)
    if found is None:
        return None
    number = str(found.version)
    client.set_registered_model_alias(name, CHAMPION, number)
    client.update_registered_model(name, estimator.describe())
    # Last, so that an interrupted call is done anew.
    client.set_registered_model_tag(name, _CONTENT, content)
    return number


def load_registered(uri: str, name: str, alias: str = CHAMPION) -> TrainedEstimator:
    """The registered estimator in use, read as plain files: no code of the artifact runs.

    Parameters
    ----------
    uri : str
        MLflow server or database.
    name : str
        Of the registered model.
    alias : str
        An alias, or the number of a version.

    Raises
    ------
    SentinelError
        If MLflow cannot be reached, there is no such model or version, or its files are not an
        estimator's.
    """
    try:
        client = connect(uri)
        with _known(client, name, alias):
            found = (
                client.get_model_version(name, alias)
                if alias.isdigit()
                else client.get_model_version_by_alias(name, alias)
            )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(
                mlflow.artifacts.download_artifacts(
                    found.source, dst_path=scratch, tracking_uri=uri
                )
            )
            return TrainedEstimator.load(next(folder.rglob(ABOUT), folder / ABOUT).parent)
    except (MlflowException, OSError, ImportError) as error:
        raise SentinelError(
            f"the registered estimator {name}@{alias} cannot be read from MLflow at {public(uri)}: "
            f"{told(uri, error)}",
            "check MLFLOW_TRACKING_URI, and whether its artifacts were deleted",
        ) from None


@contextmanager
def _known(client: MlflowClient, name: str, alias: str) -> Iterator[None]:
    """Tell what is registered where a name or alias is not."""
    try:
        yield
    except MlflowException as error:
        # Not found is answered in more than one way; a server that is away, in none of them.
        if "not found" not in str(error):
            raise
        known = ", ".join(m.name for m in client.search_registered_models()) or "none"
        raise SentinelError(
            f"no registered estimator {name}@{alias}", f"registered are: {known}"
        ) from None


def _model(
    client: MlflowClient, name: str, estimator: TrainedEstimator
) -> mlflow.entities.model_registry.RegisteredModel:
    """The registered model of this name, created if there is none."""
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if not was_faster(error):
            raise
    try:
        return client.create_registered_model(name, {"sentinel.model": estimator.training.model})
    except MlflowException as error:
        # Another process was faster.
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
        return client.get_registered_model(name)


def _oldest(runs: Runs, name: str, content: str) -> ModelVersion | None:
    """The first version with this content; later ones, which raced it, are deleted."""
    versions = runs.client.search_model_versions(f"name = '{name}'")
    same = sorted(
        (v for v in versions if v.tags.get(_CONTENT) == content), key=lambda v: int(v.version)
    )
    for later in same[1:]:
        try:
            runs.client.delete_model_version(name, later.version)
        except MlflowException as error:
            if not was_faster(error):
                raise
        if later.run_id and later.run_id != same[0].run_id:
            runs.discard(later.run_id)
    return same[0] if same else None


def _training(name: str, estimator: TrainedEstimator) -> Wanted:
    """The run that holds the files of a version, and says what it was trained on."""
    t = estimator.training

    def files(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            _save(estimator, Path(scratch))
            (Path(scratch) / "model").rename(folder / _FOLDER)

    return Wanted(
        identity={"kind": "training", "estimator": estimator.digest, "registered": name},
        name=f"estimator of {t.model}",
        tags={"model": t.model, "estimator": DEFAULT.name, "registered": name}
        | {key: str(value) for key, value in estimator.about.items()},
        metrics=[("rows", float(len(t.y)), 0), ("accuracy", float(t.y.mean()), 0)],
        note=estimator.describe(),
        files=files,
        seen=estimator.digest,
    )


def signature() -> ModelSignature:
    """What a registered estimator takes and gives."""
    numbers = Array(DataType.double)
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "slice", required=False),
        ColSpec(numbers, "entropy", required=False),
        ColSpec(numbers, "top_logprobs", required=False),
        ColSpec(DataType.long, "k", required=False),
        *(ColSpec(DataType.double, n, required=False) for n in DEFAULT.features),
    ]
    kinds = (DataType.string, *[DataType.double] * 4, DataType.long)
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name) for kind, name in zip(kinds, OUTPUT, strict=True)
    ]
    level = ParamSchema([ParamSpec("level", DataType.double, 0.9)])
    return ModelSignature(Schema(inputs), Schema(outputs), level)


def example() -> pd.DataFrame:
    """Three traces of two slices: entropies in nats, one a token."""
    entropy = [[0.1, 0.7, 0.02], [1.9, 0.4], [0.3, 0.0, 0.0, 1.1]]
    return pd.DataFrame({"slice": ["support", "support", "billing"], "entropy": entropy})


def _save(estimator: TrainedEstimator, scratch: Path) -> None:
    estimator.save(scratch / "data")
    mlflow.pyfunc.save_model(
        scratch / "model",
        loader_module="tasks.tracking.served",
        data_path=str(scratch / "data"),
        signature=signature(),
        input_example=example(),
        pip_requirements=[f"entropy-sentinel=={version('entropy-sentinel')}"],
        metadata=estimator.about | {"content": estimator.digest},
    )
