"""What was run, how good the estimates are, and the estimates themselves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from estimators.config import DEFAULT
from tasks.answers.spread import Bootstrap, ratio
from tasks.report.blocks import (
    Block,
    Column,
    Facts,
    Gallery,
    Paragraph,
    Section,
    Tile,
    Tiles,
    figure,
    number,
    span,
    table,
)
from tasks.report.figures import estimates_figure
from tasks.report.sections.findings import CONSTANT, Findings
from tasks.sweeps.summary import estimates


def run(found: Findings) -> Section:
    """Models, benchmarks, settings and versions."""
    rows = found.rows
    frame = rows.frame
    sizes = ", ".join(str(k) for k in sorted(frame["k"].unique()))
    facts = (
        ("Models", ", ".join(rows.models)),
        ("Benchmarks", ", ".join(rows.benchmarks)),
        *found.inputs.facts,
        ("Training benchmarks (k)", sizes),
        ("Compositions", f"{frame['composition'].nunique():,}"),
        ("Estimators", f"{len(rows.estimators):,}"),
        ("Sweep rows", f"{len(frame):,}"),
    )
    blocks: list[Block] = [Facts(facts)]
    keys = found.inputs.keys
    if keys is not None and len(keys):
        columns = [Column(str(name), str(name).capitalize(), "text") for name in keys]
        blocks.append(table("keys", "Keys of the stored artefacts.", keys, columns, folded=True))
    return Section("run", "What was run", tuple(blocks))


def headline(found: Findings) -> Section:
    """The report's estimator against the constant, at two training benchmarks."""
    k = found.k
    at_k = found.rows.where(found.rows.frame["k"] == k)
    sizes = {str(row["estimator"]): row for row in found.sizes.to_dict("records") if row["k"] == k}
    ours = sizes[found.estimator]
    tiles = [_tile("AEE, unseen benchmarks", ours, "aee_unseen")]
    first = (
        f"Trained on {_benchmarks(k)}, {found.estimator} misses the true accuracy of an unseen "
        f"benchmark by {number(ours['aee_unseen'])} (median over {int(ours['rows'])} sweep rows)."
    )
    second = "The sweep has no constant baseline to compare with."
    if CONSTANT in sizes and found.estimator != CONSTANT:
        constant = sizes[CONSTANT]
        relative, low, high = ratio(at_k, found.estimator, CONSTANT, Bootstrap(at_k))
        tiles.append(_tile("AEE of the constant", constant, "aee_unseen"))
        tiles.append(
            Tile(
                number(relative, 2),
                "of the constant's AEE",
                span(low, high, 2),
            )
        )
        second = (
            f"{_verdict(low, high)} ({number(constant['aee_unseen'])}), which gives the training "
            "accuracy for every benchmark."
        )
    tiles += [
        _tile("rho over benchmarks", ours, "rho_unseen"),
        _tile("AUROC of single answers", ours, "auroc_unseen"),
    ]
    covered, slices = _coverage(found, k)
    if slices:
        share = f"{100 * covered / slices:.0f} %"
        tiles.append(Tile(share, "of 90 % intervals hold the truth", f"{slices:,} unseen slices"))
    note = Paragraph(
        "Small figures are 90 % bootstrap intervals of the medians; how to read them stands at the "
        "end."
    )
    return Section(
        "headline", "In short", (Paragraph(f"{first} {second}"), Tiles(tuple(tiles)), note)
    )


def _benchmarks(k: int) -> str:
    words = {1: "one benchmark", 2: "two benchmarks", 3: "three benchmarks", 4: "four benchmarks"}
    return words.get(k, f"{k} benchmarks")


def _verdict(low: float, high: float) -> str:
    if high < 1:
        return "That is better than the constant baseline"
    if low > 1:
        return "That is worse than the constant baseline"
    return "That cannot be told from the constant baseline"


def _tile(label: str, row: Mapping[Hashable, Any], score: str) -> Tile:
    if row[score] != row[score]:
        return Tile("–", label, "not defined here")
    return Tile(number(row[score]), label, span(row[f"{score}_low"], row[f"{score}_high"]))


def _coverage(found: Findings, k: int) -> tuple[int, int]:
    """How many unseen slices of compositions of size k the intervals hold, and of how many."""
    covered, slices = 0, 0
    if found.estimator != DEFAULT.name:
        return 0, 0
    frame = found.ours.frame
    for model, composition in frame.loc[frame["k"] == k, ["model", "composition"]].itertuples(
        index=False
    ):
        bounds = found.intervals(str(model), str(composition))
        accuracy = found.rows.accuracy.loc[str(model)].to_dict()
        covered += sum(one.low <= float(accuracy[n]) <= one.high for n, one in bounds.items())
        slices += len(bounds)
    return covered, slices


def beside_truth(found: Findings) -> Section:
    """Estimated beside true accuracy, a figure a model."""
    figures, frames = [], []
    for n, model in enumerate(dict.fromkeys(found.ours.frame["model"].astype(str))):
        composition, why = found.composition(model)
        split = found.split(model, composition)
        bounds = {
            name: (one.low, one.high) for name, one in found.intervals(model, composition).items()
        }
        frame = estimates(split, bounds)
        frames.append(frame.assign(model=model, composition=composition))
        aee = number(split["aee_unseen"])
        figures.append(
            figure(
                f"estimates-{n}",
                model,
                estimates_figure(frame),
                f"{found.estimator} trained on {composition} ({why}). AEE over unseen "
                f"benchmarks {aee}, rho {number(split['rho_unseen'])}.",
                f"Estimated and true accuracy of {model} on {len(frame)} benchmarks; the table "
                "below has the numbers.",
            )
        )
    listed = pd.concat(frames, ignore_index=True)
    limits = [Column("low", "90 % from"), Column("high", "to")] if "low" in listed else []
    columns = [
        Column("model", "Model", "text"),
        Column("benchmark", "Benchmark", "text"),
        Column("role", "Role", "text"),
        Column("truth", "True"),
        Column("estimate", "Estimated"),
        Column("error", "Error", "signed"),
        *limits,
        Column("auroc", "AUROC"),
    ]
    caption = (
        f"Estimated and true accuracy by {found.estimator}. Of training benchmarks the held-out "
        "fifth counts."
    )
    blocks: list[Block] = [Gallery(tuple(figures)), table("estimates", caption, listed, columns)]
    if not limits:
        blocks.append(Paragraph(_no_intervals(found)))
    return Section("estimates", "Estimates beside the truth", tuple(blocks))


def _no_intervals(found: Findings) -> str:
    if found.estimator != DEFAULT.name:
        return f"Intervals a slice are made by {DEFAULT.name} only."
    return "Intervals need the profiles and labels behind the splits, which were not given."
