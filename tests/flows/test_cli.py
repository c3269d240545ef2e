"""The command line on files: every bad input has its message, its status, and no side effect."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import typer

from flows import cli
from tests.flows.files import jsonl, key, parquet

COMMANDS = [
    "run", "validate", "generate", "judge", "profile", "sweep", "ui", "deploy", "plan", "models",
    "report", "transfer", "sensitivity", "audit", "estimate",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(sentinel, command: str) -> None:
    ran = sentinel(command, "--help")
    assert ran.status == 0
    assert f"sentinel {command}" in ran.out


def test_the_help_lists_every_command(sentinel) -> None:
    ran = sentinel("--help")
    assert set(typer.main.get_command(cli.app).commands) == set(COMMANDS)
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


@pytest.mark.parametrize("option", ["-o", "--items"])
def test_a_folder_is_no_file_to_write(
    sentinel, experiment, tmp_path: Path, monkeypatch, option: str
) -> None:
    """Told before an engine starts."""
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    ran = sentinel("generate", experiment(), "-o", tmp_path / "out.parquet", option, tmp_path)
    assert ran.status == 2
    assert "is a directory" in ran.err


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
        ({"limits": 3}, "limits: unknown field"),
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
