"""An event that names no model or experiment starts a run that says so; Prefect renders."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.server.events.actions import RunDeployment
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.utilities.schema_tools.validation import validate

from flows.deploy import _added_model_runs
from flows.events import model_added
from flows.experiment import experiment
from flows.forms import forms
from tasks.conf.choices import Choices
from tasks.errors import SentinelError

EXPERIMENT = "conf/experiments/demo.yaml"


def rendered(payload: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of the run that the automation's action starts."""
    (action,) = _added_model_runs(uuid4()).actions
    served = RunDeployment.model_validate(action.model_dump())
    event = ReceivedEvent.model_validate(model_added("m", EXPERIMENT) | {"payload": payload})

    async def context(*_: object) -> dict[str, Any]:
        return {"event": event}

    monkeypatch.setattr(RunDeployment, "_template_context", context)
    triggered = SimpleNamespace(triggering_event=event, triggered=datetime.now(UTC))
    return asyncio.run(served.render_parameters(triggered))


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As within a run that a deployment started, in the repository."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))


def test_what_the_event_names_becomes_parameters(monkeypatch) -> None:
    payload = model_added("m", EXPERIMENT)["payload"]
    assert rendered(payload, monkeypatch) == {"path": EXPERIMENT, "models": ["m"]}


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({}, "no experiment is named"),
        ({"experiment": None, "model": None}, "no experiment is named"),
        ({"model": "smollm2-135m-instruct"}, "no experiment is named"),
        ({"experiment": EXPERIMENT}, "model '' is unknown"),
        ({"experiment": EXPERIMENT, "model": None}, "model '' is unknown"),
    ],
)
def test_what_it_does_not_name_is_told_by_the_run(
    deployed, monkeypatch, payload: dict[str, Any], told: str
) -> None:
    parameters = rendered(payload, monkeypatch)
    validate(parameters, forms(Choices.of(Path("conf")))["added-model"], raise_on_error=True)
    with pytest.raises(SentinelError, match=told):
        experiment.fn(**parameters)
