"""A sensitivity experiment at a glance: variants down the page, what moves across it."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.conf import BASE
from tasks.sweeps.figures import FAINT, STYLE

# Apart for colour-blind readers; markers repeat what the colours say.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222")
_MARKERS = "osD^v"

#: Statistics whose means are drawn against the base's.
DRAWN = ("mean", "max", "sum", "nll_avg")


def sensitivity_figure(overview: pd.DataFrame, statistics: pd.DataFrame, estimator: str) -> bytes:
    """Four panels over the same rows, one a variant, the base on top with its values as lines.

    Parameters
    ----------
    overview, statistics : DataFrame
        Of :class:`tasks.sensitivity.results.Found`.
    estimator : str
        Whose errors are drawn.

    Returns
    -------
    bytes
        PNG: accuracy and share cut off; means of statistics over the base's, on a logarithmic
        scale; AUROC within benchmarks; AEE with training on the variant and on the base.
    """
    variants = list(overview["variant"])
    at = np.arange(len(variants))[::-1]
    means = statistics.pivot_table(
        index="variant", columns="statistic", values="mean", sort=False
    ).loc[variants]
    ratios = means / means.loc[BASE]
    panels: list[tuple[str, dict[str, Any]]] = [
        ("Answers", {"accuracy": overview["accuracy"], "cut off": overview["truncated"]}),
        ("Means over the base's", {s: ratios[s] for s in DRAWN if s in ratios}),
        (
            "AUROC within benchmarks",
            {
                name.removeprefix("AUROC "): overview[name]
                for name in map(str, overview)
                if name.startswith("AUROC ")
            },
        ),
        (
            f"AEE of {estimator}",
            {"trained on it": overview["AEE own"], "trained on base": overview[f"AEE {BASE}"]},
        ),
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 1.5 + 0.3 * len(variants)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, gridspec_kw={"wspace": 0.06})
        for axis, (title, lines) in zip(axes, panels, strict=True):
            _panel(axis, title, lines, at)
        axes[0].set_yticks(at, variants)
        axes[1].set_xscale("log")
        ticks = _ratio_ticks(ratios[[s for s in DRAWN if s in ratios]].to_numpy())
        axes[1].set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes[1].minorticks_off()
        axes[0].set_xlim(left=0)
        axes[3].set_xlim(left=0)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()


def _panel(axis: Axes, title: str, lines: dict[str, Any], at: np.ndarray[Any, Any]) -> None:
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        values = np.asarray(values, dtype=float)
        if np.isfinite(values[0]):
            axis.axvline(values[0], color=colour, linewidth=0.8, alpha=0.5)
        axis.plot(
            values,
            at,
            _MARKERS[number % len(_MARKERS)],
            color=colour,
            markersize=5.5,
            label=name,
            alpha=0.9,
            clip_on=False,
        )
    axis.set_title(title)
    axis.grid(axis="y", color=FAINT, linewidth=0.5)
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, fontsize=8, handletextpad=0.1)


def _ratio_ticks(ratios: np.ndarray[Any, Any]) -> list[float]:
    """Round multiples that span the ratios."""
    low, high = np.nanmin(ratios), np.nanmax(ratios)
    steps = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    return [s for s in steps if low / 1.6 <= s <= high * 1.6]
