"""What happens to GPUs and to the work when engines, drivers and nodes end, or memory runs out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.gpu import devices
from tests.gpu.conftest import GPUS, ON_CPU, Machine, Run
from tests.live.asking import ask_json
from tests.live.services import BIN, QUIET, await_true, clean_environment, end

Note = Callable[..., None]

# Takes all but FREE MiB of every GPU's memory, tells so, and holds it until it is ended.
_HOG = """
import sys, time, torch
held, keep = [], int(sys.argv[1])
for gpu in range(torch.cuda.device_count()):
    for mib in (1024, 64, 2):
        try:
            while torch.cuda.mem_get_info(gpu)[0] > (keep + mib) * 2**20:
                held.append(torch.empty(mib * 2**20, dtype=torch.uint8, device=f"cuda:{gpu}"))
        except torch.OutOfMemoryError:
            continue
print("held", flush=True)
time.sleep(600)
"""

with_gpus = pytest.mark.skipif(ON_CPU, reason="needs memory of a GPU")


@contextmanager
def hog(free_mib: int) -> Iterator[None]:
    """Another program that holds the GPUs' memory for the block, but for ``free_mib`` of each."""
    command = [sys.executable, "-c", _HOG, str(free_mib)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        yield
    finally:
        end(process)


def error_of(output: str) -> str:
    """What the user is told at the end of a failed run."""
    return " ".join(output[output.rindex("error:") :].split())[:3000] if "error:" in output else ""


@with_gpus
def test_memory_held_by_another_process(make_run: Callable[..., Run], note: Note) -> None:
    run = make_run("held", items=8)
    words = run.write({"first": {}})
    start = time.monotonic()
    with hog(free_mib=2000):
        status = run.lab.start(*words).wait(timeout=300)
    told = error_of(run.lab.output)
    note(status=status, seconds=round(time.monotonic() - start), told=told)
    assert status == 2
    assert "Free memory on device" in told
    assert "nvidia-smi" in told
    run.lab.run(*words)
    note(**run.counts())
    assert run.counts() == {"lost": 0, "repeated": 0}


def test_cache_larger_than_memory(make_run: Callable[..., Run], note: Note) -> None:
    run = make_run("cache", items=4)
    little = {"num_gpu_blocks_override": 2} if ON_CPU else {"kv_cache_memory_bytes": 2**20}
    words = run.write({"first": {"options": little}})
    status = run.lab.start(*words).wait(timeout=300)
    told = error_of(run.lab.output)
    note(status=status, told=told)
    assert status == 2
    assert "memory" in told.lower()
    assert "max_model_len" in told
    assert run.stored() == 0


@with_gpus
def test_memory_runs_out_while_generating(make_run: Callable[..., Run], note: Note) -> None:
    """Long prompts come when another program has taken what was free."""
    run = make_run("prompts", items=120)
    words = run.write({"first": {}})
    lengthen(run.lab.folder, run.benchmarks, after=60)
    process = run.lab.start(*words)
    await_true(lambda: run.lab.parts("first") or process.poll() is not None, 200, "a part")
    start = time.monotonic()
    with hog(free_mib=0):
        status = process.wait(timeout=400)
        seconds = round(time.monotonic() - start)
    kept, told = run.lab.parts("first"), error_of(run.lab.output)
    died = [line for line in run.lab.output.splitlines() if "engine ended" in line][:1]
    note(status=status, seconds=seconds, told=told, died=died, stored_before=run.stored())
    # What vLLM took at its start may be enough for the rest.
    assert status == 0 or (status in (2, 4) and "nvidia-smi" in told)
    run.lab.run(*words)
    note(**run.counts())
    assert kept.items() <= run.lab.parts("first").items()
    assert run.counts()["lost"] == 0


def lengthen(folder: Path, benchmarks: tuple[str, ...], after: int) -> None:
    """Put some 900 tokens before the questions that follow the first ones."""
    for name in benchmarks:
        file = folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows[after:]:
            row["question"] = "one two three four five six. " * 110 + row["question"]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("victim", ["engines", "actors"])
def test_killed(machine: Machine, make_run: Callable[..., Run], note: Note, victim: str) -> None:
    """The process of vLLM, or the Ray actor above it, in the middle of generation."""
    run = make_run(f"killed-{victim}")
    process = run.lab.start(*run.write({"first": {}}))
    await_true(lambda: run.lab.parts("first") or process.poll() is not None, 300, "the first part")
    kept, before = run.lab.parts("first"), machine.holders().holders
    assert before
    start = time.monotonic()
    for one in getattr(machine, victim)():
        one.kill()
    await_true(lambda: not machine.holders().holders.keys() & before.keys(), 60, "its end")
    freed = round(time.monotonic() - start, 1)
    note(seconds_until_free=freed, stored_before=run.stored())
    assert process.wait(timeout=400) == 0, run.lab.output[-3000:]
    note(**run.counts())
    assert kept.items() <= run.lab.parts("first").items()
    assert run.counts()["lost"] == 0
    # A part of each of the two jobs in flight.
    assert run.counts()["repeated"] <= 2 * run.part


def test_cancelled_from_the_pages(
    machine: Machine, make_run: Callable[..., Run], note: Note, memory_before: dict[int, int]
) -> None:
    run = make_run("cancelled", items=24 if ON_CPU else 128)
    _, path = run.write({"first": {}})
    environment = clean_environment() | QUIET | run.lab.environment | {
        "PREFECT_HOME": str(run.lab.folder / "home"), "PATH": f"{BIN}:{os.environ['PATH']}",
        "SENTINEL_ROOT": str(run.lab.folder / "data"),
    }  # fmt: skip
    log = (run.lab.folder / "worker.txt").open("wb")
    worker = subprocess.Popen(
        [BIN / "sentinel", "deploy", "--serve", "--folder", run.lab.folder],
        env=environment, cwd=run.lab.folder, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        name = f"path={Path(path).relative_to(run.lab.folder)}"
        call = [BIN / "prefect", "deployment", "run", "experiment/experiment", "-p", name]
        await_true(
            lambda: not subprocess.run(call, env=environment, capture_output=True).returncode,
            120, "a deployment to run",
        )  # fmt: skip
        await_true(lambda: run.lab.parts("first"), 300, "the first part")
        (flow_run,) = deployed(machine.pages["PREFECT_API_URL"], "RUNNING")
        driver = psutil.Process(worker.pid).children(recursive=True)
        states = f"{machine.pages['PREFECT_API_URL']}/flow_runs/{flow_run['id']}/set_state"
        assert machine.holders().holders
        start = time.monotonic()
        ask_json(states, {"state": {"type": "CANCELLING", "name": "Cancelling"}})
        freed = machine.await_free(memory_before, start)
        stored = run.stored()
        await_true(
            lambda: deployed(machine.pages["PREFECT_API_URL"], "CANCELLED"), 120, "its last state"
        )
        await_true(lambda: not any(map(of_a_run, driver)), 60, "the end of the run's processes")
        note(seconds_until_free=freed, stored=stored)
        time.sleep(5)
        assert not machine.holders().holders
        assert 0 < run.stored() == stored < 2 * run.items
    finally:
        worker.send_signal(signal.SIGINT)
        worker.wait(timeout=60)
    run.lab.run("run", path)
    note(**run.counts())
    assert run.counts()["lost"] == 0
    assert run.counts()["repeated"] <= 2 * run.part


def of_a_run(process: psutil.Process) -> bool:
    """Whether a process below the worker is alive and not the worker itself."""
    try:
        words = process.cmdline()
        return process.status() != "zombie" and not {"worker", "start"} <= set(words)
    except psutil.NoSuchProcess:
        return False


def deployed(api: str, state: str) -> list[dict]:
    """Flow runs that a deployment started, in this state."""
    asked = {"flow_runs": {"state": {"type": {"any_": [state]}}}}
    runs = ask_json(f"{api}/flow_runs/filter", asked)
    return [run for run in runs if run["deployment_id"]]


@pytest.mark.skipif(GPUS == 1, reason="needs two GPUs")
def test_driver_killed(
    machine: Machine, make_run: Callable[..., Run], note: Note, memory_before: dict[int, int]
) -> None:
    """Its engine ends and gives the memory back; a run beside it does not notice."""
    items = 16 if ON_CPU else 96
    run, other = make_run("driver", items), make_run("beside", items)
    words = run.write({"first": {}})
    beside = other.lab.start(*other.write({"first": {}}))
    process = run.lab.start(*words)
    await_true(lambda: run.lab.parts("first") or process.poll() is not None, 300, "the first part")
    await_true(lambda: other.lab.parts("first"), 300, "the first part beside it")
    actors = machine.requests(*run.benchmarks).keys()
    ours = [e.pid for e in machine.engines() if actors & {above.pid for above in e.parents()}]
    assert len(ours) == 1
    before = machine.holders()
    assert process.poll() is None
    assert beside.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    process.wait()
    await_true(lambda: ours[0] not in machine.holders().holders, 120, "the end of its engine")
    freed = round(time.monotonic() - start, 1)
    note(seconds_until_free=freed, stored_before=run.stored())
    if GPUS:
        (gpu,) = before.holders[ours[0]]
        # Of a GPU on which somebody else computes meanwhile, memory tells nothing.
        if not any(gpu in on for on in devices.read().holders.values()):
            assert devices.read().used_mib[gpu] <= memory_before[gpu] + 64
    assert beside.wait(timeout=400) == 0, other.lab.output[-3000:]
    note(beside=other.counts())
    assert other.counts() == {"lost": 0, "repeated": 0}
    run.lab.run(*words)
    note(**run.counts())
    assert run.counts()["lost"] == 0
    assert run.counts()["repeated"] <= 2 * run.part


@pytest.mark.parametrize("what", ["node", "raylet"])
def test_lost(
    machine: Machine, make_run: Callable[..., Run], note: Note, what: str,
    memory_before: dict[int, int],
) -> None:  # fmt: skip
    """The node with the GPUs, or its raylet alone; a new one comes, and the run goes on there."""
    run = make_run(f"lost-{what}")
    process = run.lab.start(*run.write({"first": {}}))
    await_true(lambda: run.lab.parts("first") or process.poll() is not None, 300, "the first part")
    kept, node = run.lab.parts("first"), machine.gpu_node
    assert node is not None
    assert machine.holders().holders
    start = time.monotonic()
    if what == "raylet":
        for one in psutil.Process(node.pid).children(recursive=True):
            if one.name() == "raylet":
                one.kill()
        freed = machine.await_free(memory_before, start)
    machine.cluster.lose(node)
    if what == "node":
        freed = machine.await_free(memory_before, start)
    note(seconds_until_free=freed, stored_before=run.stored())
    time.sleep(5)
    machine.add_gpu_node()
    assert process.wait(timeout=500) == 0, run.lab.output[-3000:]
    note(seconds_until_done=round(time.monotonic() - start), **run.counts())
    assert kept.items() <= run.lab.parts("first").items()
    assert run.counts()["lost"] == 0
    assert run.counts()["repeated"] <= 2 * run.part
