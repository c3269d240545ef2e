"""``sentinel judge --judge`` and ``sentinel audit`` as a person uses them."""

import csv
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.chat_server import Server, answer
from tests.flows.files import jsonl, key

ROOT = Path(__file__).parents[2]
SECRET = "nargles"


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> dict[str, Path]:
    """Twelve responses, half of them right; the working folder has a conf that hides ``gpqa``."""
    monkeypatch.chdir(tmp_path)
    hidden = tmp_path / "conf" / "benchmarks" / "gpqa.yaml"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("name: gpqa\nshow_items: false\n")
    return write(tmp_path, "b")


def write(folder: Path, benchmark: str) -> dict[str, Path]:
    items = [{**key(n, benchmark), "question": f"{SECRET} {n}?", "answer": "2",
              "answer_type": "numeric"} for n in range(12)]  # fmt: skip
    responses = [{**key(n, benchmark), "text": f"So \\boxed{{{2 + n % 2}}}", "finish": "stop"}
                 for n in range(12)]  # fmt: skip
    verdicts = [{**key(n, benchmark), "status": "incorrect" if n % 2 else "correct", "judge": "j",
                 "extracted": None, "reason": "r"} for n in range(12)]  # fmt: skip
    rows = {"items": items, "responses": responses, "verdicts": verdicts}
    return {name: jsonl(folder / f"{benchmark}-{name}.jsonl", rows[name]) for name in rows}


def options(files: dict[str, Path], *names: str) -> list[object]:
    return [word for name in names for word in (f"--{name}", files[name])]


# judge


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    said = {"extracted": "2", "reason": "so", "verdict": "correct"}
    started.rule = lambda *_: (200, {}, answer(json.dumps(said)))
    yield started
    started.close()


@pytest.fixture
def judge(server: Server, tmp_path: Path) -> Callable[..., Path]:
    def make(kind: str = "llm", **fields: object) -> Path:
        endpoint = {"base_url": server.url, "api_key_env": None, "max_retries": 0}
        llm = {"kind": "llm", "name": "mine", "model": "g", "endpoint": endpoint,
               "price": {"input": 1, "output": 1}}  # fmt: skip
        document = llm | fields if kind == "llm" else {"kind": "chain", "llm": llm} | fields
        path = tmp_path / "conf" / "judges" / "mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document))
        return path

    return make


def test_judge_takes_a_judge_by_name_or_file_and_asks_once(
    sentinel, files, judge, server, tmp_path: Path
) -> None:
    path, out = judge(), tmp_path / "out.parquet"
    words = ["judge", *options(files, "responses", "items"), "-o", out]
    first = sentinel(*words, "--judge", path)
    assert first.status == 0, first.err
    assert "12 asked of the model, 120 + 24 tokens, 0.0001 USD" in first.err
    assert pq.read_table(out)["status"].to_pylist() == ["correct"] * 12
    again = sentinel(*words, "--judge", "mine")
    assert (again.status, len(server.bodies)) == (0, 12)
    assert "asked" not in again.err


def test_judge_by_a_chain_shows_how_rules_and_model_agree(
    sentinel, files, judge, server, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    ran = sentinel("judge", *options(files, "responses", "items"), "-o", out,
                   "--judge", judge("chain", sample=1.0))  # fmt: skip
    assert ran.status == 0, ran.err
    assert pq.read_table(out)["status"].to_pylist() == ["correct", "incorrect"] * 6
    assert "Agreement of rules" in ran.out
    assert re.search(r"decided by rules\s+12\s+12\s+6\s+0\.500", ran.out), ran.out


def test_judge_without_its_endpoint_says_so_and_writes_nothing(
    sentinel, files, judge, server, tmp_path: Path
) -> None:
    server.rule = lambda *_: (401, {}, {"error": {"message": "no"}})
    out = tmp_path / "out.parquet"
    ran = sentinel("judge", *options(files, "responses", "items"), "-o", out, "--judge", judge())
    assert ran.status == 3
    assert "judge 'mine': " in ran.err
    assert "refused the key (HTTP 401)" in ran.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mime", "judge 'mime' is unknown"),
        ("no/such.yaml", "no/such.yaml does not exist"),
    ],
)
def test_judge_refuses_a_judge_that_is_not_there(refused, files, judge, name, words) -> None:
    judge()
    assert words in refused("judge", *options(files, "responses", "items"), "--judge", name)


BAD_JUDGES = {
    "no endpoint": ({"kind": "llm", "model": "g"}, "llm.endpoint: Field required"),
    "unknown kind": ({"kind": "oracle"}, "oracle"),
    "unknown field": ({"kind": "rules", "deadline": 3}, "rules.deadline: unknown field"),
    "prompt without answer": (
        {"kind": "llm", "model": "g", "endpoint": {"base_url": "http://a/v1"},
         "user": "{question} {response}"}, "must contain {answer}"),
    "chain of unknown": ({"kind": "chain", "llm": "mime"}, "judge 'mime' is unknown"),
    "chain of itself": ({"kind": "chain", "llm": "mine"}, "llm"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_JUDGES)
def test_judge_refuses_a_judge_with_a_fault(refused, files, tmp_path, kind) -> None:
    document, words = BAD_JUDGES[kind]
    path = tmp_path / "conf" / "judges" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document))
    assert words in refused("judge", *options(files, "responses", "items"), "--judge", path)


# audit


def in_terminal(words: list[object], keys: str, folder: Path) -> tuple[str, int]:
    """Run ``sentinel`` on a real terminal and press ``keys``, each after a response is shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "sentinel"), *map(str, words)],
        stdin=slave, stdout=slave, stderr=slave, cwd=folder, close_fds=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(slave)
    seen, deadline = "", time.monotonic() + 300

    def read() -> str:
        assert time.monotonic() < deadline, seen
        ready, _, _ = select.select([master], [], [], 1)
        try:
            return os.read(master, 65536).decode(errors="replace") if ready else ""
        except OSError:  # How Linux tells that the other end is closed.
            return ""

    for page, pressed in enumerate(keys, start=1):
        while seen.count("[q]uit") < page and process.poll() is None:
            seen += read()
        os.write(master, pressed.encode())
    while process.poll() is None:
        seen += read()
    while more := read():
        seen += more
    os.close(master)
    return seen, process.returncode


def labels_of(path: Path) -> list[str]:
    return [r["label"] for r in pq.read_table(path).to_pylist() if r["label"]]


def test_an_audit_in_a_terminal_is_blind_saved_key_by_key_and_resumed(files, tmp_path) -> None:
    sheet = tmp_path / "labels.parquet"
    words = ["audit", "label", *options(files, "responses", "items", "verdicts"), "-l", sheet,
             "-n", 6]  # fmt: skip
    seen, status = in_terminal(words, "cifbuq", tmp_path)
    assert status == 0, seen
    assert "correct" not in re.sub(r"\[c\]orrect|\[i\]ncorrect", "", seen)  # Blind.
    assert "nargles" in seen
    assert "reference" in seen
    # Correct, incorrect, that taken back, unsure in its stead.
    assert labels_of(sheet) == ["correct", "unsure"]
    assert "2 labels given, 4 to go" in seen
    seen, status = in_terminal(words, "cccs", tmp_path)
    assert (status, len(labels_of(sheet))) == (0, 6)
    seconds = pq.read_table(sheet)["seconds"].to_pylist()
    assert all(0 <= s < 60 for s in seconds)


def test_an_audit_from_a_pipe(sentinel, files, tmp_path, monkeypatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("c\ni\n"))  # Ends after two: that is a `q`.
    sheet = tmp_path / "labels.parquet"
    ran = sentinel("audit", "label", *options(files, "responses", "items", "verdicts"), "-l", sheet)
    assert ran.status == 0, ran.err
    assert labels_of(sheet) == ["correct", "incorrect"]


def test_escape_codes_in_a_response_do_not_reach_the_terminal(
    sentinel, files, tmp_path, monkeypatch
) -> None:
    import io

    rows = [json.loads(line) for line in files["responses"].read_text().splitlines()]
    for row in rows:
        row["text"] = "\x1b[2J\x1b]0;owned\x07[red]It is 2.[/red]"
    jsonl(files["responses"], rows)
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    ran = sentinel("audit", "label", *options(files, "responses", "items", "verdicts"),
                   "-l", tmp_path / "labels.parquet")  # fmt: skip
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "[red]It is 2.[/red]" in ran.out


def test_export_label_elsewhere_import_and_report(sentinel, files, tmp_path) -> None:
    sheet, table = tmp_path / "labels.parquet", tmp_path / "audit.csv"
    sources = options(files, "responses", "items", "verdicts")
    ran = sentinel("audit", "export", *sources, "-l", sheet, "-o", table)
    assert ran.status == 0, ran.err
    rows = list(csv.DictReader(table.open()))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:  # The person finds all of them right: the judge errs on half.
            writer.writerow(row | {"label": "correct"})
    ran = sentinel("audit", "import", table, "-l", sheet)
    assert "12 labels taken" in ran.out
    out = tmp_path / "report.parquet"
    ran = sentinel("audit", "report", "-l", sheet, "-o", out)
    assert ran.status == 0, ran.err
    (row,) = pq.read_table(out).to_pylist()
    found = [row[name] for name in ("agreement", "labels", "judge", "person")]
    assert found == pytest.approx([0.5, 12, 0.5, 1.0])
    assert "They differ on 6 responses." in ran.out
    assert "b/7: judged incorrect, labelled correct" in ran.out
    assert SECRET not in ran.out


def test_hidden_items_are_shown_only_on_demand_and_written_nowhere(
    sentinel, files, tmp_path, monkeypatch
) -> None:
    import io

    gpqa = write(tmp_path, "GPQA")
    sources = options(gpqa, "responses", "items", "verdicts")
    sheet, table = tmp_path / "labels.parquet", tmp_path / "audit.csv"
    for words in (["label"], ["export", "-o", table]):
        ran = sentinel("audit", *words, *sources, "-l", sheet)
        assert ran.status == 2
        assert "items of GPQA are not to be shown" in ran.err
        assert SECRET not in ran.out + ran.err
    assert not table.exists()
    assert not sheet.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    ran = sentinel("audit", "label", *sources, "-l", sheet, "--show-hidden")
    assert ran.status == 0, ran.err
    assert SECRET in ran.out
    assert labels_of(sheet) == ["correct"]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in gpqa.values():
            assert SECRET.encode() not in path.read_bytes() or path in files.values(), path


def test_hidden_items_are_left_out_of_an_audit_of_others(sentinel, files, tmp_path) -> None:
    gpqa, both = write(tmp_path, "GPQA"), {}
    for name in gpqa:
        both[name] = tmp_path / f"{name}.jsonl"
        both[name].write_text(f"{files[name].read_text()}\n{gpqa[name].read_text()}")
    table = tmp_path / "audit.csv"
    ran = sentinel("audit", "export", *options(both, "responses", "items", "verdicts"),
                   "-l", tmp_path / "labels.parquet", "-o", table, "-n", 24)  # fmt: skip
    assert ran.status == 0, ran.err
    assert "GPQA is left out" in ran.err
    assert {row["benchmark"] for row in csv.DictReader(table.open())} == {"b"}
    assert pq.read_table(tmp_path / "labels.parquet").num_rows == 12


REFUSALS = {
    "no sources": ([], "it is not clear what is to be audited"),
    "not parquet": (["-l", "labels.csv"], "labels.csv: labels are kept as Parquet"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_audit_refuses(sentinel, files, tmp_path, kind) -> None:
    more, words = REFUSALS[kind]
    sources = options(files, "responses", "items", "verdicts") if more else []
    ran = sentinel("audit", "label", "-l", tmp_path / "l.parquet", *sources, *more)
    assert ran.status == 2
    assert words in ran.err


def test_labels_of_other_responses_are_refused(sentinel, files, tmp_path, monkeypatch) -> None:
    import io

    sheet = tmp_path / "labels.parquet"
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    sentinel("audit", "label", *options(files, "responses", "items", "verdicts"), "-l", sheet)
    other = write(tmp_path, "other")
    ran = sentinel("audit", "label", *options(other, "responses", "items", "verdicts"), "-l", sheet)
    assert ran.status == 2
    assert "12 labels of other responses, such as b/" in ran.err
    assert labels_of(sheet) == ["correct"]
