"""What a run shows on its own page in Prefect: the plan before, tables and pictures after."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.planning.plan import Plan


def show_plan(planned: Plan) -> None:
    """Put a plan on the run's page and its jobs into the log."""
    logger = get_run_logger()
    create_markdown_artifact(
        planned.markdown(), key="plan", description=f"What is missing of {planned.experiment}"
    )
    for name, problem in planned.problems.items():
        logger.warning("%s cannot be run: %s", name, problem)
    for step in planned.steps:
        logger.info("to do: %s %s, %d of %d: %s",
                    step.kind, step.job, step.missing, step.total, step.why)  # fmt: skip
    logger.info("%d steps to run, %d done already", len(planned.steps), planned.done)


def show_figures(figures: Mapping[str, bytes], name: str) -> None:
    """Put pictures on the run's page, inside one Markdown artifact that needs no other server."""
    pictures = [
        f"![{file}](data:image/png;base64,{base64.b64encode(png).decode()})"
        for file, png in figures.items()
    ]
    create_markdown_artifact("\n\n".join(pictures), key="figures", description=f"Figures of {name}")
