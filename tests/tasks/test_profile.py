"""Traces in every accepted shape become the same profiles, and unusable ones are named."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy.bounds import BOUNDS
from entropy.profile import FEATURES, profile
from entropy.trace import Ragged
from tasks.errors import SentinelError
from tasks.signals import traces as module
from tasks.signals.profile import (
    OPTIONAL,
    PROFILE_SCHEMA,
    check_profiles,
    profile_file,
    profile_table,
)

# Two responses at k = 2: probabilities 1/2, 1/4 (entropy ln 2), and 1/2, 1/2 (also ln 2).
HALF, QUARTER = math.log(0.5), math.log(0.25)
TOP = [[HALF, QUARTER, HALF, HALF], [HALF, QUARTER]]
ENTROPIES = [[math.log(2)] * 2, [math.log(2)]]


def parquet(path: Path, **columns) -> Path:
    count = len(next(iter(columns.values())))
    keys = {"benchmark": ["b"] * count, "item_id": [str(i) for i in range(count)]}
    pq.write_table(pa.table(keys | columns), path)
    return path


def completion(top: list[float], k: int = 2) -> dict:
    tokens = [top[i : i + k] for i in range(0, len(top), k)]
    content = [
        {
            "token": "t0",
            "logprob": values[0],
            "top_logprobs": [{"token": f"t{j}", "logprob": v} for j, v in enumerate(values)],
        }
        for values in tokens
    ]
    return {"choices": [{"logprobs": {"content": content}}]}


def jsonl(path: Path, *rows: dict) -> Path:
    keyed = [{"benchmark": "b", "item_id": str(i), **row} for i, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, keyed)))
    return path


SHAPES = {
    "entropies": lambda d: parquet(d / "a.parquet", entropy=ENTROPIES),
    "topk": lambda d: parquet(d / "a.parquet", top2=TOP),
    "declared k": lambda d: parquet(d / "a.parquet", top_logprobs=TOP, k=[2, 2]),
    "undeclared k": lambda d: parquet(d / "a.parquet", top_logprobs=TOP),
    "more than k": lambda d: parquet(
        d / "a.parquet", top3=[[-9.0, *TOP[0][:2], -8, *TOP[0][2:]], [*TOP[1], -9]]
    ),
    "JSONL entropies": lambda d: jsonl(d / "a.jsonl", *({"entropy": e} for e in ENTROPIES)),
    "JSONL top k": lambda d: jsonl(d / "a.jsonl", *({"top_logprobs": t} for t in TOP)),
    "completions": lambda d: jsonl(d / "a.jsonl", *map(completion, TOP)),
    "batch API": lambda d: jsonl(
        d / "a.jsonl", *({"response": {"status_code": 200, "body": completion(t)}} for t in TOP)
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_profiles(tmp_path: Path, shape: str) -> None:
    table = profile_file(SHAPES[shape](tmp_path), top_k=2)
    assert table.schema == PROFILE_SCHEMA
    assert table["n_tokens"].to_pylist() == [2, 1]
    expected = profile(Ragged(np.full(3, math.log(2)), np.array([0, 2, 3])))
    found = np.column_stack([table[f].to_numpy() for f in FEATURES])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


# Likelihood of the chosen tokens

CHOSEN = [[HALF, QUARTER], [HALF]]


def column(table: pa.Table, name: str) -> list:
    return table[name].to_pylist()


@pytest.mark.parametrize("shape", ["entropy", "top2"])
def test_chosen_tokens_give_the_likelihood_metrics(tmp_path: Path, shape: str) -> None:
    trace = {"entropy": ENTROPIES} if shape == "entropy" else {"top2": TOP}
    table = profile_file(parquet(tmp_path / "a.parquet", **trace, chosen_logprob=CHOSEN), 2)
    assert column(table, "nll_sum") == pytest.approx([math.log(8), math.log(2)])
    assert column(table, "mtp") == pytest.approx([0.25, 0.5])
    assert column(table, "ppl") == pytest.approx([math.sqrt(8), 2])
    assert column(table, "mtp_released")[1] == pytest.approx(math.log(2) * math.log(math.log(2)))


def test_completions_give_the_likelihood_metrics(tmp_path: Path) -> None:
    table = profile_file(SHAPES["completions"](tmp_path), 2)
    assert column(table, "nll_sum") == pytest.approx([2 * math.log(2), math.log(2)])


def test_without_chosen_tokens_their_metrics_are_null(tmp_path: Path) -> None:
    table = profile_file(parquet(tmp_path / "a.parquet", entropy=ENTROPIES), 20)
    assert all(table[name].null_count == 2 for name in OPTIONAL)
    assert all(table[name].null_count == 0 for name in FEATURES)


def test_a_row_without_chosen_tokens_is_null_and_one_without_tokens_is_nothing(tmp_path) -> None:
    rows = {"entropy": [[1.0], [1.0], []], "chosen_logprob": [[HALF], None, []]}
    table = profile_file(parquet(tmp_path / "a.parquet", **rows), 20)
    first, second, third = column(table, "ppl")
    assert (first, second) == (pytest.approx(2), None)
    assert math.isnan(third)


# Fewer candidates than were recorded

RECORDED = {
    "entropy": [[math.log(2)] * 2, [math.log(2)]],
    "top_k": [2, 2],
    "top_logprobs": TOP,
    "tail_mass": [[0.25, 0.0], [0.25]],
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("says", ["top_k", "the log-probabilities"])
def test_fewer_candidates_come_from_the_log_probabilities(tmp_path, kind: str, says: str) -> None:
    columns = {n: v for n, v in RECORDED.items() if says == "top_k" or n != "top_k"}
    if kind == "parquet":
        path = parquet(tmp_path / "a.parquet", **columns)
    else:
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        path = jsonl(tmp_path / "a.jsonl", *rows)
    # One candidate of probability 1/2: -0.5 ln 0.5 a token.
    assert column(profile_file(path, 1), "sum") == pytest.approx([math.log(2), math.log(2) / 2])
    assert column(profile_file(path, 2), "sum") == pytest.approx([2 * math.log(2), math.log(2)])


@pytest.mark.parametrize(
    ("change", "top_k", "words"),
    [
        ({"top_logprobs": None}, 1, "over 2 candidates a token, 1 are expected, and the 2 log-"),
        ({"top_logprobs": [TOP[0], None]}, 1, "row 1 (benchmark 'b', item '1'), token 0: its"),
        ({}, 20, "its entropies are over 2 candidates a token, 20 are expected"),
        ({"top_k": [3, 2]}, 1, "2 candidates a token, 3 in other rows"),
        ({"chosen_logprob": [[HALF], [HALF]]}, 2, "token 1: 1 values of `chosen_logprob` for 2"),
    ],
    ids=["not kept", "kept in part", "more than recorded", "k changes", "too few choices"],
)
def test_candidates_that_are_not_there_are_an_error(tmp_path, change, top_k, words: str) -> None:
    columns = {n: v for n, v in (RECORDED | change).items() if v is not None}
    with pytest.raises(SentinelError) as caught:
        profile_file(parquet(tmp_path / "a.parquet", **columns), top_k)
    assert words in str(caught.value)
    assert "->" in str(caught.value)


def test_a_response_without_tokens_says_nothing_about_k(tmp_path: Path) -> None:
    columns = {"entropy": [[], [1.0]], "top_k": [20, 2], "top_logprobs": [None, TOP[1]]}
    assert column(profile_file(parquet(tmp_path / "a.parquet", **columns), 2), "n_tokens") == [0, 1]


# Bounds of the full entropy


@pytest.mark.parametrize("shape", ["entropies beside their tail", "top k"])
def test_bounds_are_added_where_a_vocabulary_is_given(tmp_path: Path, shape: str) -> None:
    columns = {"top2": TOP}
    if shape != "top k":
        columns = {n: RECORDED[n] for n in ("entropy", "tail_mass")}
    table = profile_file(parquet(tmp_path / "a.parquet", **columns), 2, vocabulary=6)
    assert table.column_names == [*PROFILE_SCHEMA.names, *BOUNDS]
    low = math.log(2) + 0.25 * math.log(4)  # The token with a quarter outside; the other has none.
    high = low + 0.25 * math.log(4)
    assert column(table, "sum_low") == pytest.approx([low + math.log(2), low])
    assert column(table, "max_high") == pytest.approx([high, high])
    assert check_profiles(table, "f").schema == PROFILE_SCHEMA


@pytest.mark.parametrize(
    ("columns", "vocabulary", "words"),
    [
        ({"entropy": ENTROPIES}, 6, "hold no `tail_mass`"),
        ({"top2": TOP}, 2, "a vocabulary of 2 has no tail beyond the top 2"),
    ],
    ids=["no tail", "small vocabulary"],
)
def test_bounds_that_cannot_be_had_are_an_error(tmp_path, columns, vocabulary, words) -> None:
    with pytest.raises(SentinelError, match=words):
        profile_file(parquet(tmp_path / "a.parquet", **columns), 2, vocabulary)


def test_slices_of_a_file_do_not_show(tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    path = parquet(tmp_path / "a.parquet", entropy=[rng.random(n).tolist() for n in range(1, 12)])
    whole = profile_file(path, 20)
    monkeypatch.setattr(module, "_SLICE", 4)
    assert profile_file(path, 20).equals(whole)


def test_an_error_in_a_later_slice_names_the_row_of_the_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SLICE", 2)
    path = parquet(tmp_path / "a.parquet", entropy=[[1.0]] * 4 + [[1.0, -1.0]])
    with pytest.raises(SentinelError, match=r"a\.parquet, row 4 .*item '4'\), token 1: entropy"):
        profile_file(path, 20)


def test_a_response_without_tokens_has_a_row_of_nothing(tmp_path: Path) -> None:
    table = profile_file(parquet(tmp_path / "a.parquet", entropy=[[], [1.0]]), 20)
    assert table["n_tokens"].to_pylist() == [0, 1]
    assert math.isnan(table["mean"][0].as_py())


def test_numbers_as_ids_are_written_as_text(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"benchmark": ["b"], "item_id": [7], "entropy": [[1.0]]}), tmp_path / "a.parquet"
    )
    assert profile_file(tmp_path / "a.parquet", 20)["item_id"].to_pylist() == ["7"]


NAN = float("nan")

MISTAKES = {
    "no trace": ({"text": ["x"]}, "a.parquet: no trace among the columns benchmark, item_id"),
    "text for numbers": ({"entropy": ["x"]}, "expected a list of numbers a row, found string"),
    "one number a row": ({"entropy": [1.0]}, "expected a list of numbers a row, found double"),
    "NaN entropy": ({"entropy": [[1.0], [NAN]]}, "row 1 (benchmark 'b', item '1'), token 0"),
    "NaN choice": (
        {"entropy": [[1.0]], "chosen_logprob": [[NAN]]}, "token 0: log-probability is NaN"),
    "positive choice": (
        {"entropy": [[1.0]], "chosen_logprob": [[0.5]]}, "log-probability 0.5 is positive"),
    "NaN candidate": ({"top2": [[-1.0, -2, -1, NAN]]}, "token 3: log-probability is NaN"),
    "positive candidate": ({"top2": [[-1.0, 0.25]]}, "token 1: log-probability 0.25 is positive"),
    "listed twice": (
        {"top2": [[-1.0, -2], [-9.0, -9, -0.1, -0.1]]},
        "row 1 (benchmark 'b', item '1'), token 1: the probabilities add up to 1.81"),
    "fewer than k": ({"top1": [[-1.0]]}, "1 log-probabilities a token, 2 are expected"),
    "k says fewer": (
        {"top_logprobs": [[-1.0]], "k": [1]}, "1 log-probabilities a token, 2 are expected"),
    "k says nothing": (
        {"top_logprobs": [[-1.0]], "k": pa.array([None], pa.int64())}, "an unknown number of log-"),
    "k changes": (
        {"top_logprobs": [[-1.0, -2], [-1.0, -2, -3]], "k": [2, 3]},
        "row 1 (benchmark 'b', item '1'), token 0: 3 log-probabilities a token, 2 in the rows"),
    "not a multiple": ({"top_logprobs": [[-1.0, -2, -3]]}, "do not divide into 2 a token"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_unusable_trace_is_named(tmp_path: Path, mistake: str) -> None:
    columns, words = MISTAKES[mistake]
    with pytest.raises(SentinelError) as caught:
        profile_file(parquet(tmp_path / "a.parquet", **columns), top_k=2)
    assert str(tmp_path / "a.parquet") in str(caught.value)
    assert words in str(caught.value)


GOOD = completion(TOP[0])


def broken(change) -> dict:
    row = json.loads(json.dumps(GOOD))
    change(row)
    return row


def content(row: dict) -> list[dict]:
    return row["choices"][0]["logprobs"]["content"]


COMPLETIONS = {
    "no logprobs": (broken(lambda r: r["choices"][0].update(logprobs=None)), "no logprobs.content"),
    "no choices": (broken(lambda r: r.update(choices=[])), "no logprobs.content"),
    "no candidates": (
        broken(lambda r: content(r)[1].pop("top_logprobs")), "token 1: no top_logprobs"),
    "fewer than k": (completion([HALF, HALF], k=1), "at most 1 log-probabilities a token, 2 were"),
    "NaN": (broken(lambda r: content(r)[1].update(logprob=NAN)), "token 1: log-probability is NaN"),
    "positive": (
        broken(lambda r: content(r)[0]["top_logprobs"][1].update(logprob=3)),
        "token 0: log-probability 3.0 is positive"),
    "more than certain": (
        broken(lambda r: content(r)[1]["top_logprobs"][1].update(logprob=0)),
        "token 1: the probabilities add up to 1.5"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", COMPLETIONS)
def test_an_unusable_completion_is_named_by_row(tmp_path: Path, mistake: str) -> None:
    row, words = COMPLETIONS[mistake]
    with pytest.raises(SentinelError) as caught:
        profile_file(jsonl(tmp_path / "a.jsonl", GOOD, row), top_k=2)
    assert f"{tmp_path / 'a.jsonl'}, row 1" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["benchmark", "item_id"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_missing_key_column_is_named(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    columns = {"benchmark": "b", "item_id": "1", "entropy": [1.0]}
    columns.pop(name)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([columns]), path)
    else:
        path.write_text(json.dumps(columns))
    with pytest.raises(SentinelError, match=rf"{path}.*`{name}` is missing"):
        profile_file(path, 20)


def test_an_empty_key_is_named_by_row() -> None:
    table = pa.table({"benchmark": ["b", None], "item_id": ["1", "2"], "entropy": [[1.0], [1.0]]})
    with pytest.raises(SentinelError, match="f, row 1: `benchmark` is empty"):
        profile_table(table, "f")


def test_duplicate_keys_are_named_by_row(tmp_path: Path) -> None:
    table = pa.table({"benchmark": ["b"] * 3, "item_id": ["1", "2", "1"], "entropy": [[1.0]] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SentinelError, match="item_id '1' stands on rows 0 and 2"):
        profile_file(tmp_path / "a.parquet", 20)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_missing_an_empty_and_a_damaged_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(SentinelError, match=f"{name} does not exist"):
        profile_file(path, 20)
    pq.write_table(pa.table({"entropy": []}), path) if name == "a.parquet" else path.write_text("")
    with pytest.raises(SentinelError, match=f"{name} holds no rows"):
        profile_file(path, 20)
    path.write_text("what is this")
    with pytest.raises(SentinelError, match=f"{name}"):
        profile_file(path, 20)


# Profiles from a file


def test_a_file_with_only_the_eleven_is_enough(tmp_path: Path) -> None:
    table = profile_file(parquet(tmp_path / "a.parquet", entropy=ENTROPIES), 20)
    assert check_profiles(table.drop(list(OPTIONAL)), "f").equals(table)


def test_profiles_come_back_from_a_file(tmp_path: Path) -> None:
    table = profile_file(parquet(tmp_path / "a.parquet", entropy=ENTROPIES), 20)
    assert check_profiles(table, "f").equals(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(["q25"]), "f: column `q25` is missing"),
        (lambda t: t.set_column(3, "mean", [["a", "b"]]), "f: "),
        (lambda t: t.set_column(3, "mean", pa.array([None, 1.0])), "f: "),
        (lambda t: pa.concat_tables([t, t]), "item_id '0' stands on rows 0 and 2"),
    ],
    ids=["missing", "text", "null", "twice"],
)
def test_unusable_profiles_are_refused_with_a_remedy(tmp_path: Path, change, words: str) -> None:
    table = profile_file(parquet(tmp_path / "a.parquet", entropy=ENTROPIES), 20)
    with pytest.raises(SentinelError) as caught:
        check_profiles(change(table), "f")
    assert words in str(caught.value)
    assert "->" in str(caught.value)


def test_real_traces_and_their_real_top_20_agree(shared_data: Path) -> None:
    """Both were rounded to half precision: the entropies directly, or the logprobs behind them."""
    folder = shared_data / "traces" / "qwen2.5-coder-0.5b-instruct"
    some = pq.read_table(folder / "top20.parquet").slice(0, 30)
    keys = some.select(["benchmark", "item_id"])
    traces = pq.read_table(folder / "traces.parquet", columns=["benchmark", "item_id", "entropy"])
    wanted = {(row["benchmark"], row["item_id"]) for row in keys.to_pylist()}
    pairs = zip(traces["benchmark"].to_pylist(), traces["item_id"].to_pylist(), strict=True)
    traces = traces.filter(pa.array([pair in wanted for pair in pairs]))
    found = [profile_table(t, "f").sort_by([("benchmark", "ascending"), ("item_id", "ascending")])
             for t in (some, traces)]  # fmt: skip
    assert found[0]["item_id"].equals(found[1]["item_id"])
    assert found[0]["n_tokens"].equals(found[1]["n_tokens"])
    for name in ("mean", "max", "q50", "q90"):
        a, b = (t[name].to_numpy() for t in found)
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3, err_msg=name)
