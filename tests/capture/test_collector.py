"""The collector against a stand-in for vLLM's engine."""

import asyncio

import numpy as np
import pytest

from tasks.engines.capture.collector import CaptureRefused, Collector, Gap
from tasks.engines.capture.rows import FIELDS, pack
from tests.capture.conftest import words_of


class FakeEngine:
    """Answers calls as two workers would, of which the second captures nothing."""

    def __init__(self) -> None:
        self.steps: list = []
        self.calls: list[str] = []
        self.answer: dict[str, str] = {"runner": "V2"}
        self.delay = 0.0

    def sample(self, name: str, index: int, token: int) -> None:
        words = words_of(np.full((1, len(FIELDS)), index, np.float32), [token])
        self.steps.append((words, [name], np.array([index], np.int32)))

    async def collective_rpc(self, method: str, args: tuple = ()) -> list:
        self.calls.append(method)
        await asyncio.sleep(0)
        if method == "sentinel_capture_drain":
            steps, self.steps = self.steps, []
            await asyncio.sleep(self.delay)
            return [pack(steps), None]
        return [self.answer, {"role": "silent"}] if method.endswith("start") else [None, None]

    @property
    def fetches(self) -> int:
        return self.calls.count("sentinel_capture_drain")


def test_each_request_gets_its_own_rows_in_one_fetch():
    async def go():
        engine = FakeEngine()
        collector = await Collector(engine, pause=0.01).start(20)
        for name in ("x/1/0", "x/2/1"):
            collector.expect(name)
            for index in range(3):
                engine.sample(f"{name}-0a1b2c3d", index, 7)
        one, two = await asyncio.gather(
            collector.take("x/1/0", [7, 7]), collector.take("x/2/1", [7, 7, 7])
        )
        assert one.entropy.tolist() == [0, 1]
        assert two.entropy.tolist() == [0, 1, 2]
        assert engine.fetches == 1
        await collector.stop()
        return engine

    engine = asyncio.run(go())
    assert engine.calls[0] == "sentinel_capture_start"
    assert engine.calls[-1] == "sentinel_capture_stop"


def test_names_without_a_suffix_are_known_too():
    async def go():
        engine = FakeEngine()
        collector = Collector(engine, pause=0)
        collector.expect("x/1/0")
        engine.sample("x/1/0", 0, 7)
        return await collector.take("x/1/0", [7])

    assert asyncio.run(go()).entropy.tolist() == [0]


def test_who_asks_during_a_fetch_takes_what_it_brings():
    async def go():
        engine = FakeEngine()
        collector = Collector(engine, pause=0)
        collector.expect("a")
        collector.expect("b")
        engine.sample("a", 0, 7)
        first = asyncio.create_task(collector.take("a", [7]))
        await asyncio.sleep(0)
        engine.sample("b", 0, 7)
        await collector.take("b", [7])
        await first
        return engine.fetches

    assert asyncio.run(go()) == 1


def test_who_asks_too_late_for_a_fetch_waits_for_the_next():
    async def go():
        engine = FakeEngine()
        engine.delay = 0.02
        collector = Collector(engine, pause=0)
        collector.expect("a")
        collector.expect("b")
        engine.sample("a", 0, 7)
        first = asyncio.create_task(collector.take("a", [7]))
        while engine.steps:
            await asyncio.sleep(0)
        # The fetch under way was answered without this row.
        engine.sample("b", 0, 7)
        await collector.take("b", [7])
        await first
        return engine.fetches

    assert asyncio.run(go()) == 2


def test_a_request_that_is_cancelled_does_not_take_the_fetch_along():
    async def go():
        engine = FakeEngine()
        collector = Collector(engine, pause=0)
        takes = []
        for name in ("a", "b"):
            collector.expect(name)
            engine.sample(name, 0, 7)
            takes.append(asyncio.create_task(collector.take(name, [7])))
        await asyncio.sleep(0)
        takes[0].cancel()
        values = await takes[1]
        assert takes[0].cancelled()
        return values, collector._expected

    values, expected = asyncio.run(go())
    assert values.entropy.tolist() == [0]
    assert expected == {}


def test_a_missing_row_is_an_error_that_says_which():
    async def go():
        engine = FakeEngine()
        collector = Collector(engine, pause=0)
        collector.expect("a")
        engine.sample("a", 0, 7)
        with pytest.raises(Gap, match="1 of 2 tokens were not captured; for token 1"):
            await collector.take("a", [7, 8])
        # Forgotten: rows that come late are nobody's.
        engine.sample("a", 1, 8)
        collector.expect("b")
        engine.sample("b", 0, 1)
        await collector.take("b", [1])
        return collector._expected

    assert asyncio.run(go()) == {}


def test_a_refusal_is_told_and_leaves_nothing_behind():
    async def go():
        engine = FakeEngine()
        engine.answer = {"refused": "speculative decoding"}
        with pytest.raises(CaptureRefused, match="speculative decoding"):
            await Collector(engine).start(20)
        return engine.calls

    assert asyncio.run(go())[-1] == "sentinel_capture_stop"


def test_a_dead_engine_is_everybodys_error():
    class Dead(FakeEngine):
        async def collective_rpc(self, method: str, args: tuple = ()) -> list:
            raise ConnectionError("gone")

    async def go():
        collector = Collector(Dead(), pause=0)
        collector.expect("a")
        collector.expect("b")
        return await asyncio.gather(
            collector.take("a", [7]), collector.take("b", [7]), return_exceptions=True
        )

    assert all(isinstance(e, ConnectionError) for e in asyncio.run(go()))


def test_rows_are_fetched_now_and_then_although_nothing_finishes(monkeypatch):
    monkeypatch.setattr("tasks.engines.capture.collector._LONGEST", 0.01)

    async def go():
        engine = FakeEngine()
        collector = Collector(engine, pause=0)
        collector.expect("a")
        for index, token in enumerate((7, 8)):
            engine.sample("a", index, token)
            for _ in range(200):
                await asyncio.sleep(0.005)
                if not engine.steps:
                    break
            assert not engine.steps, "nobody has fetched the rows"
        found = await collector.take("a", [7, 8])
        await asyncio.sleep(0.03)
        fetches = engine.fetches
        await asyncio.sleep(0.03)
        assert engine.fetches == fetches, "no request is left, so nothing is fetched"
        return found

    assert asyncio.run(go()).entropy.tolist() == [0, 1]
