"""The two figures of the study, for any model and any benchmarks.

Colours come from a palette that stays apart for colour-blind readers; what matters is never told
by colour alone (training benchmarks are also squares, hatching marks the wrong answers).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.sweeps.summary import estimates

_TRAINING, _UNSEEN = "#D55E00", "#0072B2"
_RIGHT, _WRONG = "#0072B2", "#D55E00"
INK, FAINT = "#222222", "#D9D9D9"

#: How every figure of the project is drawn.
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "entropy-sentinel",
}


def accuracy_figure(splits: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Estimated against true accuracy per benchmark, one panel a model (the study's Figure 1).

    Parameters
    ----------
    splits : mapping of model name to sweep row
        Each from :func:`tasks.sweeps.summary.split_of`, with ``bounds`` by benchmark where there
        are any; they are drawn as thin lines.

    Returns
    -------
    bytes
        PNG. Benchmarks from hard to easy; training ones are squares.
    """
    with mpl.rc_context(STYLE):
        columns = min(3, len(splits))
        rows = -(-len(splits) // columns)
        figure = Figure(figsize=(max(6.4, 4.4 * columns), 1.2 + 3.4 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (model, split) in zip(panels, splits.items(), strict=False):
            _estimates_panel(panel, model, split)
        for panel in panels[len(splits) :]:
            panel.set_axis_off()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _png(figure)


def _estimates_panel(panel: Axes, model: str, split: Mapping[str, Any]) -> None:
    frame = estimates(split, split.get("bounds"))
    at = np.arange(len(frame))
    if "low" in frame:
        ends = frame["low"], frame["high"]
        panel.vlines(at, *ends, color=_UNSEEN, linewidth=1, zorder=2, label="90 % interval")
    panel.vlines(at, frame["truth"], frame["estimate"], color=FAINT, linewidth=3, zorder=1)
    panel.plot(at, frame["truth"], "_", color=INK, markersize=16, markeredgewidth=2, label="true")
    for role, colour, marker in (("unseen", _UNSEEN, "o"), ("training", _TRAINING, "s")):
        part = frame["role"] == role
        panel.plot(
            at[part],
            frame["estimate"][part],
            marker,
            color=colour,
            markersize=7,
            label=f"estimated, {role}",
            zorder=3,
        )
    panel.set_xticks(at, frame["benchmark"], rotation=35, ha="right")
    panel.set_ylim(-0.03, 1.03)
    panel.set_ylabel("accuracy")
    panel.grid(axis="y", color=FAINT, linewidth=0.5)
    aee, rho = split["aee_unseen"], split["rho_unseen"]
    scores = f"unseen: AEE {aee:.3f}" + ("" if np.isnan(rho) else f", ρ {rho:.2f}")
    panel.set_title(f"{model}: {split['estimator']}\n{scores}")


def density_figure(
    responses: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> bytes:
    """Densities of the largest token entropy for right and wrong answers (the study's Figure 2).

    Parameters
    ----------
    responses : mapping of model name to (max entropies, labels)
        Both of shape (n_responses,); entropies in nats, labels 1 or 0.

    Returns
    -------
    bytes
        PNG, one panel a model. A class with fewer than two distinct values has no density and is
        drawn as ticks on the axis.
    """
    with mpl.rc_context(STYLE):
        columns = min(3, len(responses))
        rows = -(-len(responses) // columns)
        figure = Figure(figsize=(max(5.6, 4.4 * columns), 0.6 + 2.8 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (model, (entropy, label)) in zip(panels, responses.items(), strict=False):
            _density_panel(panel, model, entropy, label)
        for panel in panels[len(responses) :]:
            panel.set_axis_off()
        return _png(figure)


def _density_panel(
    panel: Axes, model: str, entropy: NDArray[np.float64], label: NDArray[np.float64]
) -> None:
    from scipy.stats import gaussian_kde

    margin = 0.15 * max(np.ptp(entropy), 0.1)
    grid = np.linspace(max(entropy.min() - margin, 0), entropy.max() + margin, 400)
    for value, name, colour, hatch in ((1, "correct", _RIGHT, ""), (0, "incorrect", _WRONG, "//")):
        part = entropy[label == value]
        text = f"{name} ({len(part)})"
        if len(np.unique(part)) > 1:
            density = gaussian_kde(part)(grid)
            panel.plot(grid, density, color=colour, linewidth=1.6)
            panel.fill_between(
                grid,
                density,
                facecolor=colour,
                alpha=0.22,
                hatch=hatch,
                edgecolor=colour,
                label=text,
            )
        else:
            panel.plot(part, np.zeros_like(part), "|", color=colour, markersize=14, label=text)
    panel.set_ylim(bottom=0)
    panel.set_xlim(grid[0], grid[-1])
    panel.set_xlabel("largest token entropy of a response (nats)")
    panel.set_ylabel("density")
    panel.set_title(model)
    panel.legend(loc="upper left", fontsize=8)


def size_figure(table: pd.DataFrame) -> bytes:
    """Median AEE over unseen benchmarks by number of training benchmarks, a line an estimator.

    ``table`` is from :func:`tasks.sweeps.summary.by_size`; bars span the middle half.
    """
    with mpl.rc_context(STYLE):
        models = list(dict.fromkeys(table["model"]))
        figure = Figure(figsize=(max(5.6, 4.2 * len(models)), 3.4), layout="constrained")
        panels = figure.subplots(1, len(models), squeeze=False, sharey=True).ravel()
        for panel, model in zip(panels, models, strict=True):
            part = table[table["model"] == model]
            names = list(dict.fromkeys(part["estimator"]))
            for i, name in enumerate(names):
                line = part[part["estimator"] == name]
                shift = (i - (len(names) - 1) / 2) * 0.06  # So that bars do not hide one another.
                panel.errorbar(
                    line["k"] + shift,
                    line["aee_unseen"],
                    yerr=[
                        line["aee_unseen"] - line["aee_unseen_q25"],
                        line["aee_unseen_q75"] - line["aee_unseen"],
                    ],
                    marker="os^Dv<>P"[i % 8],
                    capsize=2,
                    linewidth=1.3,
                    label=name,
                )
            panel.set_xticks(sorted(part["k"].unique()))
            panel.set_xlabel("training benchmarks (k)")
            panel.set_ylim(bottom=0)
            panel.grid(axis="y", color=FAINT, linewidth=0.5)
            panel.set_title(model)
        panels[0].set_ylabel("AEE over unseen benchmarks")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
