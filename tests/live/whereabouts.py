"""Which task ran on which node, from the Ray head's own record: it needs no dashboard."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence

from tests.live.services import BIN, QUIET, RayCluster, clean_environment

_WHERE = """
import json, os, ray
from ray._private.state import state
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
names = {n["NodeID"]: n["Labels"].get("name", "head") for n in ray.nodes()}
found = []
for event in state._get_all_task_events():
    if event.HasField("task_info") and event.state_updates.node_id:
        job = event.job_id.hex()
        found.append((job, names[event.state_updates.node_id.hex()], event.task_info.name))
print(json.dumps(found))
"""


def where(cluster: RayCluster, on: Sequence[str] = ()) -> list[Counter[tuple[str, str]]]:
    """For each driver that ran something, in their order, how often (node, task) ran.

    Nodes go by their label ``name``. ``on`` are words before a command that lead to a machine.
    """
    done = subprocess.run(
        [*on, str(BIN / "python"), "-c", _WHERE], capture_output=True, text=True, timeout=120,
        env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    drivers: dict[str, Counter[tuple[str, str]]] = {}
    for job, node, task in json.loads(done.stdout.splitlines()[-1]):
        drivers.setdefault(job, Counter())[node, task] += 1
    return [drivers[job] for job in sorted(drivers)]
