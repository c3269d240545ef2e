"""Verdicts and profiles are of the responses that are there now, whoever answered and how often."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.conf import ChainJudge, Decoding, Endpoint, LlmJudge, RuleJudge
from tasks.engines.contract import Recorder, TokenTrace, to_generation_table
from tasks.generation.generate import generate
from tasks.jobs import Job, jobs_of
from tasks.records import Finish
from tasks.signals.features import join_jobs
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.verdicts import stored as verdicts
from tasks.verdicts.stored import judge_artefact, settle
from tests.tasks.doubles import ListedPool, items_of

ITEMS = items_of("alpha", 6)


class Right(ListedPool):
    """Answers that are right, each candidate of probability one half."""

    chance = 0.5

    def text(self, number: int) -> str:
        return f"It is {2 * number}."

    def _answers(self, prompts) -> pa.Table:
        recorder = Recorder("listed", "1", "raw_logprobs", Decoding(top_k=2), None)
        top = np.log(np.tile(np.float32([self.chance, 0.01]), (3, 1)))
        traces = [TokenTrace.from_logprobs(top, top[:, 0], keep_top=True) for _ in prompts]
        counts = {"n_tokens": 3, "seconds": 0.1, "tokens_in": 1, "tokens_out": 3}
        rows = [
            recorder.response(p, text=self.text(int(p.item_id[1:])), finish=Finish.STOP, **counts)
            for p in prompts
        ]
        return to_generation_table(rows, traces)


class Wrong(Right):
    """Other answers to the same prompts: wrong, and with other chances."""

    chance = 0.9

    def text(self, number: int) -> str:
        return "It is -1."


def mean_of(pool: type[Right]) -> float:
    """Mean entropy over the likeliest candidate alone: p ln(1/p)."""
    return -pool.chance * np.log(pool.chance)


def statuses(job: Job, store: Store) -> Counter[str]:
    table = job.verdicts(store).read(["status"])
    return Counter(table["status"].to_pylist() if table else [])


def lose(job: Job, store: Store, *numbers: int) -> None:
    """Delete parts of a job's responses, as one deletes a damaged one."""
    parts = job.responses(store).parts()
    for part in [parts[n] for n in numbers] if numbers else parts:
        store.delete(part)


@pytest.fixture
def pair(make_job) -> tuple[Job, Job]:
    """The jobs of two experiments that share their responses and have two judges."""
    one, other = make_job(), make_job(judge=RuleJudge(name="other", deadline_s=7.0))
    assert one.key == other.key
    return one, other


def test_another_experiment_judges_what_was_answered_anew(pair, store) -> None:
    one, _ = pair
    generate(one, ITEMS, Right(), store)
    for job in pair:
        judge_artefact(job, ITEMS, store)
    lose(one, store, 0)
    generate(one, ITEMS, Wrong(), store)
    assert [judge_artefact(job, ITEMS, store).added for job in pair] == [3, 3]
    for job in pair:
        assert statuses(job, store) == {"incorrect": 3, "correct": 3}
        assert judge_artefact(job, ITEMS, store).added == 0


def test_another_experiment_profiles_what_was_answered_anew(make_job, store) -> None:
    two = make_job(keep_top_logprobs=True)
    one = make_job(keep_top_logprobs=True, profile_top_k=1)
    assert one.key == two.key
    generate(two, ITEMS, Right(), store)
    for job in (two, one):
        profile_artefact(job, store)
    lose(two, store)
    generate(two, ITEMS, Wrong(), store)
    assert [profile_artefact(job, store) for job in (two, one)] == [6, 6]
    means = one.profiles(store).read(["mean"])["mean"].to_pylist()
    assert means == pytest.approx([mean_of(Wrong)] * 6)


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_parts_of_other_boundaries_leave_nothing_of_the_old_answers(
    pair, make_job, store, size: int
) -> None:
    """All parts are lost, and answered anew in batches of another size."""
    one, other = pair
    generate(one, ITEMS, Right(), store)
    for job in pair:
        judge_artefact(job, ITEMS, store)
    lose(one, store)
    assert statuses(other, store) == {}
    generate(make_job(batch_items=size), ITEMS, Wrong(), store)
    assert judge_artefact(other, ITEMS, store).added == 6
    assert statuses(other, store) == {"incorrect": 6}
    assert other.verdicts(store).names() == other.responses(store).names()


def test_verdicts_that_come_with_the_responses_are_taken_anew(make_job, store) -> None:
    """Without texts: the answers were given anew by a run that ended before it settled them."""
    job = make_job(store_text=False, batch_items=6)
    generate(job, ITEMS, Right(), store)
    name, old = job.responses(store).names()[0], store.read_bytes(job.verdicts(store).parts()[0])
    lose(job, store)
    generate(job, ITEMS, Wrong(), store)
    store.write_bytes(f"{job.verdicts(store).address}/{name}", old)
    assert statuses(job, store) == {}
    assert judge_artefact(job, ITEMS, store).added == 6
    assert statuses(job, store) == {"incorrect": 6}
    assert settle(job, store, name) == 6


def test_the_rules_of_a_chain_see_the_new_answers(make_job, store) -> None:
    """Its rules' verdicts are another experiment's as well, and decide all but the sample."""
    nowhere = Endpoint(base_url="http://127.0.0.1:9/v1", api_key_env=None, max_retries=0)
    llm = LlmJudge(kind="llm", model="grader", endpoint=nowhere)
    chain = make_job(judge=ChainJudge(kind="chain", llm=llm, sample=0))
    rules = make_job()
    assert chain.rule_verdicts(store) == rules.verdicts(store)

    class Boxed(Right):
        def text(self, number: int) -> str:
            return f"\\boxed{{{2 * number}}}"

    class Unboxed(Boxed):
        def text(self, number: int) -> str:
            return "\\boxed{-1}"

    generate(rules, ITEMS, Boxed(), store)
    for job in (rules, chain):
        judge_artefact(job, ITEMS, store)
    lose(rules, store)
    generate(rules, ITEMS, Unboxed(), store)
    assert judge_artefact(chain, ITEMS, store).added == 6
    assert statuses(chain, store) == statuses(rules, store) == {"incorrect": 6}


def unidentified(store: Store, kind: str, address: str) -> None:
    """Make parts look like those stored before parts had identities."""
    for part in store.list(address):
        table = store.read_parquet(part)
        about = {b"record": kind.encode(), b"schema_version": b"1"}
        with open(store.local_path(part), "wb") as file:
            pq.write_table(table.replace_schema_metadata(about), file)


def test_parts_without_identities_count_until_their_responses_are_answered_anew(
    pair, store
) -> None:
    one, _ = pair
    generate(one, ITEMS, Right(), store)
    judge_artefact(one, ITEMS, store)
    profile_artefact(one, store)
    for kind in ("responses", "verdicts", "profiles"):
        unidentified(store, kind, getattr(one, kind)(store).address)
    assert judge_artefact(one, ITEMS, store).added == profile_artefact(one, store) == 0
    assert statuses(one, store) == {"correct": 6}
    lose(one, store, 0)
    generate(one, ITEMS, Wrong(), store)
    assert judge_artefact(one, ITEMS, store).added == profile_artefact(one, store) == 3
    assert statuses(one, store) == {"incorrect": 3, "correct": 3}


def test_what_is_made_from_parts_without_identities_is_accepted(pair, store) -> None:
    one, other = pair
    generate(one, ITEMS, Right(), store)
    unidentified(store, "responses", one.responses(store).address)
    assert judge_artefact(other, ITEMS, store).added == 6
    assert judge_artefact(other, ITEMS, store).added == 0


def test_a_copied_or_restored_store_is_as_whole_as_it_was(pair, store, tmp_path) -> None:
    """Identities are in the parts: no clock, inode or entity tag is looked at."""
    one, _ = pair
    generate(one, ITEMS, Right(), store)
    judge_artefact(one, ITEMS, store)
    copy = Store(f"memory://{tmp_path.name}")
    for artefact in (one.responses(store), one.verdicts(store)):
        for part in artefact.parts():
            copy.write_bytes(part, store.read_bytes(part))
    assert judge_artefact(one, ITEMS, copy).added == 0
    assert statuses(one, copy) == {"correct": 6}


# Two runs at once


def test_a_second_run_leaves_the_verdicts_of_the_first(make_job, store, monkeypatch) -> None:
    """Both find nothing judged; what the first stored may have been swept when the second ends."""
    job = make_job()
    generate(job, ITEMS, Right(), store)
    rules, looked, go = verdicts._rules, threading.Event(), threading.Event()

    def slow(*arguments) -> pa.Table:
        table = rules(*arguments)
        if threading.current_thread() is second:
            looked.set()
            assert go.wait(60)
            place = table.column_names.index("status")
            late = pa.array(["timeout"] * len(table))
            table = table.set_column(place, table.schema.field("status"), late)
        return table

    monkeypatch.setattr(verdicts, "_rules", slow)
    second = threading.Thread(target=judge_artefact, args=(job, ITEMS, store))
    second.start()
    assert looked.wait(60)
    judge_artefact(job, ITEMS, store)
    go.set()
    second.join()
    assert statuses(job, store) == {"correct": 6}


def test_a_verdict_meets_the_profile_of_its_own_response(make_experiment, store) -> None:
    """A run judges; another stores the same items in other batches; the first profiles.

    Whichever parts come first by name, right answers have the entropy of right ones.
    """
    experiment = make_experiment(batch_items=4, keep_top_logprobs=True, profile_top_k=1)
    items = {b.name: items_of(b.name, 12) for b in experiment.benchmarks}
    jobs = jobs_of(experiment, experiment.models[0])
    for job in jobs:
        asked = items[job.benchmark.name]
        other = dataclasses.replace(experiment, batch_items=3)
        scratch = Store(f"{store.root}-other")
        late = dataclasses.replace(job, experiment=other)
        generate(late, asked, Wrong(), scratch)
        generate(job, asked, Right(), store)
        judge_artefact(job, asked, store)
        for part in late.responses(scratch).parts():
            store.write_bytes(part, scratch.read_bytes(part))
        profile_artefact(job, store)
        shown = job.profiles(store).read(["mean"])["mean"].to_numpy()
        assert np.isclose(shown, mean_of(Wrong)).any()  # So the first of each would have mixed.
    table = join_jobs(jobs, items, store).table
    assert table.y.tolist() == [1.0] * 24
    assert table.X[:, table.columns(["mean"])[0]] == pytest.approx([mean_of(Right)] * 24)
