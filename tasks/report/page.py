"""The page itself: sections in, one HTML text out that needs nothing else."""

from __future__ import annotations

from importlib import resources

import jinja2
from markupsafe import Markup

from tasks.answers.rows import Rows
from tasks.report.blocks import Points, Section
from tasks.report.inputs import Inputs
from tasks.report.sections import benchmarks, method, overview, process, study, sweep
from tasks.report.sections.findings import Findings

_FOLDER = resources.files("tasks.report") / "template"

_CHAPTERS = (
    overview.headline,
    overview.run,
    overview.beside_truth,
    sweep.by_size,
    sweep.named,
    sweep.settings,
    sweep.compositions,
    benchmarks.bias,
    benchmarks.worst,
    benchmarks.ranking,
    benchmarks.calibration,
    process.transfer,
    process.sensitivity,
    process.judges,
    process.counts,
    process.cost,
    study.study,
    method.method,
)


def report(inputs: Inputs) -> str:
    """The report as HTML; the same inputs give the same text.

    Raises
    ------
    SentinelError
        If the splits cannot be read, or the tables are not those behind them.
    """
    found = Findings(inputs, Rows.from_table(inputs.splits, inputs.name))
    chapters = [chapter(found) for chapter in _CHAPTERS]
    missing = tuple(f"{one.title}: {one.left_out}" for one in chapters if one.left_out)
    if missing:
        chapters.append(Section("left-out", "Left out", (Points(missing),)))
    return render(inputs.name, [one for one in chapters if not one.left_out])


def render(name: str, sections: list[Section]) -> str:
    """HTML of a titled list of sections."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html").render(
        name=name,
        sections=sections,
        # Both are ours and no one else's; everything else is escaped.
        style=Markup(_text("report.css")),  # noqa: S704
        script=Markup(_text("report.js")),  # noqa: S704
        picture=Markup,
    )


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
