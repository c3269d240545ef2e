"""The sweep's medians as Markdown: which rows, which medians, what is bold."""

import pyarrow as pa

from tasks.sweeps.table import sweep_table


def row(estimator: str, family: str, features: str, k: int, aee: float, **scores: float) -> dict:
    return {
        "model": "m", "estimator": estimator, "family": family, "features": features, "k": k,
        "composition": [f"{aee}", *"abc"[: k - 1]], "aee_unseen": aee,
        **{f"{s}_unseen": scores.get(s, float("nan")) for s in ("rho", "auroc", "ece")},
    }  # fmt: skip


ROWS = [
    row("ensemble", "ensemble", "11d", 1, 0.01, rho=1.0, auroc=0.9, ece=0.05),
    row("ensemble", "ensemble", "11d", 1, 0.03, rho=0.5, auroc=0.7, ece=0.15),
    row("ensemble", "ensemble", "11d", 2, 0.2),
    row("forest-none@1d", "forest", "1d", 1, 0.4, rho=-0.25, auroc=0.5, ece=0.4),
    row("atc-max", "atc", "max", 2, 0.1),
    row("constant", "constant", "", 1, 0.5),
]


def test_medians_by_k_in_sections() -> None:
    text = sweep_table(pa.Table.from_pylist(ROWS))
    # Four single compositions at k = 1 and two at k = 2, whoever was trained on them.
    assert "## m\n\nCompositions: 4 at k = 1, 2 at k = 2." in text
    titles = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    assert titles == [
        "Default", "Classifiers on 1d", "Baselines on one score",
        "Baselines on several statistics, and none",
    ]  # fmt: skip
    # Median of .01 and .03, whose middle half spans .015 to .025; best of its column.
    assert "| ensemble | **.020** (.010) .75 .80 .10 | .200 (.000) - - - |" in text
    assert "| forest-none@1d | .400 (.000) -.25 .50 .40 |" in text
    assert "| atc-max | **.100** (.000) - - - |" in text
    assert "| constant | .500 (.000) - - - |" in text


def test_models_come_one_after_the_other() -> None:
    other = [r | {"model": "other"} for r in ROWS[:3]]
    text = sweep_table(pa.Table.from_pylist([*ROWS, *other]))
    assert text.count("### Default") == 2
    assert text.index("## m") < text.index("## other")
