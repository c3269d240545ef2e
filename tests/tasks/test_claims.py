"""Who works on what where several runs share it: by claims in the store, and a clock of each own.

Clocks here stand still unless a test moves them.
"""

import random
import threading
from collections.abc import Callable

import pytest

from tasks.errors import SentinelError
from tasks.storage import claims
from tasks.storage.claims import HEARTBEAT_S, PATIENCE_S, Line
from tasks.storage.store import Artefact, Store

NAMES = ["one", "two", "three"]
DOWN = SentinelError("the store is down", "start it")


class Clock:
    """Stands for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(claims, "time", made)
    return made


@pytest.fixture
def artefact(store: Store) -> Artefact:
    return store.artefact("responses", "m", "b", "key")


@pytest.fixture
def line(artefact: Artefact) -> Callable[..., Line]:
    """A run's line; it gives signs of life only by ``beat`` unless it is entered."""

    def make(names=NAMES, at: Artefact = artefact) -> Line:
        return Line(names, at, lambda name: at.store.exists(f"{at.address}/{name}"))

    return make


def stored(artefact: Artefact, name: str) -> None:
    artefact.store.write_bytes(f"{artefact.address}/{name}", b"answers")


def claimed(artefact: Artefact) -> list[str]:
    """Names of the batches in hand."""
    found = artefact.store.list(artefact.address)
    return sorted(p.rsplit("claim-")[1].removesuffix(".txt") for p in found if "claim-" in p)


def test_runs_at_once_take_different_batches(line, artefact) -> None:
    first, second = line(), line()
    assert [first.take(), second.take(), first.take()] == NAMES
    assert claimed(artefact) == sorted(NAMES)
    assert second.take() is None


def test_a_run_at_work_is_left_to_it_however_long_that_takes(line, clock) -> None:
    first, second = line(["long"]), line(["long"])
    assert first.take() == "long"
    late = line(["long"])
    for _ in range(50):
        assert second.take() is late.take() is None
        clock.now += HEARTBEAT_S
        first.beat()


def test_a_patience_outlasts_heartbeats_that_come_late() -> None:
    assert PATIENCE_S > 3 * HEARTBEAT_S


def test_what_a_killed_run_had_in_hand_comes_last_and_after_a_patience(line, clock) -> None:
    line(["one", "two"]).take()
    run = line()
    assert [run.take(), run.take()] == ["two", "three"]
    clock.now += PATIENCE_S - 1
    assert run.take() is None
    clock.now += 1
    assert run.take() == "one"
    assert not run


def test_claims_of_the_dead_grow_old_while_there_is_other_work(line, clock) -> None:
    killed = line()
    assert [killed.take(), killed.take()] == NAMES[:2]
    run = line()
    assert run.take() == "three"
    clock.now += PATIENCE_S
    assert [run.take(), run.take()] == NAMES[:2]  # Both at once: one patience for all.


def test_a_sign_of_life_that_nobody_saw_counts_from_when_it_was_seen(line, clock) -> None:
    first = line(["long"])
    first.take()
    second = line(["long"])
    clock.now += PATIENCE_S - 1
    first.beat()
    clock.now += PATIENCE_S - 1
    assert second.take() is None
    clock.now += PATIENCE_S
    assert second.take() == "long"


def test_of_two_that_outwait_a_killed_run_one_takes_its_batch(line, clock) -> None:
    line(["one"]).take()
    first, second = line(["one"]), line(["one"])
    clock.now += PATIENCE_S
    assert first.take() == "one"
    assert second.take() is None
    clock.now += HEARTBEAT_S
    first.beat()
    assert second.take() is None


def test_what_was_given_back_without_being_stored_is_taken_at_once(line) -> None:
    first, second = line(["one"]), line(["one"])
    first.take()
    assert second.take() is None
    first.done("one")
    assert second.take() == "one"


def test_a_person_is_told_once_what_is_waited_for(line, caplog) -> None:
    caplog.set_level("INFO", logger=claims.__name__)
    first, second = line(), line()
    assert first.take() == "one"
    assert [second.take(), second.take(), second.take()] == ["two", "three", None]
    assert caplog.messages == []  # It has something to do itself.
    second.done("two")
    second.done("three")
    assert second.take() is second.take() is None
    (told,) = caplog.messages
    assert "responses/m/b/key: another run has the last 1 batch(es) in hand" in told


def test_what_another_run_stored_is_taken_by_nobody(line, artefact) -> None:
    first, second = line(["one"]), line(["one"])
    first.take()
    assert second.take() is None
    assert not second.overtaken()
    stored(artefact, "one")
    first.done("one")
    assert second
    assert second.take() is None
    assert not second
    assert second.overtaken()
    assert not second.overtaken()
    assert claimed(artefact) == []


def test_leaving_the_line_gives_back_what_is_in_hand(line, artefact) -> None:
    with line() as run:
        run.take()
        run.take()
        assert len(claimed(artefact)) == 2
    assert claimed(artefact) == []
    run.beat()
    assert claimed(artefact) == []


STEPS = ["take"] * 4 + ["tick"] * 4 + ["store", "fail", "kill"]


@pytest.mark.parametrize("seed", range(8))
def test_no_two_runs_have_one_batch_in_hand_and_the_last_one_ends(
    artefact, clock, seed: int
) -> None:
    """Runs start, work, fail and are killed in any order; those alive give signs of life."""
    draw, names, ticks = random.Random(seed), [f"b{n:02}" for n in range(8)], 0
    runs = [Run(names, artefact) for _ in range(3)]
    for _ in range(150):
        step, run = draw.choice(STEPS), draw.choice(runs)
        if step == "take" and (name := run.line.take()):
            run.in_hand.append(name)
        elif step in ("store", "fail") and run.in_hand:
            run.finish(well=step == "store")
        elif step == "kill":  # And another one is started.
            runs[runs.index(run)] = Run(names, artefact)
        elif step == "tick":
            ticks += 1
            clock.now += HEARTBEAT_S / 2
            for alive in runs if ticks % 2 == 0 else ():
                alive.line.beat()
        in_hand = [name for run in runs for name in run.in_hand]
        assert len(in_hand) == len(set(in_hand))
    last, begun = Run(names, artefact), clock.now
    while last.line:
        if name := last.line.take():
            last.in_hand.append(name)
            last.finish(well=True)
        else:
            clock.now += claims.LOOK_S
            assert clock.now <= begun + PATIENCE_S
    assert all(artefact.store.exists(f"{artefact.address}/{name}") for name in names)


class Run:
    """A line over batches that are not stored yet, and what it has in hand."""

    def __init__(self, names: list[str], at: Artefact) -> None:
        def there(name: str) -> bool:
            return at.store.exists(f"{at.address}/{name}")

        self.line = Line([name for name in names if not there(name)], at, there)
        self.in_hand: list[str] = []
        self._at = at

    def finish(self, *, well: bool) -> None:
        name = self.in_hand.pop()
        if well:
            stored(self._at, name)
        self.line.done(name)


# The thread that gives signs of life


def signs(artefact: Artefact, count: int) -> list[bytes]:
    """Different contents that the one claim takes on in the next minute at the most."""
    (name,) = claimed(artefact)
    seen: list[bytes] = []
    end = threading.Event()
    threading.Timer(60, end.set).start()
    while len(seen) < count and not end.is_set():
        content = artefact.store.read_bytes(f"{artefact.address}/claim-{name}.txt")
        if content not in seen:
            seen.append(content)
    return seen


def test_a_run_gives_signs_of_life_by_itself_while_it_works(line, artefact, monkeypatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    with line() as run:
        run.take()
        assert len(signs(artefact, 3)) == 3


def test_a_run_that_waits_for_room_gives_none(artefact, monkeypatch) -> None:
    """The other one may have the GPU that it waits for, and would wait for it in turn."""
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    asked = threading.Semaphore(0)

    def waiting() -> bool:
        asked.release()
        return False

    with Line(NAMES, artefact, lambda name: False, waiting) as run:
        run.take()
        before = signs(artefact, 1)
        assert all(asked.acquire(timeout=60) for _ in range(5))
        assert signs(artefact, 1) == before


def test_signs_of_life_end_with_the_line(line, monkeypatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    before = set(threading.enumerate())
    with line() as run:
        run.take()
        (beating,) = set(threading.enumerate()) - before
        assert beating.daemon  # It keeps no process alive.
    beating.join(60)
    assert not beating.is_alive()


# A store that fails


class Failing(Store):
    """A store whose operations of the kinds in ``fails`` fail."""

    def __init__(self, root: str, fails: set[str]) -> None:
        super().__init__(root)
        object.__setattr__(self, "fails", fails)

    def _fail(self, kind: str) -> None:
        if kind in self.fails:
            raise DOWN

    def write_bytes(self, path: str, content: bytes, *, once: bool = False) -> None:
        self._fail("write")
        super().write_bytes(path, content, once=once)

    def read_bytes(self, path: str) -> bytes:
        self._fail("read")
        return super().read_bytes(path)

    def exists(self, path: str) -> bool:
        self._fail("exists")
        return super().exists(path)

    def list(self, folder: str) -> list[str]:
        self._fail("list")
        return super().list(folder)

    def delete(self, path: str) -> None:
        self._fail("delete")
        super().delete(path)


ALL = {"write", "read", "exists", "list", "delete"}


@pytest.mark.parametrize("kind", [*sorted(ALL), "all"])
def test_a_store_that_fails_fails_nobody_and_keeps_nobody_waiting(
    line, artefact, clock, kind
) -> None:
    """Another run's claim is there, and nobody knows whether that run is alive."""
    line(["one"]).take()
    fails: set[str] = set()
    run = line(at=Failing(artefact.store.root, fails).artefact(artefact.address))
    fails |= ALL if kind == "all" else {kind}
    taken = []
    while run:
        if (name := run.take()) is None:
            clock.now += claims.LOOK_S
            assert clock.now < 1000 + 2 * PATIENCE_S
            continue
        taken.append(name)
        run.beat()
        run.done(name)
    assert sorted(taken) == sorted(NAMES)


def test_one_failed_look_does_not_declare_a_run_dead(line, artefact, clock) -> None:
    first = line(["long"])
    first.take()
    fails: set[str] = set()
    second = line(["long"], Failing(artefact.store.root, fails).artefact(artefact.address))
    clock.now += 2 * PATIENCE_S  # It had something else to do.
    first.beat()
    fails.add("read")
    assert second.take() is None
    fails.clear()
    assert second.take() is None
