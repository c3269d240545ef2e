"""Human audit of a judge's verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.output import console, show_note, show_table, show_written

if TYPE_CHECKING:
    from tasks.audit.sheet import Sheet
    from tasks.audit.sources import Judged, Key

app = typer.Typer()
audit = typer.Typer(
    help="Have a person label a sample of responses, blind to their verdicts, and see how far "
    "the judge agrees.",
    no_args_is_help=True,
)
app.add_typer(audit, name="audit")

Labels = Annotated[
    Path, typer.Option("--labels", "-l", help="File of the labels (Parquet); grows as you label.")
]
Experiment = Annotated[
    Path | None, typer.Option("--experiment", "-e", help="Audit what this experiment judged,")
]
Responses = Annotated[Path | None, typer.Option(help="or these responses,")]
Items = Annotated[Path | None, typer.Option(help="with these items,")]
Verdicts = Annotated[Path | None, typer.Option(help="and these verdicts.")]
Size = Annotated[int, typer.Option("--size", "-n", help="Verdicts to draw.", min=1)]
Seed = Annotated[int, typer.Option(help="Of the draw.")]


@audit.command()
def label(
    labels: Labels,
    experiment: Experiment = None,
    responses: Responses = None,
    items: Items = None,
    verdicts: Verdicts = None,
    size: Size = 100,
    seed: Seed = 42,
    show_hidden: Annotated[
        bool,
        typer.Option(
            help="Also show items whose benchmark says show_items: false. They appear on this "
            "terminal only and are written nowhere."
        ),
    ] = False,
    skipped: Annotated[bool, typer.Option(help="Come back to what was put off.")] = False,
) -> None:
    """Label responses in the terminal; quit any time and run it again to go on."""
    from flows.terminal import label_responses

    judged = _sources(experiment, responses, items, verdicts)
    sheet = _sheet(labels, judged, size, seed, show_hidden=show_hidden)
    given = label_responses(sheet, judged, console, skipped=skipped)
    left = len(sheet.pending())
    _say(f"{given} labels given, {left} to go: {labels}")


@audit.command()
def export(
    labels: Labels,
    out: Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="CSV to write.")],
    experiment: Experiment = None,
    responses: Responses = None,
    items: Items = None,
    verdicts: Verdicts = None,
    size: Size = 100,
    seed: Seed = 42,
) -> None:
    """Write the sample as a CSV to label elsewhere; `import` takes it back."""
    judged = _sources(experiment, responses, items, verdicts)
    show_written(out, _sheet(labels, judged, size, seed).export(out, judged))


@audit.command(name="import")
def import_(
    table: Annotated[Path, typer.Argument(help="The CSV of `export` with its last column filled.")],
    labels: Labels,
) -> None:
    """Take labels from a CSV."""
    from tasks.audit.sheet import Sheet

    taken = Sheet.load(labels).take(table)
    _say(f"{taken} labels taken from {table}")


@audit.command()
def report(
    labels: Labels,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, help="Also write the table (Parquet)."),
    ] = None,
) -> None:
    """Show how far the judge agrees with the labels, by benchmark, and where it does not."""
    from flows.audit import audit_report

    found = audit_report(labels, out)
    show_table(
        "Agreement of judge and person",
        found.table,
        "weighed back to all verdicts; low, high: Wilson, 95 %; exact: Clopper and Pearson",
    )
    _say(f"They differ on {len(found.disagreements)} responses.")
    for row in found.disagreements.itertuples():
        _say(f"  {row.benchmark}/{row.item_id}: judged {row.verdict}, labelled {row.label}")


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _sources(
    experiment: Path | None, responses: Path | None, items: Path | None, verdicts: Path | None
) -> dict[Key, Judged]:
    from flows.audit import sources

    return sources(experiment, responses, items, verdicts)


def _sheet(
    labels: Path, judged: dict[Key, Judged], size: int, seed: int, *, show_hidden: bool = False
) -> Sheet:
    from flows.audit import open_sheet

    sheet = open_sheet(labels, judged, size, seed, show_hidden=show_hidden)
    left_out = {one.benchmark for one in judged.values() if one.hidden and not show_hidden}
    for benchmark in sorted(left_out):
        show_note(f"{benchmark} is left out: its items are not to be shown")
    return sheet
