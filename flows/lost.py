"""Runs whose machine went away: an automation ends them in Prefect, where nobody else would.

A worker tells of a run whose process died beside it. A run that dies together with its worker, or
that was started by hand, would stay ``Running`` for ever; its slots are leases and end by
themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

from tasks.errors import SentinelError
from tasks.host.settings import seconds
from tasks.host.workspace import FAULTS

AUTOMATION = "end a lost run"

_HEARTBEAT = "prefect.flow-run.heartbeat"

# Seconds without a heartbeat, thirty of them. A server that was away, for a restart or an upgrade,
# has had none of any run when it is back, and looks at once: a shorter time would have it take live
# runs for lost. That a lost one is shown as running meanwhile holds nobody up, since its slots are
# leases.
_SILENCE_S = 900.0


def _silence() -> timedelta:
    least = 2 * int(FAULTS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    silence = seconds("SENTINEL_LOST_AFTER_S", _SILENCE_S)
    if not least <= silence < timedelta.max.total_seconds():
        raise SentinelError(
            f"SENTINEL_LOST_AFTER_S is {silence:g}", f"give at least {least} s, two heartbeats"
        )
    return timedelta(seconds=silence)


def lost_runs(flows: Collection[str]) -> AutomationCore:
    """Automation that marks runs of these flows as crashed once their heartbeats stay out.

    Raises
    ------
    SentinelError
        If ``SENTINEL_LOST_AFTER_S`` is no number of seconds, or less than two heartbeats take.
    """
    return AutomationCore(
        name=AUTOMATION,
        description="Marks runs as crashed whose process is gone, by their missing heartbeats.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "flow",
                "prefect.resource.name": sorted(flows),
            },
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=_silence(),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                force=False,
                message="No sign of life: its process or machine is gone. What it stored is kept; "
                "run it again for the rest.",
            )
        ],
    )
