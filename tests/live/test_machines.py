"""A cluster whose nodes and driver have addresses and folders of their own, as machines do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import BENCHMARKS, Lab
from tests.live.machines import Machine, machines
from tests.live.services import RayCluster
from tests.live.whereabouts import where

pytestmark = pytest.mark.long


class Site:
    """A head, two nodes and a driver's machine, which is no node yet."""

    def __init__(self, found: list[Machine]) -> None:
        self.head, self.first, self.second, self.driver = found
        self.cluster = RayCluster(host=self.head.address)

    def join(self, machine: Machine, cpus: int, name: str) -> None:
        self.cluster.worker(cpus, self._own(machine), "--labels", f"name={name}", on=machine.on)

    def start(self) -> None:
        self.cluster.head(on=self.head.on)
        self.join(self.first, 1, "first")
        self.join(self.second, 1, "second")

    def _own(self, machine: Machine) -> dict[str, str]:
        folder = Path(self.cluster.folder, machine.address)
        folder.mkdir()
        return {"RAY_TMPDIR": str(folder)}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with machines(4) as found:
        site = Site(found)
        try:
            site.start()
            yield site
        finally:
            site.cluster.close()


def test_a_driver_elsewhere_is_told_what_it_needs_and_then_runs(lab: Lab, site: Site) -> None:
    """A real engine on another machine, a sweep on two; only the driver reaches the root."""
    chosen = {
        n: {"source": {"generator": g, "size": 8, "seed": 7, "config": c}}
        for n, (g, c) in list(BENCHMARKS.items())[:2]
    }
    path = lab.write(benchmarks=chosen, decoding={"temperature": 0, "max_tokens": 24})
    lab.on = site.driver.on
    lab.environment = site.cluster.clients | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    assert lab.start("run", str(path)).wait(timeout=200) == 2, lab.output[-3000:]
    told = " ".join(lab.output.split())
    assert "no node of it runs on this machine" in told
    assert f"ray start --address={site.cluster.clients['RAY_ADDRESS']} --num-cpus=0" in told

    site.join(site.driver, 0, "driver")
    lab.run("run", str(path))
    assert len(lab.responses()) == 16
    nodes = {node for (node, _) in where(site.cluster, site.head.on)[-1]}
    assert nodes <= {"first", "second"}
    assert nodes
