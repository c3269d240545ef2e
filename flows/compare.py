"""The comparison that every run ends with: sweeps of all models, and their results."""

from __future__ import annotations

from prefect import get_run_logger

from flows.publish import publish
from flows.steps import sweep_model, transfer_models
from tasks.benchmarks.questions import Questions
from tasks.conf.choices import Request
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace
from tasks.problems import Problems
from tasks.sweeps.compared import whole
from tasks.sweeps.results import Results


def compare(
    asked: Request, questions: Questions, workspace: Workspace, problems: Problems
) -> Results | None:
    """Sweep every model over its benchmarks that are stored, judged and profiled; publish.

    A model that is stored already costs its reading only. One that lacks benchmarks is compared
    over the others, and with fewer than two it is left out, with a line in the log; one that cannot
    be read becomes a problem. ``None`` where no model is left.
    """
    settings, store = asked.experiment, workspace.store
    joined, splits, left_out = {}, {}, {}
    for model in settings.models:
        try:
            found = whole(settings, model, questions, store)
            if found.left_out:
                get_run_logger().warning("%s is not compared: %s", model.name, found.left_out)
                left_out[model.name] = (f"not compared: {found.left_out}",)
                continue
            table = found.join(questions.items, store)
        except SentinelError as error:  # A damaged part, or too few answers with a label.
            problems.failed(f"comparison of {model.name}", error)
            continue
        done = sweep_model(table, found.sweep(settings.sweep), store, return_state=True)
        rows = done.result(raise_on_failure=False)
        if not problems.failed(f"sweep of {model.name}", rows):
            joined[model.name], splits[model.name] = table, rows
    if not splits:
        return None
    if len(joined) > 1 and settings.sweep.transfer:
        moved = transfer_models(joined, settings.sweep, store, asked.folder, return_state=True)
        problems.failed("transfer between models", moved.result(raise_on_failure=False))
    return publish(asked, joined, splits, questions.items, workspace, left_out)
