"""Registering the flows with a Prefect server: deployments, their forms, limits and automation.

Everything is found by name and updated, so it can be repeated at any time, and is to be repeated
when files are added to the conf folder: the forms offer what was there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import getdoc
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import RunDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError

from flows.again import rejudge, report, sweep
from flows.catch_up import catch_up
from flows.events import MODEL_ADDED, RESOURCE, START_IT, server
from flows.experiment import experiment
from flows.forms import forms
from flows.lost import lost_runs
from flows.slots import GPU_JOBS, JUDGE_JOBS
from tasks.conf.choices import Choices
from tasks.errors import EndpointError, SentinelError
from tasks.host.workspace import FAULTS

POOL = "sentinel"
NO_SCHEDULE = "none"
LIMITS = {GPU_JOBS: 8, JUDGE_JOBS: 4}
AUTOMATION = "run an added model"

#: Deployment of ``experiment`` that the automation starts. Its form takes any name: one that is
#: unknown fails as a run that says so, where a refused event would be seen by nobody.
ADDED_MODEL = "added-model"
_ADDED = (
    "Runs an experiment for a model that an event names. The automation starts it; to do so by "
    "hand use `experiment`, whose form offers choices."
)

_TAGS = {
    "experiment": ["sentinel", "generate", "sweep"],
    ADDED_MODEL: ["sentinel", "generate", "sweep", "event"],
    "rejudge": ["sentinel", "judge"],
    "sweep": ["sentinel", "sweep"],
    "report": ["sentinel", "report"],
    "catch-up": ["sentinel", "schedule"],
}

_FLOWS: dict[str, Flow[Any, Any]] = {
    f.name: f for f in (experiment, rejudge, sweep, report, catch_up)
}


@dataclass(frozen=True)
class Settings:
    """How the deployments are registered.

    Parameters
    ----------
    folder : Path
        Working folder of the runs, on the machine of the worker; holds ``conf``.
    pool : str
        Work pool, made as a pool of local processes if there is none of that name.
    schedule : str or None
        Cron line (UTC) of ``catch-up``, or :data:`NO_SCHEDULE`; ``None`` leaves it as it is.
    limits : mapping of name to int
        Jobs at once over all runs, of :mod:`flows.slots`. What is not given stays as it is; at
        first it is as :data:`LIMITS` says.
    """

    folder: Path
    pool: str = POOL
    schedule: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


def deploy(settings: Settings, choices: Choices) -> dict[str, str]:
    """Register everything, with forms that offer ``choices``; the id of each deployment by name.

    Raises
    ------
    SentinelError
        If the schedule is no cron line, or (an :class:`EndpointError`) the server does not answer
        or refuses something.
    """
    server()
    schemas = forms(choices)
    chosen = _schedules(settings.schedule)
    try:
        return asyncio.run(_deploy(settings, schemas, chosen))
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        raise EndpointError(
            f"the Prefect server did not take the deployments: {error}",
            START_IT,
        ) from None


def refresh_forms(choices: Choices) -> None:
    """Offer in the forms what the conf folder holds by now; all else of the deployments stays.

    Raises
    ------
    SentinelError
        As :func:`deploy`; also if there are no deployments yet.
    """
    server()
    schemas = forms(choices)
    try:
        asyncio.run(_refresh(schemas))
    except ObjectNotFound:
        raise EndpointError(
            "the Prefect server has no deployments", "run `sentinel deploy` or `sentinel ui` first"
        ) from None
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        raise EndpointError(
            f"the Prefect server did not take the forms: {error}",
            START_IT,
        ) from None


async def _refresh(schemas: Mapping[str, Any]) -> None:
    async with get_client() as client:
        for name, schema in schemas.items():
            found = await client.read_deployment_by_name(_full_name(name))
            update = DeploymentUpdate(parameter_openapi_schema=dict(schema))
            await client.update_deployment(found.id, update)


async def _deploy(
    settings: Settings,
    schemas: Mapping[str, Any],
    schedules: list[DeploymentScheduleCreate] | None,
) -> dict[str, str]:
    async with get_client() as client:
        # Made before, or by a cluster's own set-up with another type.
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=settings.pool, type="process"))
        for name, limit in settings.limits.items():
            await client.upsert_global_concurrency_limit_by_name(name, limit)
        for name in LIMITS.keys() - settings.limits.keys():
            try:
                await client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                await client.upsert_global_concurrency_limit_by_name(name, LIMITS[name])
        if schedules is None:
            schedules = await _schedules_of(client, catch_up.name)
        ids = {}
        for name, schema in schemas.items():
            times = schedules if name == catch_up.name else []
            ids[name] = await _register(client, name, schema, settings, times)
        await _keep(client, _added_model_runs(ids[ADDED_MODEL]))
        await _keep(client, lost_runs(_FLOWS))
        return {name: str(found) for name, found in ids.items()}


def _full_name(deployment: str) -> str:
    return f"{_flow(deployment).name}/{deployment}"


def _flow(deployment: str) -> Flow[Any, Any]:
    return experiment if deployment == ADDED_MODEL else _FLOWS[deployment]


def description(flow: Flow[Any, Any]) -> str:
    """What a flow does, for people: its docstring without the sections for developers."""
    text = getdoc(flow.fn) or ""
    return re.split(r"^\w+\n-+$", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


async def _register(
    client: PrefectClient,
    name: str,
    schema: Mapping[str, Any],
    settings: Settings,
    schedules: list[DeploymentScheduleCreate],
) -> UUID:
    flow = _flow(name)
    return await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=name,
        description=_ADDED if name == ADDED_MODEL else description(flow),
        tags=_TAGS[name],
        entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
        pull_steps=[
            {"prefect.deployments.steps.set_working_directory": {"directory": str(settings.folder)}}
        ],
        work_pool_name=settings.pool,
        job_variables={"env": FAULTS},
        parameter_openapi_schema=dict(schema),
        enforce_parameter_schema=True,
        # Two runs of one flow would start the same engines twice; the second waits in the pool.
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        schedules=schedules,
    )


def _schedules(cron: str | None) -> list[DeploymentScheduleCreate] | None:
    """What ``--schedule`` asks for; None where it asks for nothing."""
    if cron is None or cron == NO_SCHEDULE:
        return None if cron is None else []
    try:
        return [DeploymentScheduleCreate(schedule=CronSchedule(cron=cron), active=True)]
    except ValueError:
        raise SentinelError(
            f"the schedule {cron!r} is no cron line",
            f"give minute, hour, day, month and weekday, as '0 3 * * *', or {NO_SCHEDULE}",
        ) from None


async def _schedules_of(client: PrefectClient, name: str) -> list[DeploymentScheduleCreate]:
    """The schedules that a deployment has; registering it anew would drop them."""
    try:
        found = await client.read_deployment_by_name(_full_name(name))
    except ObjectNotFound:
        return []
    return [DeploymentScheduleCreate(schedule=s.schedule, active=s.active) for s in found.schedules]


def _added_model_runs(deployment: UUID) -> AutomationCore:
    """An added model starts the run of that model; its comparison takes in all the others."""
    return AutomationCore(
        name=AUTOMATION,
        description="Runs `experiment` with the model and experiment that the event names.",
        trigger=EventTrigger(
            expect={MODEL_ADDED},
            match={"prefect.resource.id": f"{RESOURCE}.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            RunDeployment(
                source="selected",
                job_variables=None,
                deployment_id=deployment,
                parameters={
                    "path": _from_event("experiment"),
                    "models": [_from_event("model")],
                },
            )
        ],
    )


async def _keep(client: PrefectClient, automation: AutomationCore) -> None:
    """Create the automation, or update the one of its name where that is another.

    Over SQLite, a server that writes an automation just while it reads them waits for itself for
    ever (Prefect issue 23055).
    """
    found = await client.read_automations_by_name(automation.name)
    # A request that was sent again as its answer was late has made it twice.
    for twin in found[1:]:
        await client.delete_automation(twin.id)
    if found:
        # One that somebody has paused in the pages stays so.
        automation = automation.model_copy(update={"enabled": found[0].enabled})
    if found and _content(found[0]) == _content(automation):
        return
    if found:
        await client.update_automation(found[0].id, automation)
    else:
        await client.create_automation(automation)


def _content(automation: AutomationCore) -> dict:
    """What an automation says, without what the server adds."""
    return AutomationCore.model_validate(automation.model_dump()).model_dump(mode="json")


def _from_event(name: str) -> dict[str, str]:
    """What the event's payload has by a name, or no text where it has none.

    Prefect would start no run without a value, and tell of it in the server's log alone.
    """
    value = f"event.payload.{name} | default('', true)"
    return {"__prefect_kind": "jinja", "template": f"{{{{ {value} }}}}"}
