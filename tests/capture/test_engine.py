"""When the engine captures on the device, when it falls back, and what it says; without vLLM."""

import asyncio
import logging

import pydantic
import pytest

from tasks.conf import Decoding, Endpoint, Model
from tasks.engines.capture.collector import EXTENSION, CaptureRefused, Collector
from tasks.engines.vllm import VllmEngine, _obstacle_to_capture
from tasks.errors import SentinelError
from tasks.storage.keys import request_digest


def model(**changed) -> Model:
    return Model(**({"name": "m", "engine": "vllm", "model": "nowhere"} | changed))


def test_the_extension_is_where_vllm_is_told_to_look():
    from tasks.engines.capture import worker

    assert f"{worker.CaptureExtension.__module__}.CaptureExtension" == EXTENSION


@pytest.mark.parametrize(
    ("options", "keep_top", "why"),
    [
        ({}, False, None),
        ({"max_num_seqs": 4}, False, None),
        ({}, True, "keeps the top log-probabilities"),
        ({"logprobs_mode": "processed_logprobs"}, False, "logprobs_mode"),
        ({"worker_extension_cls": "x.Y"}, False, "worker_extension_cls"),
        ({"speculative_config": {"method": "ngram"}}, False, "speculative_config"),
        ({"pipeline_parallel_size": 2}, False, "pipeline_parallel_size"),
        ({"data_parallel_size": 2}, False, "data_parallel_size"),
    ],
)
def test_obstacles_that_the_conf_shows(options, keep_top, why):
    found = _obstacle_to_capture(model(options=options), keep_top)
    assert (found is None) if why is None else (why in found)


def test_insisting_on_the_device_fails_before_anything_is_loaded():
    engine = VllmEngine(model(capture="device"), Decoding(), keep_top=True)
    with pytest.raises(SentinelError, match="keeps the top log-probabilities"):
        asyncio.run(engine.load())


def test_a_worker_that_refuses_leads_to_logprobs_and_one_line(monkeypatch, caplog):
    async def refuse(self, top_k):
        raise CaptureRefused("speculative decoding")

    monkeypatch.setattr(Collector, "start", refuse)
    engine = VllmEngine(model(), Decoding(), keep_top=False)
    engine._engine = None
    with caplog.at_level(logging.WARNING):
        asyncio.run(engine._start_capture(None))
    assert engine._capture is None
    assert [r.getMessage() for r in caplog.records] == [
        "model 'm': entropies come from flat log-probabilities, which is slower, not from the "
        "device: speculative decoding"
    ]


def test_asking_for_logprobs_is_no_news(caplog):
    engine = VllmEngine(model(capture="logprobs"), Decoding(), keep_top=False)
    asyncio.run(engine._start_capture("the conf asks for log-probabilities"))
    assert engine._capture is None
    assert not caplog.records


def test_an_endpoint_cannot_capture_on_the_device():
    with pytest.raises(pydantic.ValidationError, match="capture: device needs engine: vllm"):
        model(engine="openai", endpoint=Endpoint("http://127.0.0.1:1/v1"), capture="device")


def test_responses_of_both_ways_complete_each_other():
    digests = {
        request_digest(model(capture=c), Decoding(), "{question}")
        for c in ("auto", "device", "logprobs")
    }
    assert len(digests) == 1
