"""How far a chain's links agree, on the run's page and in its results folder."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.conf import ChainJudge
from tasks.conf.choices import Request
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.verdicts.agreement import agreement_of


def show_agreement(asked: Request, workspace: Workspace) -> None:
    """Publish the agreement of rules and model; nothing where the judge is no chain."""
    if isinstance(asked.experiment.judge, ChainJudge):
        publish_agreement(asked, workspace)


@task(task_run_name="agreement {asked.experiment.name}")
def publish_agreement(asked: Request, workspace: Workspace) -> None:
    """Hold rules and model against each other on the chain's sample, over all models."""
    settings, logger = asked.experiment, get_run_logger()
    jobs = [job for model in settings.models for job in jobs_of(settings, model)]
    found = agreement_of(jobs, workspace.store)
    if found is None:
        logger.info("no response of the sample was put to both judges yet")
        return
    found.write(workspace.store, f"results/{asked.folder}")
    create_markdown_artifact(
        found.text(), key="agreement", description=f"Judges of {settings.name}"
    )
    logger.info("judges differ on %d of %d responses put to both",
                len(found.disagreements()), len(found.pairs))  # fmt: skip
