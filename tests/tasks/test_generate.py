"""Generation: only what is missing, and nothing that was answered is lost."""

import contextvars
import dataclasses
import threading
import time
from collections import Counter

import pyarrow as pa
import pytest

from tasks.engines.contract import Batch
from tasks.errors import EndpointError, EngineDied, SentinelError
from tasks.generation.generate import generate, missing
from tasks.jobs import items_digest
from tasks.signals.profile import profile_artefact
from tasks.storage import claims
from tasks.storage.store import Store, part_name
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of

ITEMS = items_of("alpha", 10)
IDS = ITEMS["item_id"].to_pylist()
DOWN = EndpointError("the server is gone", "start it")


def test_every_item_is_answered_in_batches(make_job, store) -> None:
    job, pool = make_job(), ListedPool()
    did = generate(job, ITEMS, pool, store)
    assert [len(call) for call in pool.calls] == [3, 3, 3, 1]
    assert (did.items, did.added) == (10, 10)
    stored = job.responses(store).read()
    assert stored["item_id"].to_pylist() == IDS
    assert did.tokens == sum(stored["n_tokens"].to_pylist()) == sum(n % 4 + 1 for n in range(10))
    assert len(job.responses(store).parts()) == 4


def test_a_second_call_asks_nothing(make_job, store) -> None:
    generate(make_job(), ITEMS, ListedPool(), store)
    again = ListedPool()
    assert generate(make_job(), ITEMS, again, store).added == 0
    assert again.calls == []


def test_a_raised_limit_asks_for_the_added_items_only(make_job, store) -> None:
    generate(make_job(), ITEMS.slice(0, 4), ListedPool(), store)
    pool = ListedPool()
    assert generate(make_job(limit=10), ITEMS, pool, store).added == 6
    assert pool.asked == IDS[4:]


def test_the_prompt_holds_the_question_and_nothing_else_is_filled_in(make_job, store) -> None:
    job = make_job(prompt="Q: {question} {answer}")
    (first, *_) = missing(job, ITEMS, store)
    assert first.text == "Q: What is twice 0? {answer}"
    assert first.digest == job.request_digest


def test_a_batch_with_a_problem_keeps_what_was_answered(make_job, store) -> None:
    pool = ListedPool({1: (2, DOWN)})
    with pytest.raises(EndpointError, match="the server is gone"):
        generate(make_job(), ITEMS, pool, store)
    # The first batch whole, two of the second; nothing was sent after the problem.
    assert make_job().responses(store).done() == set(IDS[:5])
    assert len(pool.calls) == 2


def test_a_rerun_after_a_problem_asks_for_the_rest(make_job, store) -> None:
    with pytest.raises(EndpointError):
        generate(make_job(), ITEMS, ListedPool({1: (2, DOWN)}), store)
    pool = ListedPool()
    generate(make_job(), ITEMS, pool, store)
    assert pool.asked == IDS[5:]
    whole = ListedPool()
    other = dataclasses.replace(make_job(), benchmark=make_job(limit=1).experiment.benchmarks[1])
    undisturbed = items_of("beta", 10)
    generate(other, undisturbed, whole, store)
    columns = ["item_id", "text", "entropy", "n_tokens"]
    assert make_job().responses(store).read().select(columns) == (
        other.responses(store).read().select(columns)
    )


def test_an_engine_that_dies_costs_its_batch_and_no_other(make_job, store) -> None:
    """Two engines: the other's batch is in flight when one dies, and is finished and stored."""
    pool = ListedPool({0: EngineDied("out of memory", "rerun")}, width=2)
    with pytest.raises(EngineDied, match="out of memory"):
        generate(make_job(), ITEMS, pool, store)
    done = make_job().responses(store).done()
    assert not done & set(pool.calls[0])
    assert done == {item for call in pool.calls[1:] for item in call}
    assert done


def test_a_store_that_cannot_be_read_for_a_moment_loses_no_answers(
    make_job, store, monkeypatch
) -> None:
    """The look whether another run has stored a batch fails while other batches are in flight."""
    looks, there = [], Store.exists

    def exists(self, path):
        looks.append(path)
        if len(looks) == 2:
            raise DOWN
        return there(self, path)

    monkeypatch.setattr(Store, "exists", exists)
    pool = ListedPool(width=3)
    generate(make_job(), ITEMS, pool, store)
    assert len(looks) == 4
    assert sorted(pool.asked) == IDS
    assert make_job().responses(store).done() == set(IDS)


def test_a_batch_that_cannot_be_stored_costs_itself_and_no_other(
    make_job, store, monkeypatch
) -> None:
    """Three engines: two batches are in flight when the first cannot be stored."""
    together, written = threading.Barrier(3), threading.Event()

    class Together(ListedPool):
        def generate(self, prompts):
            together.wait(60)
            if prompts[0].item_id != "i00":
                assert written.wait(60)
            return super().generate(prompts)

    write = Store.write_table

    def write_table(self, path, table, *, once=False):
        if "i00" in table["item_id"].to_pylist():
            written.set()
            raise SentinelError("no space left", "make room")
        write(self, path, table, once=once)

    monkeypatch.setattr(Store, "write_table", write_table)
    pool = Together(width=3)
    with pytest.raises(SentinelError, match="no space left"):
        generate(make_job(), ITEMS, pool, store)
    assert make_job().responses(store).done() == set(IDS[3:9])
    assert len(pool.calls) == 3  # Nothing was sent after the problem.
    assert claims_in(make_job(), store) == []


def test_what_another_run_stored_meanwhile_is_not_asked_again(make_job, store, monkeypatch) -> None:
    """The other run takes this one, which waits for it here, for a killed one."""
    monkeypatch.setattr(claims, "PATIENCE_S", 0.0)
    job, other = make_job(), ListedPool()

    class Overtaken(ListedPool):
        def generate(self, prompts):
            if not self.calls:  # While the first batch is out, another run answers two of four.
                for start in (0, 3):
                    generate(job, ITEMS.slice(0, start + 3), other, store)
            return super().generate(prompts)

    pool = Overtaken()
    generate(job, ITEMS, pool, store)
    assert sorted(other.asked) == IDS[:6]
    assert sorted(pool.asked) == IDS[:3] + IDS[6:]
    assert job.responses(store).read()["item_id"].to_pylist() == IDS
    assert len(job.responses(store).parts()) == 4


class Abreast(ListedPool):
    """Answers its first two batches only when the other run has as many in hand or behind it."""

    def __init__(self, abreast: threading.Barrier, last_s: float = 0) -> None:
        super().__init__()
        self.abreast, self.last_s = abreast, last_s

    def generate(self, prompts):
        if len(self.calls) < 2:
            self.abreast.wait(timeout=60)
        if prompts[-1].item_id == "i29":
            time.sleep(self.last_s)
        return super().generate(prompts)


@pytest.mark.parametrize("last_s", [0.03, 1.5])
def test_two_runs_at_once_take_different_batches(make_job, store, monkeypatch, last_s) -> None:
    """Also where the last batch takes many times as long as those before it."""
    monkeypatch.setattr(claims, "PATIENCE_S", 600.0)  # Slow is not killed.
    job, items = make_job(), items_of("alpha", 30)
    abreast = threading.Barrier(2)
    pools = [Abreast(abreast, last_s), Abreast(abreast, last_s)]
    threads = [threading.Thread(target=generate, args=(job, items, p, store)) for p in pools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = Counter(pools[0].asked + pools[1].asked)
    assert asked == dict.fromkeys(items["item_id"].to_pylist(), 1)
    assert min(len(pool.calls) for pool in pools) >= 2
    assert claims_in(job, store) == []


def test_a_run_that_starts_later_leaves_to_the_first_what_it_has_in_hand(
    make_job, store, monkeypatch
) -> None:
    """One batch is all there is, and the second run starts while it is being answered."""
    monkeypatch.setattr(claims, "PATIENCE_S", 600.0)  # Slow is not killed.
    monkeypatch.setattr(claims, "LOOK_S", 0.01)
    job, looks, asked_twice = make_job(batch_items=64), [], threading.Event()
    in_hand, looked = threading.Event(), threading.Event()

    class Looking(Store):
        def read_bytes(self, path):
            looks.append(path)
            if len(looks) == 3:
                looked.set()
            return super().read_bytes(path)

    class Long(ListedPool):
        def generate(self, prompts):
            in_hand.set()
            assert looked.wait(60)
            return super().generate(prompts)

    class Second(ListedPool):
        def generate(self, prompts):
            asked_twice.set()
            looked.set()
            return super().generate(prompts)

    pool, later = Long(), Second()
    first = threading.Thread(target=generate, args=(job, ITEMS, pool, store))
    first.start()
    assert in_hand.wait(60)
    generate(job, ITEMS, later, Looking(store.root))
    first.join()
    assert not asked_twice.is_set()
    assert (pool.asked, later.asked) == (IDS, [])


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_what_killed_runs_had_in_hand_is_answered_last_and_after_one_patience(
    make_job, store, monkeypatch
) -> None:
    job, clock = make_job(), Clock()
    monkeypatch.setattr(claims, "time", clock)
    monkeypatch.setattr(f"{generate.__module__}.time", clock)
    killed(job, store, IDS[:3])
    killed(job, store, IDS[6:9])
    assert len(claims_in(job, store)) == 2
    pool = ListedPool()
    generate(job, ITEMS, pool, store)
    assert pool.asked == IDS[3:6] + IDS[9:] + IDS[:3] + IDS[6:9]
    assert clock.now == claims.PATIENCE_S
    assert claims_in(job, store) == []


def test_a_run_whose_engines_wait_for_room_gives_no_sign_of_life(
    make_job, store, monkeypatch
) -> None:
    """It may wait for what another run holds, and that one must not wait for it."""
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    job = make_job(batch_items=64)

    class Homeless(ListedPool):
        asked_for = threading.Semaphore(0)

        @property
        def seated(self):
            self.asked_for.release()
            return False

        def generate(self, prompts):
            (claim,) = claims_in(job, store)
            before = store.read_bytes(claim)
            assert all(self.asked_for.acquire(timeout=60) for _ in range(5))
            self.unchanged = store.read_bytes(claim) == before
            return super().generate(prompts)

    pool = Homeless()
    generate(job, ITEMS, pool, store)
    assert pool.unchanged


def test_a_batch_that_could_not_be_answered_is_given_back(make_job, store) -> None:
    with pytest.raises(EndpointError):
        generate(make_job(), ITEMS, ListedPool({1: (2, DOWN)}), store)
    assert claims_in(make_job(), store) == []


def killed(job, store, ids: list[str]) -> None:
    """A run that took one batch and was killed: it never gives it back."""
    name = part_name((job.benchmark.name, item) for item in ids)
    assert claims.Line([name], job.responses(store), lambda name: False).take() == name


def claims_in(job, store) -> list[str]:
    return [p for p in store.list(job.responses(store).address) if "claim" in p]


def test_progress_counts_what_was_there_before(make_job, store) -> None:
    generate(make_job(), ITEMS.slice(0, 4), ListedPool(), store)
    seen: list[tuple[int, int]] = []
    generate(make_job(), ITEMS, ListedPool(), store, lambda *at: seen.append(at))
    assert seen == [(7, 10), (10, 10)]


# Text that is not kept


def test_what_an_engine_logs_belongs_to_the_run_that_asks(make_job, store) -> None:
    """Prefect finds the run of a line in the context, which new threads begin without."""
    run = contextvars.ContextVar("run", default="none")
    seen = []

    class Telling(ListedPool):
        def generate(self, prompts):
            seen.append(run.get())
            return super().generate(prompts)

    run.set("this")
    generate(make_job(), ITEMS, Telling(), store)
    assert set(seen) == {"this"}


def test_refused_prompts_and_numbers_got_another_way_are_told(make_job, store) -> None:
    class Refusing(ListedPool):
        def generate(self, prompts):
            table = super().generate(prompts).table
            call = len(self.calls)
            errors = pa.array(["too long" if call == 1 else None] * len(table), pa.string())
            version = pa.array(["1 device-capture" if call == 2 else "1"] * len(table))
            columns = {"error": errors, "engine_version": version}
            for name, column in columns.items():
                table = table.set_column(table.column_names.index(name), name, column)
            return Batch(table)

    did = generate(make_job(), ITEMS, Refusing(), store)
    assert did.notes == (
        "3 prompts refused by the engine: too long",
        "numbers obtained in several ways: 4 by 1, 3 by 1 device-capture",
    )
    assert generate(make_job(), ITEMS, ListedPool(), store).notes == ()


def test_without_text_the_verdicts_are_there_and_the_texts_are_not(make_job, store) -> None:
    job = make_job(store_text=False)
    generate(job, ITEMS.slice(0, 4), ListedPool(), store)
    assert job.responses(store).read(["text"])["text"].null_count == 4
    verdicts = job.verdicts(store).read()
    assert verdicts["status"].to_pylist() == ["correct"] * 4
    assert judge_artefact(job, ITEMS, store).added == 0


def test_without_text_another_judge_is_refused_rather_than_all_unscorable(make_job, store) -> None:
    job = make_job(store_text=False)
    generate(job, ITEMS.slice(0, 1), ListedPool(), store)
    benchmark = dataclasses.replace(job.benchmark, tolerance=0.1)
    with pytest.raises(SentinelError, match=r"(?s)texts of .* were not kept.*put back"):
        judge_artefact(dataclasses.replace(job, benchmark=benchmark), ITEMS, store)


# What follows


def test_judging_is_by_part_and_only_of_new_parts(make_job, store) -> None:
    job = make_job()
    generate(job, ITEMS.slice(0, 3), ListedPool(), store)
    assert judge_artefact(job, ITEMS, store).added == 3
    generate(job, ITEMS.slice(0, 5), ListedPool(), store)
    assert judge_artefact(job, ITEMS, store).added == 2
    assert judge_artefact(job, ITEMS, store).added == 0
    assert job.verdicts(store).digest() == job.responses(store).digest()
    assert job.verdicts(store).read()["status"].to_pylist() == ["correct"] * 5


def test_profiling_is_by_part_and_only_of_new_parts(make_job, store) -> None:
    job = make_job()
    responses, profiles = job.responses(store), job.profiles(store)
    generate(job, ITEMS.slice(0, 3), ListedPool(), store)
    assert profile_artefact(job, store) == 3
    generate(job, ITEMS.slice(0, 5), ListedPool(), store)
    assert profile_artefact(job, store) == 2
    assert profile_artefact(job, store) == 0
    assert profiles.digest() == responses.digest()
    table = profiles.read()
    assert table["n_tokens"].to_pylist() == [1, 2, 3, 4, 1]
    # p = 1/2, 1/4 at every token: 0.5 ln 2 + 0.25 ln 4 = ln 2.
    assert table["mean"].to_pylist() == pytest.approx([0.6931472] * 5)


def test_the_digest_of_items_does_not_see_their_order() -> None:
    assert items_digest(ITEMS) == items_digest(ITEMS.take(list(range(9, -1, -1))))
    assert items_digest(ITEMS) != items_digest(ITEMS.slice(1))
