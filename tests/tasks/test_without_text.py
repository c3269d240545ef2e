"""Responses without text: a verdict meets the response it was given on, whoever writes and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pyarrow as pa
import pytest

from tasks.endpoint import Quoting
from tasks.engines.contract import Batch, Recorder, TokenTrace, to_generation_table
from tasks.errors import EndpointError, SentinelError
from tasks.generation.generate import generate
from tasks.records import Finish
from tasks.storage import claims
from tasks.storage.store import Store
from tasks.verdicts.stored import NOT_KEPT, judge_artefact
from tests.tasks.doubles import ListedPool, items_of

ITEMS = items_of("alpha", 4)
IDS = ITEMS["item_id"].to_pylist()


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    """Runs that stand still in the midst of a write are taken for killed ones at once."""
    monkeypatch.setattr(claims, "PATIENCE_S", 0.0)


class Killed(BaseException):
    """The run ends here, as by a signal: nothing of it is executed any more."""


class Watched(Store):
    """A store that does something before its run's n-th write, of those below a folder."""

    def __init__(self, root: str, place: int, act: Callable[[], object], below: str = "") -> None:
        super().__init__(root)
        object.__setattr__(self, "state", {"writes": 0, "place": place, "act": act, "below": below})

    def write_bytes(self, path: str, content: bytes, *, once: bool = False) -> None:
        state = self.state
        if path.startswith(state["below"]):
            if state["writes"] == state["place"]:
                state["act"]()
            state["writes"] += 1
        super().write_bytes(path, content, once=once)


class Right(ListedPool):
    """Answers that are right, with the traces of :class:`ListedPool`."""


class Wrong(ListedPool):
    """Answers that are wrong, each with a trace of nine tokens."""

    def _answers(self, prompts) -> pa.Table:
        table = super()._answers(prompts)
        for name, values in (("text", ["It is 1."] * len(table)), ("n_tokens", [9] * len(table))):
            place = table.column_names.index(name)
            table = table.set_column(place, table.field(name), pa.array(values))
        return table


def statuses(job, store: Store) -> dict[str, tuple[str, str]]:
    """By item, what the stored response deserves, and what the stored verdict says."""
    tokens = job.responses(store).read(["n_tokens"])
    verdicts = job.verdicts(store).read(["status"])
    assert tokens["item_id"].to_pylist() == verdicts["item_id"].to_pylist() == IDS
    deserved = ["incorrect" if n == 9 else "correct" for n in tokens["n_tokens"].to_pylist()]
    return dict(zip(IDS, zip(deserved, verdicts["status"].to_pylist(), strict=True), strict=True))


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("size", [4, 2])
def test_two_runs_at_once_never_mix_answers_and_verdicts(make_job, tmp_path, place, size) -> None:
    """One run does all its work before each of the other's writes, one after the other."""
    root = str(tmp_path / "root")
    right = make_job(store_text=False, batch_items=4)
    wrong = make_job(store_text=False, batch_items=size)

    def overtake() -> None:
        generate(wrong, ITEMS, Wrong(), Store(root))
        judge_artefact(wrong, ITEMS, Store(root))

    store = Watched(root, place, overtake)
    generate(right, ITEMS, Right(), store)
    judge_artefact(right, ITEMS, store)
    judge_artefact(right, ITEMS, Store(root))
    found = statuses(right, Store(root))
    assert all(deserved == said for deserved, said in found.values()), found


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("size", [4, 3, 2])
def test_a_killed_run_leaves_no_verdict_for_the_next_ones_answers(
    make_job, tmp_path, place, size
) -> None:
    root = str(tmp_path / "root")

    def die() -> None:
        raise Killed

    job = make_job(store_text=False, batch_items=4)
    store = Watched(root, place, die)
    try:
        generate(job, ITEMS, Right(), store)
        judge_artefact(job, ITEMS, store)
    except Killed:
        pass
    again = make_job(store_text=False, batch_items=size)
    generate(again, ITEMS, Wrong(), Store(root))
    judge_artefact(again, ITEMS, Store(root))
    found = statuses(again, Store(root))
    assert all(deserved == said for deserved, said in found.values()), found


def test_after_a_crash_the_answers_kept_are_judged_without_asking_again(
    make_job, store, tmp_path
) -> None:
    """Killed after the responses were stored and before their verdicts were."""
    job = make_job(store_text=False, batch_items=4)

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        generate(job, ITEMS, Right(), Watched(store.root, 0, die, "verdicts/"))
    assert job.verdicts(store).read() is None
    pool = Right()
    assert generate(job, ITEMS, pool, store).added == 0
    assert pool.asked == []
    assert judge_artefact(job, ITEMS, store).added == 4
    assert judge_artefact(job, ITEMS, store).added == 0


def test_another_runs_judge_is_not_taken_for_ours(make_job, store) -> None:
    """Two runs with two judges: the slower one has no text to judge, and no verdict of its own."""
    ours = make_job(store_text=False, batch_items=4)
    theirs = dataclasses.replace(ours, benchmark=dataclasses.replace(ours.benchmark, tolerance=0.1))
    other = Store(store.root)
    slow = Watched(store.root, 0, lambda: generate(theirs, ITEMS, Wrong(), other))
    generate(ours, ITEMS, Right(), slow)
    assert ours.verdicts(store).read() is None
    with pytest.raises(SentinelError, match="were not kept"):
        judge_artefact(ours, ITEMS, store)
    assert set(theirs.verdicts(store).read()["status"].to_pylist()) == {"incorrect"}


class Refusing(ListedPool):
    """A server that refuses each request and quotes it, as some do."""

    def _answers(self, prompts) -> pa.Table:
        recorder = Recorder("listed", "1", "raw_logprobs", prompts[0].decoding, None)
        refused = {"finish": Finish.ERROR, "n_tokens": 0, "tokens_in": 0, "tokens_out": 0}
        rows = [
            recorder.response(p, text=None, seconds=0.1, error=f"too long: {p.text}", **refused)
            for p in prompts
        ]
        return to_generation_table(rows, [TokenTrace.empty() for _ in rows])


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_server_says_of_a_refused_request_is_kept_only_with_the_text(
    make_job, store, tmp_path, keep: bool
) -> None:
    job = make_job(store_text=keep)
    generate(job, ITEMS, Refusing(), store)
    errors = job.responses(store).read(["error", "finish"])
    assert set(errors["finish"].to_pylist()) == {"error"}
    told = {e for e in errors["error"].to_pylist()}
    assert told == ({f"too long: What is twice {n}?" for n in range(4)} if keep else {NOT_KEPT})


@pytest.mark.parametrize("keep", [True, False])
def test_a_failing_servers_words_are_shown_only_where_text_is_kept(make_job, store, keep) -> None:
    problem = Quoting("the server says: What is twice 2?", "rerun")
    pool = ListedPool({0: (1, problem)})
    with pytest.raises(EndpointError) as failed:
        generate(make_job(store_text=keep), ITEMS, pool, store)
    assert ("twice" in str(failed.value)) == keep
    assert "rerun" in str(failed.value)


def test_what_a_part_says_of_itself_is_not_in_the_whole(make_job, store) -> None:
    job = make_job(store_text=False, batch_items=2)
    generate(job, ITEMS, Right(), store)
    (part, _) = job.responses(store).parts()
    assert b"sentinel.verdicts" in store.read_parquet(part).schema.metadata
    whole = job.responses(store).read()
    assert set(whole.schema.metadata) == {b"record", b"schema_version"}
    assert Batch(whole).problem is None
