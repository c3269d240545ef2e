"""The report's figures as SVG that follows the page's colour scheme.

Drawn by matplotlib in fixed colours, which are then replaced by the page's CSS variables: the same
picture is dark on light and light on dark. Colours are Okabe and Ito's, which colour-blind readers
tell apart, and markers repeat what they say.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours to draw in, and the CSS variable that takes each one's place.
_INK, _FAINT, _PAPER = "#222223", "#d9d9d8", "#fefefd"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6b6b6c", "#8b5cf6")
_VARIABLES = {
    _INK: "--ink", _FAINT: "--line", _PAPER: "--paper",
    **{colour: f"--c{n}" for n, colour in enumerate(_COLOURS, 1)},
}  # fmt: skip
_MARKERS = "osD^vPX*"
# Inches; about the width of a phone, so that text is not scaled down there.
_WIDTH = 4.7
_LINES = ("-", "--", "-.", ":", "-", "--", "-.", ":")

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "entropy-sentinel",
}


def estimates_figure(frame: pd.DataFrame) -> str:
    """Estimated beside true accuracy of one model, a line a benchmark, easiest on top.

    ``frame`` is as :func:`tasks.sweeps.summary.estimates` gives it.
    """
    with mpl.rc_context(_STYLE):
        figure, panel = _panel(_WIDTH, 1.6 + 0.27 * len(frame))
        at = np.arange(len(frame))
        panel.hlines(at, frame["truth"], frame["estimate"], color=_FAINT, linewidth=5, zorder=1)
        if "low" in frame and frame["low"].notna().any():
            ends = frame["low"], frame["high"]
            panel.hlines(at, *ends, color=_COLOURS[0], linewidth=1, label="90 % interval")
        panel.plot(frame["truth"], at, "|", color=_INK, ms=13, mew=2.2, label="true")
        for role, colour, marker in (("unseen", 0, "o"), ("training", 1, "s")):
            part = (frame["role"] == role).to_numpy()
            panel.plot(
                frame["estimate"][part], at[part], marker, color=_COLOURS[colour], ms=7,
                label=f"estimated, {role}",
            )  # fmt: skip
        panel.set_yticks(at, frame["benchmark"])
        panel.set_xlim(-0.02, 1.02)
        panel.set_xlabel("accuracy")
        panel.grid(axis="x")
        figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure)


def sizes_figure(spreads: pd.DataFrame, score: str) -> str:
    """A score's median by number of training benchmarks, a line an estimator.

    ``spreads`` is by estimator and k (:func:`tasks.answers.spread.spreads`); the band is the middle
    half of the rows of the first estimator, bars are the bootstrap intervals.
    """
    with mpl.rc_context(_STYLE):
        figure, panel = _panel(_WIDTH, 3.9)
        names = list(dict.fromkeys(spreads["estimator"]))
        for n, name in enumerate(names):
            part = spreads[(spreads["estimator"] == name) & spreads[score].notna()]
            if not len(part):
                continue
            shift = (n - (len(names) - 1) / 2) * 0.05  # So that bars do not hide one another.
            k, middle = part["k"].to_numpy() + shift, part[score]
            bars = [middle - part[f"{score}_low"], part[f"{score}_high"] - middle]
            colour = _COLOURS[n % len(_COLOURS)]
            panel.errorbar(
                k, middle, yerr=np.maximum(bars, 0), color=colour, label=name, capsize=2, ms=5.5,
                marker=_MARKERS[n % 8], linestyle=_LINES[n % 8], linewidth=2.0 if n == 0 else 1.2,
            )  # fmt: skip
            if n == 0:
                ends = part[f"{score}_q25"], part[f"{score}_q75"]
                panel.fill_between(k, *ends, color=colour, alpha=0.16, linewidth=0)
        panel.set_xticks(sorted(spreads["k"].unique()))
        panel.set_xlabel("training benchmarks (k)")
        if score.startswith(("aee", "ece")):
            panel.set_ylim(bottom=0)
        panel.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure)


def settings_figure(marginals: pd.DataFrame, score: str) -> str:
    """A score's median and bootstrap interval for each value of each setting.

    ``marginals`` is from :func:`tasks.answers.settings.marginals`; the pale bar is the middle half.
    """
    with mpl.rc_context(_STYLE):
        figure, panel = _panel(_WIDTH, 0.8 + 0.27 * len(marginals))
        settings = list(dict.fromkeys(marginals["setting"]))
        for at, row in enumerate(marginals[::-1].to_dict("records")):
            colour = _COLOURS[settings.index(row["setting"]) % len(_COLOURS)]
            ends = [row[f"{score}_q25"]], [row[f"{score}_q75"]]
            panel.hlines([at], *ends, color=colour, linewidth=7, alpha=0.25)
            panel.hlines([at], [row[f"{score}_low"]], [row[f"{score}_high"]], color=colour, lw=1.6)
            panel.plot([row[score]], [at], "o", color=colour, ms=6)
        names = [f"{r['setting']}: {r['value']}" for r in marginals[::-1].to_dict("records")]
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(-0.6, len(names) - 0.4)
        panel.set_xlim(left=0)
        panel.grid(axis="x")
        return _svg(figure)


def training_figure(points: pd.DataFrame, binned: pd.DataFrame) -> str:
    """AEE against the mean accuracy of the training benchmarks, a point a composition.

    ``points`` has ``accuracy, aee_unseen, k``; ``binned`` is from
    :func:`tasks.answers.compositions.by_training_accuracy`.
    """
    with mpl.rc_context(_STYLE):
        figure, panel = _panel(_WIDTH, 3.7)
        for n, (k, part) in enumerate(points.groupby("k")):
            panel.plot(
                part["accuracy"], part["aee_unseen"], _MARKERS[n % 8], ms=4, alpha=0.5, mew=0,
                color=_COLOURS[n % len(_COLOURS)], label=f"k = {k}",
                rasterized=len(points) > 1500,
            )  # fmt: skip
        middle = (binned["low"] + binned["high"]) / 2
        panel.plot(middle, binned["aee_unseen"], "-", color=_INK, lw=1.6, label="median of a tenth")
        ends = binned["aee_unseen_q25"], binned["aee_unseen_q75"]
        panel.vlines(middle, *ends, color=_INK, lw=1)
        panel.set_xlim(0, min(1, points["accuracy"].max() + 0.08))
        panel.set_ylim(bottom=0)
        panel.set_xlabel("mean true accuracy of the training benchmarks")
        panel.set_ylabel("AEE over unseen benchmarks")
        panel.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0)
        return _svg(figure)


def calibration_figure(
    lines: Mapping[str, pd.DataFrame], x: str, y: str, size: str, labels: Sequence[str]
) -> str:
    """What came true against what was said, a line each; the diagonal is perfect.

    Parameters
    ----------
    lines : mapping of name to bins
        With the columns named by ``x``, ``y`` and ``size``; the larger the bin the larger its mark.
    labels : sequence of str
        Of the two axes.
    """
    with mpl.rc_context(_STYLE):
        figure, panel = _panel(_WIDTH, 4.9)
        panel.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.5, zorder=0)
        largest = max(float(part[size].max()) for part in lines.values())
        for n, (name, part) in enumerate(lines.items()):
            colour = _COLOURS[n % len(_COLOURS)]
            panel.plot(part[x], part[y], _LINES[n % 8], color=colour, lw=2.0 if n == 0 else 1.1)
            area = 12 + 90 * np.sqrt(part[size] / largest)
            panel.scatter(
                part[x], part[y], area, color=colour, marker=_MARKERS[n % 8], label=name,
                alpha=0.85, linewidths=0,
            )  # fmt: skip
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
        panel.set_aspect("equal")
        panel.set_xlabel(labels[0])
        panel.set_ylabel(labels[1])
        panel.grid(visible=True)
        legend = figure.legend(loc="outside lower center", ncols=2)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_sizes([30])  # type: ignore[attr-defined]
        return _svg(figure)


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """The figure as an SVG element in the page's colours, without a size of its own."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The resolution is that of what is drawn as pixels inside.
    figure.savefig(buffer, format="svg", metadata=empty, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = re.sub(rf"{colour}\b", f"var({variable})", text, flags=re.IGNORECASE)
    # The page scales it; the view box keeps its proportions.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    return re.sub(r"\s*\n\s*", "\n", text).strip()
