"""A part that fails leaves the others alone: these are stored, and the failure is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.live import sums
from tests.live.site import BENCHMARKS, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    server = sums.adding()
    yield Site(tmp_path, server.url)
    server.close()


def stored(site: Site) -> set[str]:
    """Jobs with stored responses."""
    return {" / ".join(path.split("/")[1:3]) for path in site.parts()}


def test_a_benchmark_that_cannot_be_read(site: Site) -> None:
    path = site.experiment(20, models=["small"], benchmarks=[*BENCHMARKS, "absent"])
    absent = {"name": "absent", "version": 1, "source": {"path": "nowhere.jsonl"}}
    site.write("conf/benchmarks/absent.yaml", absent)
    assert "not possible: absent: " in site.sentinel("plan", path)
    told = site.sentinel("run", path, status=2)
    assert "error: absent: nowhere.jsonl does not exist" in told
    assert "Traceback" not in told.split("error: absent")[1]
    assert stored(site) == {f"small / {b}" for b in BENCHMARKS}
    for kind in ("verdicts", "profiles"):
        folders = (site.folder / "data" / kind / "small").iterdir()
        assert {folder.name for folder in folders} == set(BENCHMARKS)
    # The others are compared, and the gap is told wherever the comparison is read.
    assert "missing: absent (its items cannot be read)" in told
    estimates = pd.read_csv(site.folder / "data" / "results" / "sums" / "estimates.csv")
    assert set(estimates["benchmark"]) == set(BENCHMARKS)
    page = (site.folder / "data" / "results" / "sums" / "report.html").read_text()
    assert "small: compared over 3 benchmarks only; missing: absent" in page


def test_a_model_that_cannot_be_reached(site: Site) -> None:
    path = site.experiment(20, models=["dead", "small"])
    dead = sums.model("dead", "http://127.0.0.1:9/v1")
    dead["endpoint"]["max_retries"] = 0
    site.write("conf/models/dead.yaml", dead)
    told = site.sentinel("run", path, status=3)
    assert "http://127.0.0.1:9/v1 cannot be reached" in told
    assert "2 more: dead / " in told
    assert stored(site) == {f"small / {b}" for b in BENCHMARKS}
    # The model that is complete is compared and published.
    estimates = pd.read_csv(site.folder / "data" / "results" / "sums" / "estimates.csv")
    assert set(estimates["model"]) == {"small"}
