"""The feature table of a model: which responses count, and what is said about the others."""

import pyarrow as pa
import pytest

from entropy.profile import FEATURES
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.signals.features import join, join_jobs, label_column
from tasks.signals.profile import PROFILE_SCHEMA, profile_artefact
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of


def profiles(*keys: tuple[str, str], n_tokens: int = 3, value: float = 0.5) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"benchmark": b, "item_id": i, "n_tokens": n_tokens, **dict.fromkeys(FEATURES, value)}
            for b, i in keys
        ],
        schema=PROFILE_SCHEMA,
    )


def labels(*rows: tuple[str, str, float | None]) -> pa.Table:
    return label_column(
        pa.table(
            {
                "benchmark": pa.array([r[0] for r in rows], pa.string()),
                "item_id": pa.array([r[1] for r in rows], pa.string()),
                "correct": pa.array([r[2] for r in rows], pa.float64()),
            }
        ),
        "labels",
    )


KEYS = [(b, f"{n}") for b in "xy" for n in range(12)]
LABELS = [(b, i, float(int(i) % 2)) for b, i in KEYS]


def test_rows_are_matched_by_key_whatever_their_order() -> None:
    joined = join("m", profiles(*KEYS), labels(*LABELS[::-1]))
    assert joined.table.benchmarks == ("x", "y")
    assert joined.notes == ()
    # Sorted by the text of the id: 0, 1, 10, 11, 2, ...
    assert joined.table.y.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1] * 2
    assert joined.digest == join("m", profiles(*KEYS[::-1]), labels(*LABELS)).digest


@pytest.mark.parametrize("change", ["label", "value", "model"])
def test_the_digest_follows_the_content(change: str) -> None:
    other = [*LABELS[:-1], (*LABELS[-1][:2], 1 - LABELS[-1][2])] if change == "label" else LABELS
    features = profiles(*KEYS, value=0.25 if change == "value" else 0.5)
    joined = join("n" if change == "model" else "m", features, labels(*other))
    assert joined.digest != join("m", profiles(*KEYS), labels(*LABELS)).digest


def test_unlabelled_responses_are_left_out_and_counted() -> None:
    joined = join("m", profiles(*KEYS, ("x", "more")), labels(*LABELS))
    assert joined.notes == ("1 of 25 responses have no label and are left out",)
    assert len(joined.table.y) == 24


def test_unscorable_responses_are_left_out_and_not_wrong() -> None:
    joined = join("m", profiles(*KEYS, ("x", "z")), labels(*LABELS, ("x", "z", None)))
    assert joined.notes == ("1 unscorable responses are left out",)
    assert joined.table.y.sum() == 12


def test_responses_without_tokens_are_left_out_and_counted() -> None:
    none = profiles(("x", "z"), n_tokens=0, value=float("nan"))
    table = pa.concat_tables([profiles(*KEYS), none])
    joined = join("m", table, labels(*LABELS, ("x", "z", 1.0)))
    assert joined.notes == ("1 responses without tokens are left out",)


@pytest.mark.parametrize(("label", "word"), [(1.0, "right"), (0.0, "wrong")])
def test_a_benchmark_all_right_or_all_wrong_is_noted(label: float, word: str) -> None:
    rows = [(b, i, label if b == "y" else v) for b, i, v in LABELS]
    joined = join("m", profiles(*KEYS), labels(*rows))
    assert joined.notes == (f"y: all answers are {word}, so it has no AUROC",)


def test_a_small_benchmark_is_noted() -> None:
    keys = KEYS[:14]
    joined = join("m", profiles(*keys), labels(*LABELS[:14]))
    assert joined.notes == ("y: only 2 scored responses",)


@pytest.mark.parametrize("kept", [0, 12])
def test_fewer_than_two_benchmarks_are_refused(kept: int) -> None:
    with pytest.raises(SentinelError, match=r"(?s)model 'm': [01] benchmarks .*at least two"):
        join("m", profiles(*KEYS), labels(*LABELS[:kept]))


def test_a_statistic_that_is_not_finite_is_named_by_its_response() -> None:
    bad = profiles(("x", "z"), value=float("nan"))
    table = pa.concat_tables([profiles(*KEYS), bad])
    with pytest.raises(SentinelError, match="model 'm': mean of x / z is nan"):
        join("m", table, labels(*LABELS, ("x", "z", 1.0)))


# Columns


def with_column(name: str, values: list) -> pa.Table:
    table = profiles(*KEYS)
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values, pa.float64()))


def test_the_eleven_and_the_length_are_always_there() -> None:
    table = join("m", profiles(*KEYS, n_tokens=7), labels(*LABELS)).table
    assert table.features == (*FEATURES, "n_tokens")
    assert (table.X[:, table.columns(["n_tokens"])[0]] == 7).all()


def test_a_column_that_every_response_has_joins_them() -> None:
    joined = join("m", with_column("nll_sum", [2.0] * len(KEYS)), labels(*LABELS))
    assert joined.table.features == (*FEATURES, "nll_sum", "n_tokens")
    assert joined.notes == ()
    assert joined.digest != join("m", profiles(*KEYS), labels(*LABELS)).digest


@pytest.mark.parametrize("lacking", [None, float("nan"), float("inf")], ids=str)
def test_a_column_that_some_response_lacks_is_left_out_with_a_note(lacking) -> None:
    values = [*[2.0] * (len(KEYS) - 1), lacking]
    joined = join("m", with_column("ppl", values), labels(*LABELS))
    assert joined.table.features == (*FEATURES, "n_tokens")
    assert joined.notes == ("ppl is missing in 1 of 24 responses and cannot be used",)


def test_a_response_that_is_left_out_cannot_take_a_column_with_it() -> None:
    values = [*[2.0] * (len(KEYS) - 1), None]
    unlabelled = [*LABELS[:-1], (*LABELS[-1][:2], None)]
    joined = join("m", with_column("ppl", values), labels(*unlabelled))
    assert "ppl" in joined.table.features


# Labels


def column(**columns) -> pa.Table:
    return pa.table({"benchmark": ["b"] * 3, "item_id": ["1", "2", "3"]} | columns)


def test_verdicts_become_labels() -> None:
    table = column(status=["correct", "no_answer", "timeout"])
    assert label_column(table, "f")["label"].to_pylist() == [1, 0, None]


@pytest.mark.parametrize(
    "values", [[1, 0, None], [True, False, None], [1.0, 0.0, float("nan")]], ids=str
)
def test_labels_of_any_kind_become_numbers(values: list) -> None:
    assert label_column(column(correct=values), "f")["label"].to_pylist() == [1, 0, None]


def test_ids_that_are_numbers_meet_ids_that_are_text() -> None:
    table = pa.table({"benchmark": ["b"], "item_id": [7], "correct": [1]})
    assert label_column(table, "f")["item_id"].to_pylist() == ["7"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (column(right=[1, 1, 1]), "f: neither `correct` nor `status` among benchmark, item_id"),
        (column(correct=[1, 2, 0]), "f, row 1: `correct` is 2"),
        (column(correct=["1", "0", "1"]), "f, row 0: `correct` is '1'"),
        (column(status=["correct", "Correct", "timeout"]), "f, row 1: `status` is 'Correct'"),
        (column(status=["correct", None, "timeout"]), "f, row 1: `status` is None"),
        (column(correct=[1, 1, 1]).drop(["item_id"]), "f: column `item_id` is missing"),
        (column(correct=[1, 1, 1]).set_column(0, "benchmark", [["b", None, "b"]]),
         "f, row 1: `benchmark` is empty"),
        (column(correct=[1, 1, 1]).set_column(1, "item_id", [[["x"]] * 3]),
         "f: column `item_id` holds list"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_a_mistake_in_labels_is_named(table: pa.Table, words: str) -> None:
    with pytest.raises(SentinelError) as caught:
        label_column(table, "f")
    assert words in str(caught.value)


# Stored jobs


def test_stored_jobs_count_only_the_items_asked_for(make_experiment, store) -> None:
    """A store may hold more than an experiment's limit names."""
    from tasks.jobs import jobs_of

    experiment = make_experiment()
    jobs = jobs_of(experiment, experiment.models[0])
    many = {job.benchmark.name: items_of(job.benchmark.name, 12) for job in jobs}
    for job in jobs:
        generate(job, many[job.benchmark.name], ListedPool(), store)
        judge_artefact(job, many[job.benchmark.name], store)
        profile_artefact(job, store)
    few = {name: table.slice(0, 11) for name, table in many.items()}
    joined = join_jobs(jobs, few, store)
    assert joined.table.benchmarks == ("alpha", "beta")
    assert len(joined.table.y) == 22
