"""Two runs with one model judge at the same time: each reply is paid for once."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.conf import Endpoint, LlmJudge
from tasks.judging.asking import PART_ROWS, Asked, ask
from tasks.storage import claims
from tasks.storage.store import Artefact, Store
from tests.chat_server import Server
from tests.judging.grader import cases, item_of, statuses, truthful, whole_truth


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def judge(server: Server, monkeypatch) -> LlmJudge:
    monkeypatch.setattr(claims, "LOOK_S", 0.01)
    endpoint = Endpoint(server.url, None, max_retries=0, timeout_s=120, concurrency=2)
    return LlmJudge(kind="llm", model="grader", answers="schema", endpoint=endpoint)


class Looking(Store):
    """A store that tells when a file was read for the third time."""

    def __init__(self, root: str, looked: threading.Event) -> None:
        super().__init__(root)
        object.__setattr__(self, "looks", [])
        object.__setattr__(self, "looked", looked)

    def read_bytes(self, path: str) -> bytes:
        self.looks.append(path)
        if len(self.looks) == 3:
            self.looked.set()
        return super().read_bytes(path)


def judgements(store: Store) -> Artefact:
    return store.artefact("judgements", "m", "b", "key")


def beside(act: Callable[[], Asked]) -> tuple[threading.Thread, list[Asked]]:
    found: list[Asked] = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    return thread, found


def test_what_one_run_is_asking_the_other_waits_for(judge, server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(claims, "PATIENCE_S", 600.0)  # Slow is not killed.
    asking, looked = threading.Event(), threading.Event()

    def rule(number: int, body: dict) -> tuple:
        asking.set()
        if len(server.bodies) > 5:  # The second run asks too.
            looked.set()
        assert looked.wait(60)
        return truthful(number, body)

    server.rule = rule
    root = str(tmp_path)
    first, found = beside(lambda: ask(judge, cases(5), judgements(Store(root))))
    assert asking.wait(60)
    later = replace(judge, endpoint=Endpoint(server.url, None, max_retries=0))
    progress: list[tuple[int, int]] = []
    second = ask(later, cases(5), judgements(Looking(root, looked)),
                 progress=lambda *at: progress.append(at))  # fmt: skip
    first.join()
    assert Counter(map(item_of, server.bodies)) == dict.fromkeys(range(5), 1)
    assert statuses(second) == statuses(found[0]) == whole_truth(5)
    assert (found[0].spending.asked, second.spending.asked) == (5, 0)
    assert progress == [(5, 5)]


def test_two_runs_share_what_is_to_be_asked(judge, server, tmp_path, monkeypatch) -> None:
    """Each has a chunk in hand before either goes on."""
    monkeypatch.setattr(claims, "PATIENCE_S", 600.0)  # Slow is not killed.
    count, chunks = 3 * PART_ROWS, threading.Barrier(2)
    opened: set[int] = set()
    lock = threading.Lock()

    def rule(number: int, body: dict) -> tuple:
        chunk = item_of(body) // PART_ROWS
        with lock:
            first = chunk < 2 and chunk not in opened
            opened.add(chunk)
        if first:
            chunks.wait(60)
        return truthful(number, body)

    server.rule = rule
    # Two endpoints, as in two processes: what is asked through one shares its limit.
    other = replace(judge, endpoint=Endpoint(server.url, None, concurrency=3))
    runs = [
        beside(lambda one=one: ask(one, cases(count), judgements(Store(str(tmp_path)))))
        for one in (judge, other)
    ]
    for thread, _ in runs:
        thread.join()
    asked = [found[0] for _, found in runs]
    assert Counter(map(item_of, server.bodies)) == dict.fromkeys(range(count), 1)
    assert [statuses(one) for one in asked] == [whole_truth(count)] * 2
    assert sum(one.spending.asked for one in asked) == count
    assert min(one.spending.asked for one in asked) >= PART_ROWS
    assert [p for p in Store(str(tmp_path)).list(judgements(Store(str(tmp_path))).address)
            if "claim" in p] == []  # fmt: skip


def test_cases_that_a_judge_failed_on_are_given_back(judge, server, tmp_path: Path) -> None:
    server.rule = lambda n, b: (500, {}, {}) if item_of(b) == 1 else truthful(n, b)
    stored = judgements(Store(str(tmp_path)))
    assert "1 of 5" in str(ask(judge, cases(5), stored).problem)
    server.rule = truthful
    assert statuses(ask(judge, cases(5), stored)) == whole_truth(5)
    assert all("claim" not in path for path in stored.store.list(stored.address))
