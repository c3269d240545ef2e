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

AUTOMATION = "end a lost run"

_HEARTBEAT = "prefect.flow-run.heartbeat"

# Five heartbeats of `tasks.host.workspace.FAULTS`; longer than a run waits for a server that is
# away, so that a restart of the server is not taken for the loss of all runs.
_SILENCE = timedelta(seconds=150)


def lost_runs(flows: Collection[str]) -> AutomationCore:
    """Automation that marks runs of these flows as crashed once their heartbeats stay out."""
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
            within=_SILENCE,
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
