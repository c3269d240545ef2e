"""The flow that looks for what no run has covered yet: models, benchmark versions, judges."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from flows.experiment import experiment
from flows.offered import offered
from flows.pages import show_plan
from tasks.benchmarks.questions import load_questions
from tasks.conf.choices import Choices, request
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace
from tasks.planning.plan import plan
from tasks.problems import Problems


@flow(name="catch-up", flow_run_name="catch-up")
def catch_up(paths: tuple[str, ...] = (), conf: str = "conf") -> list[str]:
    """Compare what experiments name with what is stored, and run the models that lack something.

    Parameters
    ----------
    paths : tuple of str
        Experiments to look at; all of the conf folder where none is named.
    conf : str
        That folder.

    Returns
    -------
    list of str
        The jobs whose responses were missing, as ``EXPERIMENT: MODEL / BENCHMARK``.

    Raises
    ------
    SentinelError
        At the end, if any experiment failed, whatever with; all of them are named.
    """
    store = Workspace.from_environment().store
    problems, ran = Problems(), []
    for path in paths or Choices.of(Path(conf)).experiments:
        try:
            asked = request(offered(path))
            planned = plan(asked, load_questions(asked.experiment), store)
            if not planned.steps:
                get_run_logger().info("%s: nothing is missing that can be run", path)
                for name, told in planned.problems.items():
                    remedy = f"`sentinel plan {path}` tells of it too"
                    problems.failed(f"{path}: {name}", SentinelError(told, remedy))
                continue
            show_plan(planned)
            ran += [f"{asked.experiment.name}: {job}" for job in planned.jobs]
            experiment(path, models=tuple(planned.models))
        except Exception as error:  # The others are not to wait for this one to be mended.
            if not isinstance(error, SentinelError):
                get_run_logger().exception("%s", path)
            problems.failed(path, error)
    return problems.none_or_raise(ran)
