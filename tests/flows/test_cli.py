"""The command line on files: every bad input has its message, its status, and no side effect."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from entropy.profile import FEATURES
from flows import cli

KEPT = b"what an earlier run wrote"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def sentinel(monkeypatch, capsys) -> Callable[..., Ran]:
    """Run a command in this process, as the console script does."""

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sentinel", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def refused(sentinel, tmp_path: Path, monkeypatch) -> Callable[..., str]:
    """The message of a command that must refuse its input, and must leave files as they were."""

    def no_cluster(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started before the input was checked")

    monkeypatch.setattr(ray, "init", no_cluster)

    def run(*words: object) -> str:
        fresh, kept = tmp_path / "out" / "fresh.parquet", tmp_path / "kept.parquet"
        kept.write_bytes(KEPT)
        ran = sentinel(*words, "-o", fresh)
        again = sentinel(*words, "-o", kept)
        for one in (ran, again):
            assert one.status == 2
            assert "Traceback" not in one.err
            assert one.err.startswith("error: ")
            assert "\n  -> " in one.err
            assert one.out == ""
        assert not fresh.exists()
        assert kept.read_bytes() == KEPT
        assert not list(tmp_path.rglob("*.tmp"))
        return ran.err

    return run


def parquet(path: Path, rows: list[dict] | pa.Table) -> Path:
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path)
    return path


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def key(number: int, benchmark: str = "b") -> dict:
    return {"benchmark": benchmark, "item_id": f"{number}"}


# Help


COMMANDS = ["run", "validate", "generate", "judge", "profile", "sweep", "ui"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(sentinel, command: str) -> None:
    ran = sentinel(command, "--help")
    assert ran.status == 0
    assert f"sentinel {command}" in ran.out


def test_the_help_lists_every_command(sentinel) -> None:
    ran = sentinel("--help")
    assert {c.name or c.callback.__name__ for c in cli.app.registered_commands} == set(COMMANDS)
    assert all(command in ran.out for command in COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    """The console script in a process of its own: it must answer at once."""
    code = (
        "import sys; sys.argv = ['sentinel', '--help']\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "print('heavy:', {'ray', 'prefect', 'mlflow', 'torch', 'sklearn'} & set(sys.modules))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "heavy: set()" in done.stdout, done.stdout + done.stderr


def test_a_mistyped_option_is_a_usage_error(sentinel) -> None:
    ran = sentinel("profile", "--tracs", "x")
    assert ran.status == 2
    assert "--tracs" in ran.err


# validate, run, generate


@pytest.mark.parametrize("command", ["validate", "run"])
def test_an_experiment_that_is_not_there(sentinel, tmp_path: Path, command: str) -> None:
    ran = sentinel(command, tmp_path / "none.yaml")
    assert ran.status == 2
    assert f"{tmp_path / 'none.yaml'} does not exist" in ran.err


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: object) -> Path:
        source = {"generator": "chain_sum", "size": 5}
        documents = {
            "models/m": {"name": "m", "engine": "vllm", "model": "org/m"},
            "benchmarks/easy": {"name": "easy", "version": 1, "source": source},
            "benchmarks/hard": {"name": "hard", "version": 1, "source": source},
            "experiments/e": {"name": "e", "models": ["m"], "benchmarks": ["easy", "hard"],
                              "sweep": {"sizes": [1], "estimators": ["constant"]}} | changes,
        }  # fmt: skip
        for name, document in documents.items():
            path = tmp_path / "conf" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document))  # JSON is YAML
        return path

    return write


def test_validate_counts_what_would_run(sentinel, experiment) -> None:
    ran = sentinel("validate", experiment())
    assert ran.status == 0
    assert "model x benchmark jobs" in ran.out


@pytest.mark.parametrize("command", ["validate", "run", "generate"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": ["n"]}, "model 'n' is unknown"),
        ({"sweep": {"sizes": [1], "estimators": ["forrest-isotonic"]}}, "forest-isotonic"),
        ({"sweep": {"sizes": [2]}}, "k = 2 leaves no unseen benchmark among 2"),
        ({"limits": 3}, "limits: Unexpected keyword"),
    ],
    ids=["model", "estimator", "k", "field"],
)
def test_a_mistake_in_conf_is_told_before_anything_starts(
    sentinel, experiment, tmp_path, command: str, change: dict, words: str
) -> None:
    out = ["-o", tmp_path / "out.parquet"] if command == "generate" else []
    ran = sentinel(command, experiment(**change), *out)
    assert ran.status == 2
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out.parquet").exists()


# profile


def test_profile_writes_a_row_a_trace(sentinel, tmp_path: Path) -> None:
    rows = [{**key(0), "entropy": [1.0, 2.0]}, {**key(1), "entropy": []}]
    out = tmp_path / "new" / "out.parquet"
    ran = sentinel("profile", "--traces", parquet(tmp_path / "t.parquet", rows), "-o", out)
    assert ran.status == 0
    assert f"2 rows written to {out}" in ran.out
    assert pq.read_table(out)["n_tokens"].to_pylist() == [2, 0]


NAN = float("nan")
TWENTY = [-3.0] * 20

TRACES = {
    "wrong column": ([{**key(0), "entropies": [1.0]}], "no trace among the columns"),
    "wrong key": ([{"benchmark": "b", "id": "1", "entropy": [1.0]}], "column `item_id` is missing"),
    "wrong type": ([{**key(0), "entropy": "high"}], "expected a list of numbers a row"),
    "duplicate ids": ([{**key(0), "entropy": [1.0]}] * 2, "item_id '0' stands on rows 0 and 1"),
    "NaN entropy": ([{**key(0), "entropy": [1.0]}, {**key(1), "entropy": [NAN]}],
                    "row 1 (benchmark 'b', item '1'), token 0: entropy nan"),
    "NaN logprob": ([{**key(0), "top20": [*TWENTY[1:], NAN]}], "token 19: log-probability is NaN"),
    "positive logprob": ([{**key(0), "top20": [*TWENTY[1:], 1.0]}],
                         "token 19: log-probability 1.0 is positive"),
    "fewer than 20": ([{**key(0), "top_logprobs": TWENTY[1:]}],
                      "19 log-probabilities do not divide into 20 a token"),
    "declared fewer": ([{**key(0), "top5": TWENTY}], "5 log-probabilities a token, 20"),
    "empty key": ([{**key(0), "entropy": [1.0]}, {**key(1), "item_id": None, "entropy": [1.0]}],
                  "row 1: `item_id` is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRACES)
def test_profile_refuses_traces_with_a(refused, tmp_path: Path, kind: str) -> None:
    rows, words = TRACES[kind]
    path = parquet(tmp_path / "traces.parquet", rows)
    message = refused("profile", "--traces", path)
    assert str(path) in message
    assert words in message


def test_profile_refuses_a_file_that_is_missing_or_empty(refused, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert f"{path} does not exist" in refused("profile", "--traces", path)
    parquet(path, pa.table({"benchmark": [], "item_id": [], "entropy": []}))
    assert f"{path} holds no rows" in refused("profile", "--traces", path)


def test_profile_refuses_a_completion_with_fewer_logprobs(refused, tmp_path: Path) -> None:
    token = {"token": "a", "logprob": -1, "top_logprobs": [{"token": "a", "logprob": -1}]}
    choices = [{"logprobs": {"content": [token]}}]
    path = jsonl(tmp_path / "chat.jsonl", [{**key(0), "choices": choices}])
    message = refused("profile", "--traces", path)
    assert f"{path}, row 0" in message
    assert "at most 1 log-probabilities a token, 20 were asked for" in message


def test_profile_refuses_a_k_below_one(sentinel, tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", [{**key(0), "top_logprobs": [-1.0]}])
    ran = sentinel("profile", "--traces", path, "--top-k", 0, "-o", tmp_path / "out.parquet")
    assert ran.status == 2
    assert "Traceback" not in ran.err


def test_profile_of_real_traces_and_of_their_top_20_agree(sentinel, shared_data, tmp_path) -> None:
    """Within the rounding of half precision, of the entropies or of the logprobs behind them."""
    folder = shared_data / "traces" / "qwen2.5-coder-0.5b-instruct"
    tables = []
    for name in ("top20", "traces"):
        out = tmp_path / f"{name}.parquet"
        assert sentinel("profile", "--traces", folder / f"{name}.parquet", "-o", out).status == 0
        tables.append(pq.read_table(out).to_pandas().set_index(["benchmark", "item_id"]))
    some, all_of_them = tables
    assert (len(some), len(all_of_them)) == (88, 5221)
    same = all_of_them.loc[some.index]
    assert (same["n_tokens"] == some["n_tokens"]).all()
    np.testing.assert_allclose(some[["mean", "max"]], same[["mean", "max"]], rtol=2e-3, atol=2e-3)
    # A sum gathers the rounding of a thousand tokens, mostly of the confident ones.
    np.testing.assert_allclose(some["sum"], same["sum"], rtol=2e-3, atol=0.5)


# judge


ITEM = {"question": "?", "answer": "2", "answer_type": "numeric"}
ANSWER = {"text": "It is 2.", "finish": "stop"}


def test_judge_writes_a_verdict_a_response(sentinel, tmp_path: Path) -> None:
    items = [{**key(n), **ITEM} for n in range(4)]
    responses = [
        {**key(0), **ANSWER},
        {**key(1), "text": "It is 3.", "finish": "stop"},
        {**key(2), "text": "It would be 2 but", "finish": "length"},
        {**key(3), "text": None, "finish": "error"},
    ]
    out = tmp_path / "out.parquet"
    ran = sentinel("judge", "--responses", jsonl(tmp_path / "r.jsonl", responses),
                   "--items", jsonl(tmp_path / "i.jsonl", items), "-o", out)  # fmt: skip
    assert ran.status == 0, ran.err
    # A truncated response has no marked answer; a refused request has none to score.
    assert pq.read_table(out)["status"].to_pylist() == [
        "correct", "incorrect", "no_answer", "judge_error",
    ]  # fmt: skip


JUDGED = {
    "missing items": (None, [{**key(0), **ANSWER}], "i.jsonl does not exist"),
    "missing column": ([{**key(0), **ITEM}], [key(0)], "r.jsonl: column `text` is missing"),
    "item without type": (
        [{**key(0), "question": "?", "answer": "2"}], [{**key(0), **ANSWER}],
        "i.jsonl: column `answer_type` is missing"),
    "wrong type": (
        [{**key(0), **ITEM, "answer": 2}], [{**key(0), **ANSWER}],
        "i.jsonl: column `answer` holds int64, not string"),
    "duplicate items": (
        [{**key(0), **ITEM}] * 2, [{**key(0), **ANSWER}], "i.jsonl: benchmark 'b', item_id '0'"),
    "duplicate responses": (
        [{**key(0), **ITEM}], [{**key(0), **ANSWER}] * 2, "r.jsonl: benchmark 'b', item_id '0'"),
    "empty benchmark": ([], [{**key(0), **ANSWER}], "i.jsonl holds no rows"),
    "no text kept": (
        [{**key(0), **ITEM}], [{**key(0), "text": None, "finish": "stop"}],
        "r.jsonl: every `text` is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", JUDGED)
def test_judge_refuses(refused, tmp_path: Path, kind: str) -> None:
    items, responses, words = JUDGED[kind]
    if items is not None:
        jsonl(tmp_path / "i.jsonl", items)
    jsonl(tmp_path / "r.jsonl", responses)
    message = refused("judge", "--responses", tmp_path / "r.jsonl", "--items", tmp_path / "i.jsonl")
    assert words in message


# sweep


def profiles(sizes: dict[str, int]) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {**key(n, b), "n_tokens": 3, **dict(zip(FEATURES, rng.random(11).tolist(), strict=True))}
        for b, size in sizes.items()
        for n in range(size)
    ]


def labels(rows: list[dict], **same: int) -> list[dict]:
    """A label a profile: 0 and 1 in turn, or one for the whole benchmark."""
    return [
        {"benchmark": r["benchmark"], "item_id": r["item_id"],
         "correct": same.get(r["benchmark"], int(r["item_id"]) % 2)}
        for r in rows
    ]  # fmt: skip


PROFILES = profiles({"x": 20, "y": 20, "z": 20})
LABELS = labels(PROFILES)


def without(rows: list[dict], name: str) -> list[dict]:
    return [{k: v for k, v in row.items() if k != name} for row in rows]


def changed(rows: list[dict], number: int, **values: object) -> list[dict]:
    return [row | values if n == number else row for n, row in enumerate(rows)]


SWEEPS = {
    "no column of profiles": ((without(PROFILES, "q25"), LABELS), "p.parquet: column `q25` is"),
    "no key of labels": ((PROFILES, without(LABELS, "item_id")), "l.parquet: column `item_id` is"),
    "no label": ((PROFILES, without(LABELS, "correct")), "l.parquet: neither `correct` nor `stat"),
    "text for a statistic": (([r | {"mean": "low"} for r in PROFILES], LABELS), "p.parquet: "),
    "a label of 2": ((PROFILES, changed(LABELS, 7, correct=2)), "l.parquet, row 7: `correct` is 2"),
    "duplicate profiles": (([*PROFILES, PROFILES[3]], LABELS), "item_id '3' stands on rows 3 and"),
    "duplicate labels": ((PROFILES, [*LABELS, LABELS[3]]), "item_id '3' stands on rows 3 and 60"),
    "NaN statistic": ((changed(PROFILES, 4, mean=NAN), LABELS), "mean of x / 4 is nan"),
    "no common key": (
        (PROFILES, [r | {"benchmark": r["benchmark"] + "'"} for r in LABELS]), "0 benchmarks with"),
    "one benchmark": ((PROFILES[:20], LABELS[:20]), "1 benchmarks with labelled responses"),
    "unknown estimator": (
        (PROFILES, LABELS, "--estimators", "atc-maxx"), "did you mean atc-max"),
    "estimator twice": (
        (PROFILES, LABELS, "--estimators", "constant,constant"), "'constant' is listed twice"),
    "k too large": ((PROFILES, LABELS, "--sizes", "1,3"), "k = 3 with 3 benchmarks"),
    "k of nothing": ((PROFILES, LABELS, "--sizes", "one"), "--sizes 'one' are not numbers"),
    "unknown path": ((PROFILES, LABELS, "--path", "slow"), "'fast', 'exact' or 'reference'"),
    "unknown benchmark": ((PROFILES, LABELS, "--benchmarks", "x,v*"), "no benchmark matches 'v*'"),
    "negative seed": ((PROFILES, LABELS, "--seed", "-1"), "seed: Input should be greater than"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SWEEPS)
def test_sweep_refuses(refused, tmp_path: Path, kind: str) -> None:
    (profiled, labelled, *options), words = SWEEPS[kind]
    if "--sizes" not in options:
        options = [*options, "--sizes", "1"]
    message = refused(
        "sweep", "--profiles", parquet(tmp_path / "p.parquet", profiled),
        "--labels", parquet(tmp_path / "l.parquet", labelled), *options,
    )  # fmt: skip
    assert words in message


@pytest.mark.parametrize("missing", ["p", "l"])
def test_sweep_refuses_a_missing_file(refused, tmp_path: Path, missing: str) -> None:
    paths = {n: parquet(tmp_path / f"{n}.parquet", r) for n, r in (("p", PROFILES), ("l", LABELS))}
    paths[missing].unlink()
    message = refused("sweep", "--profiles", paths["p"], "--labels", paths["l"])
    assert f"{paths[missing]} does not exist" in message


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One local Ray for the tests that sweep."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_sweep_writes_its_splits_and_notes_what_teaches_nothing(
    cluster, sentinel, tmp_path: Path
) -> None:
    """All right, all wrong, and unlabelled: told on stderr, and the sweep goes on."""
    rows = profiles({"w": 20, "x": 20, "y": 20, "z": 20})
    table = labels(rows, x=1, y=0)[1:]
    out = tmp_path / "splits.parquet"
    ran = sentinel(
        "sweep", "--profiles", parquet(tmp_path / "p.parquet", rows),
        "--labels", parquet(tmp_path / "l.parquet", table),
        "--sizes", "1,2", "--estimators", "atc-max,constant", "-o", out,
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert "note: x: all answers are right, so it has no AUROC" in ran.err
    assert "note: y: all answers are wrong, so it has no AUROC" in ran.err
    assert "note: 1 of 80 responses have no label and are left out" in ran.err
    splits = pq.read_table(out)
    assert len(splits) == (4 + 6) * 2
    statuses = {tuple(r["composition"]): r["status"] for r in splits.to_pylist()}
    assert statuses["x",] == statuses["y",] == "single_class"
    assert statuses["x", "y"] == statuses["w",] == "ok"
    assert f"20 rows written to {out}" in ran.out


def test_a_second_sweep_reads_the_stored_chunks_and_repeats_itself(
    cluster, sentinel, tmp_path: Path, monkeypatch
) -> None:
    words = [
        "sweep", "--profiles", parquet(tmp_path / "p.parquet", PROFILES),
        "--labels", parquet(tmp_path / "l.parquet", LABELS),
        "--sizes", "1", "--estimators", "atc-max", "-o",
    ]  # fmt: skip
    assert sentinel(*words, tmp_path / "first.parquet").status == 0
    monkeypatch.setattr(ray, "put", None)  # Nothing may be handed to workers any more.
    assert sentinel(*words, tmp_path / "second.parquet").status == 0
    first, second = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("first", "second"))
    assert len(first) == 3
    assert first.to_pandas().equals(second.to_pandas())


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ({"api_key_env": None}, "http://127.0.0.1:9/v1 cannot be reached"),
        ({"api_key_env": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY is not set"),
    ],
    ids=["unreachable", "no key"],
)
def test_generate_tells_a_useless_endpoint_with_a_status_of_its_own(
    cluster, sentinel, experiment, tmp_path: Path, endpoint: dict, words: str
) -> None:
    path = experiment()
    remote = {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0} | endpoint
    model = {"name": "m", "engine": "openai", "model": "org/m", "endpoint": remote}
    (path.parent.parent / "models" / "m.yaml").write_text(json.dumps(model))
    ran = sentinel("generate", path, "-o", tmp_path / "out.parquet")
    assert ran.status == 3
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out.parquet").exists()
