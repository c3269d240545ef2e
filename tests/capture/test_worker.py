"""The tap around a sampler and the two runners' row mapping, on stand-ins for vLLM's objects."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tasks.engines.capture.reduction import reduce_rows
from tasks.engines.capture.rows import Values, unpack
from tasks.engines.capture.worker import (
    Batch,
    CaptureExtension,
    RunnerV1,
    RunnerV2,
    StepLog,
    Tap,
    _obstacle,
    _tapped,
    best_for,
)

VOCABULARY = 40


def runner_v1(requests, computed, scheduled, prompt, discard) -> SimpleNamespace:
    return SimpleNamespace(
        input_batch=SimpleNamespace(
            num_reqs=len(requests), req_ids=requests, num_prompt_tokens=np.array([*prompt, 0, 0])
        ),
        optimistic_seq_lens_cpu=torch.tensor(
            [*np.add(computed, scheduled), 0, 0], dtype=torch.int32
        ),
        discard_request_mask=SimpleNamespace(np=np.array([*discard, False, False])),
    )


def test_v1_rows_of_prefill_decode_and_resumed_requests():
    # A decode step; the last and an inner chunk of a prompt; a chunk of a resumed request that
    # passes its prompt's end without reaching the tokens it had generated.
    found = RunnerV1(
        runner_v1(
            ["decode", "prefilled", "chunk", "resumed"],
            computed=[12, 6, 4, 8],
            scheduled=[1, 4, 2, 4],
            prompt=[10, 10, 10, 10],
            discard=[False, False, True, True],
        )
    ).batch(())
    assert found.requests == ["decode", "prefilled", "chunk", "resumed"]
    assert found.index.tolist() == [3, 0, -1, -1]


def test_v1_keeps_the_requests_of_the_step():
    runner = runner_v1(["a"], [5], [1], [5], [False])
    found = RunnerV1(runner).batch(())
    runner.input_batch.req_ids[0] = "b"
    assert found.requests == ["a"]


def batch_v2(requests, length, prefill, slots) -> SimpleNamespace:
    return SimpleNamespace(
        req_ids=requests,
        num_reqs=len(requests),
        seq_lens_cpu_upper_bound=torch.tensor([*length, 0], dtype=torch.int32),
        prefill_len_np=np.array(prefill, dtype=np.int32),
        idx_mapping_np=np.array(slots, dtype=np.int32),
    )


def test_v2_rows_of_prefill_decode_and_resumed_requests():
    prompts = np.array([99, 10, 10, 10, 10])
    runner = SimpleNamespace(req_states=SimpleNamespace(prompt_len=SimpleNamespace(np=prompts)))
    batch = batch_v2(
        ["decode", "prefilled", "chunk", "resumed"],
        length=[13, 10, 6, 12],
        prefill=[10, 10, 10, 15],
        slots=[4, 1, 3, 2],
    )
    assert RunnerV2(runner).batch((batch,)).index.tolist() == [3, 0, -1, -1]


def test_v2_reads_fields_that_the_installed_vllm_has():
    batch = pytest.importorskip("vllm.v1.worker.gpu.input_batch", reason="vLLM is not installed")
    fields = {f.name for f in dataclasses.fields(batch.InputBatch)}
    assert fields >= set(vars(batch_v2([], [], [], [])))


class SpoilingSampler:
    """Greedy, and as rude to its logits as vLLM 0.26's sampler of the V2 runner."""

    def __call__(self, logits, batch):
        tokens = logits.argmax(dim=1)
        logits.mul_(3.0)
        return SimpleNamespace(sampled_token_ids=tokens.view(-1, 1), batch=batch)


class SpoilingModule(torch.nn.Module):
    """The same as a module, called with keywords, as in the V1 runner."""

    def forward(self, logits, sampling_metadata):
        return SpoilingSampler()(logits, sampling_metadata)


class Fixed:
    """A runner whose every step has the same requests."""

    def __init__(self, name: str, batch: Batch) -> None:
        self.name, self._batch = name, batch

    def batch(self, arguments):
        return self._batch

    def unchanged(self, logits):
        return logits.clone()


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_numbers_are_of_the_raw_logits_and_the_sampler_works_as_before(version):
    sampler = SpoilingSampler() if version == "V2" else SpoilingModule()
    plain = type(sampler)
    batch = Batch(["a", "b"], np.array([0, 4], dtype=np.int32))
    tap = Tap(Fixed(version, batch), reduce_rows, 20)
    sampler.__class__ = _tapped(plain, tap, version)
    assert isinstance(sampler, plain)
    logits = torch.randn((2, VOCABULARY))
    raw = logits.clone()
    if version == "V2":
        output = sampler(logits, "metadata")
    else:
        output = sampler(logits=logits, sampling_metadata="metadata")
    assert output.batch == "metadata"
    expected = reduce_rows(raw, raw.argmax(dim=1), 20)
    found = dict(unpack(tap.log.drain()))
    assert torch.equal(torch.from_numpy(found["a"].words), expected[:1])
    assert torch.equal(torch.from_numpy(found["b"].words), expected[1:])
    assert found["b"].index.tolist() == [4]
    assert list(unpack(tap.log.drain())) == []


def test_a_call_with_other_rows_than_requests_passes_through():
    tap = Tap(Fixed("V2", Batch(["a"], np.zeros(1, np.int32))), reduce_rows, 20)
    output = tap.around(SpoilingSampler(), torch.randn((3, VOCABULARY)), "dummy")
    assert output.batch == "dummy"
    assert list(unpack(tap.log.drain())) == []


def test_the_log_is_bounded_and_what_is_dropped_shows():
    log = StepLog(limit=4)
    for step in range(3):
        logits = torch.randn((2, VOCABULARY))
        batch = Batch(["a", "b"], np.full(2, step, np.int32))
        log.append(reduce_rows(logits, torch.tensor([1, 2]), 20), batch)
    found = dict(unpack(log.drain()))
    assert found["a"].index.tolist() == [0, 1]
    assert "token 2 the worker saw nothing" in found["a"].of([1, 1, 1])
    # Drained, it takes rows again.
    log.append(reduce_rows(logits, torch.tensor([1, 2]), 20), batch)
    assert isinstance(dict(unpack(log.drain()))["a"].of([]), Values)


def test_rows_still_on_their_way_are_left_for_later():
    log = StepLog()
    arrived = SimpleNamespace(query=lambda: True)
    late = SimpleNamespace(query=lambda: late.there, there=False)
    for step, event in enumerate((arrived, late)):
        words = reduce_rows(torch.randn((1, VOCABULARY)), torch.tensor([1]), 20)
        log.append(words, Batch(["a"], np.full(1, step, np.int32)))
        log._steps[-1] = (words, event, log._steps[-1][2])
    assert dict(unpack(log.drain()))["a"].index.tolist() == [0]
    assert list(unpack(log.drain())) == []
    late.there = True
    assert dict(unpack(log.drain()))["a"].index.tolist() == [1]


def test_without_a_working_kernel_torch_does_it_and_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "tasks.engines.capture.kernel", None)
    assert best_for(torch.device("cpu")) == (reduce_rows, "torch")
    reduce, name = best_for(torch.device("cuda"))
    assert reduce is reduce_rows
    assert name.startswith("torch, Triton failed: ModuleNotFoundError")


def config(**changed) -> SimpleNamespace:
    settings = {"speculative_config": None, "pipeline_parallel_size": 1, "sharded": False} | changed
    return SimpleNamespace(
        speculative_config=settings["speculative_config"],
        scheduler_config=SimpleNamespace(async_scheduling=False),
        parallel_config=SimpleNamespace(
            pipeline_parallel_size=settings["pipeline_parallel_size"],
            enable_batch_sharded_sampling=settings["sharded"],
        ),
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"speculative_config": object()}, "speculative decoding"),
        ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ({"sharded": True}, "batch-sharded sampling"),
    ],
)
def test_engines_whose_rows_cannot_be_told_apart_are_refused(changed, why):
    runner = runner_v1(["a"], [5], [1], [5], [False])
    runner.sampler = SpoilingModule()
    assert _obstacle(runner, config()) is None
    assert _obstacle(runner, config(**changed)) == why


def test_an_unknown_model_runner_is_refused():
    runner = SimpleNamespace(sampler=SpoilingModule(), input_batch=SimpleNamespace())
    assert "has no input_batch.num_prompt_tokens" in _obstacle(runner, config())


def test_stopping_leaves_the_sampler_as_it_was():
    worker = CaptureExtension()
    worker.model_runner = SimpleNamespace(sampler=SpoilingSampler())
    tap = Tap(Fixed("V2", Batch([], np.zeros(0, np.int32))), reduce_rows, 20)
    for _ in range(2):
        worker.model_runner.sampler.__class__ = _tapped(SpoilingSampler, tap, "V2")
        worker.sentinel_capture_stop()
        assert type(worker.model_runner.sampler) is SpoilingSampler
        assert worker.sentinel_capture_drain() is None
