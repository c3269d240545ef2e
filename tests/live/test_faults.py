"""Processes killed while a model generates: nothing finished is lost, little is done twice."""

from __future__ import annotations

import contextlib
import re
import subprocess

import psutil
import pyarrow.parquet as pq

from tests.live.faults.trouble import LOGGED, alive, asked, below, engines, ray_folder, record

BATCH = 8


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kill a command outright, and with it the temporary Prefect server it can no longer stop."""
    below = psutil.Process(process.pid).children(recursive=True)
    servers = []
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "uvicorn" in one.cmdline():
                servers.append(one)
    process.kill()
    process.wait()
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            server.kill()


def answers(lab) -> dict[tuple[str, str], int]:
    table = lab.responses()
    keys = zip(table["benchmark"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    return dict(zip(keys, table["n_tokens"].to_pylist(), strict=True))


def rows_written(lab) -> int:
    return sum(pq.read_metadata(lab.folder / p).num_rows for p in lab.parts())


def test_kill_9_on_the_flow_repeats_at_most_one_batch(lab, wait_until):
    path = str(lab.write(batch_items=BATCH, decoding={"temperature": 0, "max_tokens": 64}))
    with ray_folder() as ray:
        lab.environment = {"RAY_TMPDIR": str(ray)}
        process = lab.start("run", path)
        wait_until(lambda: len(lab.parts()) >= 2, 300)
        # By what the engine says of itself: the kill cuts the tree.
        logs = "".join(p.read_text(errors="replace") for p in ray.glob("**/logs/worker-*"))
        held = [psutil.Process(int(pid)) for pid in set(re.findall(r"EngineCore pid=(\d+)", logs))]
        assert held
        kill_9(process)
        kept = lab.parts()
        wait_until(lambda: not any(map(alive, held)), 200)  # None outlives its flow.
    lab.environment = {}
    lab.run("run", path)
    after = lab.parts()
    assert {p: t for p, t in after.items() if p in kept} == kept
    # Every item stands once, so no batch that was stored was computed again.
    assert rows_written(lab) == len(answers(lab)) == 3 * lab.items


def test_kill_9_on_the_engine_is_survived_by_the_run_itself(lab, wait_until):
    """What a kernel does to a process when the memory of the machine runs out."""
    decoding = {"temperature": 0, "max_tokens": 64}
    path = str(lab.write(models={"small": LOGGED}, batch_items=BATCH, decoding=decoding))
    with ray_folder() as ray:
        lab.environment = {"RAY_TMPDIR": str(ray)}
        process = lab.start("run", path)
        wait_until(lambda: len(lab.parts()) >= 1, 300)
        kept = lab.parts()
        found: list[psutil.Process] = []
        wait_until(lambda: found.extend(engines(below(process), "VLLM::Engine")) or found, 60)
        (core,) = found
        core.kill()
        assert process.wait(timeout=600) == 0, lab.output[-4000:]
        repeated = asked(ray) - 3 * lab.items
    assert {p: t for p, t in lab.parts().items() if p in kept} == kept
    assert rows_written(lab) == len(answers(lab)) == 3 * lab.items
    # The batches that were with the engine when it died: one for each benchmark at most.
    assert 0 < repeated <= 3 * BATCH
    record(
        "engine out of memory: its process", "`kill -9` of vLLM's own process, as the kernel does "
        f"it when the machine's memory runs out, after {len(kept)} of 9 parts",
        "the run started a fresh engine, asked it again what the dead one had not answered, and "
        "ended well", lost=3 * lab.items - len(answers(lab)), repeated=repeated, of=3 * lab.items,
    )  # fmt: skip


def test_an_interrupted_run_gives_the_result_of_an_undisturbed_one(lab, wait_until, tmp_path):
    path = str(lab.write(batch_items=BATCH))
    process = lab.start("run", path)
    wait_until(lambda: len(lab.parts()) >= 1, 300)
    kill_9(process)
    lab.run("run", path)
    broken = (lab.folder / "data" / "results" / "lab" / "estimates.csv").read_text()
    interrupted = answers(lab)
    whole = type(lab)(tmp_path / "undisturbed")
    whole.folder.mkdir()
    whole.run("run", str(whole.write(batch_items=BATCH)))
    undisturbed = answers(whole)
    assert interrupted.keys() == undisturbed.keys()
    # Greedy decoding in bfloat16 may flip a near-tie when other requests share the batch.
    same = sum(interrupted[k] == undisturbed[k] for k in interrupted)
    assert same >= 0.9 * len(interrupted)
    table = (whole.folder / "data" / "results" / "lab" / "estimates.csv").read_text()
    assert broken.splitlines()[0] == table.splitlines()[0]
    assert len(broken.splitlines()) == len(table.splitlines())
