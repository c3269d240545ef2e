"""Runs that are killed, doubled, cancelled, out of disk or out of time: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.live.conftest import Lab
from tests.live.faults.conftest import SWEEP, Servers
from tests.live.faults.trouble import (
    HELD,
    IN_FLIGHT,
    PART,
    Trouble,
    alive,
    below,
    names,
    record,
    recording,
    worker,
)
from tests.live.services import await_true

DAY_S = 86400


@pytest.mark.long
def test_fault_killed_driver_goes_on_elsewhere(found: Trouble, servers: Servers) -> None:
    """The killed run has a Prefect server of its own, which has to end with it too."""
    path = found.write()
    found.hold(after=HELD)
    found.lab.environment = {}
    process = found.lab.start("run", path)
    await_true(lambda: found.parts >= 2, 200, "two parts")
    left = below(process)
    process.kill()
    process.wait()
    start = time.monotonic()
    asked, kept = found.asked, found.lab.parts("remote")
    assert any("prefect.server" in name for name in names(left))
    await_true(lambda: not working(left), 30, f"the end of all of {working(left)}")
    took = time.monotonic() - start
    assert asked < found.all_items
    found.let_go()
    # Elsewhere: other servers, over the same root.
    found.lab.environment = dict(servers.clients)
    found.lab.run("run", path)
    if recording():
        await_true(lambda: not names(left), 120, f"the end of all of {names(left)}")
    assert found.lost() == 0
    assert found.repeated <= IN_FLIGHT
    assert {p: t for p, t in found.lab.parts("remote").items() if p in kept} == kept
    record(
        "driver killed and restarted elsewhere", f"`kill -9` of `sentinel run` after {asked} of "
        f"{found.all_items} requests; run again with other Prefect and MLflow servers over the "
        "same root", f"after {took:.0f} s nothing of the killed run worked any more, its Prefect "
        f"server included, and after a minute Ray's watchers had gone too; the {len(kept)} stored "
        "parts were kept, the rest answered", **found.counts(),
    )  # fmt: skip


def working(processes: list[psutil.Process]) -> list[str]:
    """Those that are alive, without Ray's agents, which look for their node once a minute."""
    return [n for n in names(processes) if not n.startswith(("ray::Dashboard", "ray::RuntimeEnv"))]


@pytest.mark.long
def test_fault_lost_run_ends_on_its_page(found: Trouble, servers: Servers) -> None:
    """Killed with nobody beside it to tell: its heartbeats stay out."""
    path = found.write()
    found.lab.environment = found.lab.environment | {"SENTINEL_LOST_AFTER_S": "150"}
    with worker(found.lab, servers.clients):  # Registers the automation.
        pass
    found.later_s = 30
    process = found.lab.start("run", path)
    await_true(lambda: found.asked, 200, "the first request")
    time.sleep(3)  # The first heartbeat travels.
    process.kill()
    process.wait()
    start = time.monotonic()
    found.later_s = 0
    found.lab.run("run", path)
    ended = time.monotonic()
    assert servers.states(found.name) == ["Running", "Completed"]
    await_true(lambda: servers.states(found.name)[0] == "Crashed", 240, "the run's end")
    silent = time.monotonic() - start
    assert "No sign of life" in servers.runs(found.name)[0]["state"]["message"]
    assert found.lost() == 0
    assert found.repeated <= IN_FLIGHT
    # A run that came to its own end gives no sign of life either, and must keep its state.
    time.sleep(max(0, ended + silent + 15 - time.monotonic()))
    assert servers.states(found.name) == ["Crashed", "Completed"]
    record(
        "driver killed: its page in Prefect", "`kill -9` of a run that no worker watches, with "
        "`SENTINEL_LOST_AFTER_S=150` (by default 900)",
        f"`Running` until its heartbeats had been out for {silent:.0f} s, then `Crashed`, by the "
        "automation that `sentinel deploy` registers; a later run ended as `Completed` meanwhile",
        **found.counts(),
    )  # fmt: skip


@pytest.mark.long
def test_fault_clock_skew(found: Trouble, servers: Servers) -> None:
    """A driver that lives a day ahead of the servers, then one that lives a day behind them."""
    skewed = found.lab.folder / "skewed"
    skewed.mkdir()
    (skewed / "sitecustomize.py").write_text(SKEW)
    half = {"SENTINEL_SKEW_S": str(DAY_S), "PYTHONPATH": str(skewed)}
    found.lab.environment = servers.clients | half
    path = found.write(limit=found.items // 2)
    found.lab.run("run", path)
    assert found.asked == found.all_items // 2
    ahead = found.lab.parts("remote")
    for number, part in enumerate(sorted(ahead)):  # As if other machines had written them.
        at = time.time() + DAY_S * (1 if number % 2 else -1000)
        os.utime(found.lab.folder / part, (at, at))
    found.lab.environment["SENTINEL_SKEW_S"] = str(-DAY_S)
    found.lab.run("run", found.write())
    assert found.lost() == found.repeated == 0
    first, second = (servers.lines(run) for run in servers.runs(found.name))
    assert min(first) - max(second) > DAY_S  # They did live on different days.
    assert servers.states(found.name) == ["Completed", "Completed"]
    record(
        "clock skew", "half of the items answered by a run whose clock was a day ahead of all "
        "servers; its parts dated to days and years away; then a run a day behind them",
        "the second run took what the first had stored and answered the rest: no decision "
        "compares clocks", **found.counts(),
    )  # fmt: skip


# Only the driver's clock: Ray's workers and the servers keep the right time, as other machines do.
SKEW = """
import os, sys
if any(word.endswith("sentinel") for word in sys.orig_argv[:2]):
    import datetime, time_machine
    skew = datetime.timedelta(seconds=float(os.environ["SENTINEL_SKEW_S"]))
    time_machine.travel(datetime.datetime.now(datetime.UTC) + skew, tick=True).start()
"""


def test_fault_two_identical_runs_share_the_work(
    found: Trouble, servers: Servers, tmp_path: Path
) -> None:
    path = found.write()
    second = Lab(found.lab.folder, environment=servers.clients | {"SENTINEL_STATE": f"{tmp_path}2"})
    processes = [found.lab.start("run", path)]
    (found.lab.folder / "output.txt").rename(tmp_path / "first.txt")
    processes.append(second.start("run", path))
    assert [p.wait(timeout=400) for p in processes] == [0, 0], second.output[-3000:]
    assert found.lost() == 0
    assert found.repeated <= IN_FLIGHT
    assert servers.states(found.name) == ["Completed", "Completed"]
    assert servers.tracked(found.name) > SWEEP
    record(
        "two identical runs at once", "`sentinel run` started twice at the same moment over one "
        "root", "both ended well; each took what the other had not stored nor in hand; every row "
        "and every MLflow run stands once", **found.counts(),
    )  # fmt: skip


@pytest.mark.long
def test_fault_full_disk_keeps_what_was_written(found: Trouble, servers: Servers) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sentinel-full-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root and CAP_SYS_ADMIN")
    try:
        filler = folder / "filler"
        filler.write_bytes(bytes(2**20 - 12 * 4096))
        found.lab.environment |= {
            "SENTINEL_ROOT": str(folder), "SENTINEL_STATE": str(found.lab.folder / "state"),
        }  # fmt: skip
        path = found.write()
        assert found.lab.start("run", path).wait(timeout=300) == 2
        assert "No space left on device" in found.lab.output
        assert servers.states(found.name) == ["Failed"]
        kept = found.stored(str(folder))
        filler.unlink()
        found.lab.run("generate", path, "--out", str(found.lab.folder / "all.parquet"))
        assert set(kept) <= set(found.stored(str(folder)))
        assert 0 < len(kept) < found.all_items
        assert found.lost(str(folder)) == 0
        assert found.repeated <= IN_FLIGHT
        record(
            "disk full", "a root of 1 MiB with room for a few parts", "ended as `Failed` with "
            "status 2 and 'No space left on device'; after room was made a run kept the "
            f"{len(kept)} stored items and answered the rest", **found.counts(str(folder)),
        )  # fmt: skip
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_fault_cancel_ends_the_work_and_its_processes(found: Trouble, servers: Servers) -> None:
    found.hold(after=PART)
    path = found.write()
    with worker(found.lab, servers.clients) as watching:
        deployment = servers.api("/deployments/name/experiment/experiment")
        started = servers.api(
            f"/deployments/{deployment['id']}/create_flow_run",
            {"parameters": {"path": str(Path(path).relative_to(found.lab.folder))}},
        )
        await_true(lambda: found.asked, 200, "the first request")
        left = [p for prefect_worker in watching.children() for p in prefect_worker.children(True)]
        assert left
        servers.api(f"/flow_runs/{started['id']}/set_state", {"state": {"type": "CANCELLING"}})
        start = time.monotonic()

        def state() -> str:
            return servers.api(f"/flow_runs/{started['id']}")["state_name"]

        await_true(lambda: not any(map(alive, left)), 200, f"the end of all of {names(left)}")
        took = time.monotonic() - start
        await_true(lambda: state() not in ("Running", "Cancelling"), 200, "the end on its page")
        assert state() == "Cancelled"
    assert found.asked < found.all_items
    found.let_go()
    found.lab.run("generate", path, "--out", str(found.lab.folder / "all.parquet"))
    assert found.lost() == 0
    assert found.repeated <= IN_FLIGHT
    record(
        "cancel from the UI", "the state of a deployment's run set to Cancelling by the API, as "
        "the page's button does", f"after {took:.0f} s no process of the run was left, and the "
        "page said `Cancelled`; a later run answered what was missing", **found.counts(),
    )  # fmt: skip
