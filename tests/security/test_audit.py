"""The audit of the locks: what fails, what does not, and that silence is never taken for health."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "infra" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WELL = {"name": "a", "version": "1", "vulns": []}
ILL = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_a_known_vulnerability_fails_and_is_named(audit) -> None:
    status, lines = audit.verdict({"dependencies": [WELL, ILL, UNKNOWN]})
    assert status == 1
    assert lines == [
        "b 2: CVE-1, mended in 2.1",
        "1 known vulnerabilities in 2 packages; 1 unknown to the service",
    ]


def test_healthy_packages_pass(audit) -> None:
    status, lines = audit.verdict({"dependencies": [WELL]})
    assert (status, lines) == (
        0,
        ["0 known vulnerabilities in 1 packages; 0 unknown to the service"],
    )


@pytest.mark.parametrize("report", [None, {"dependencies": [UNKNOWN]}, {"dependencies": []}])
def test_what_was_not_checked_says_so(audit, report) -> None:
    status, lines = audit.verdict(report)
    assert status == audit.NOT_CHECKED
    assert lines[0].startswith("NOT CHECKED")


def test_the_lock_pins_every_package(audit) -> None:
    """An unpinned line would be audited at another version than the one installed."""
    for lock in ("cpu", "cuda"):
        lines = (ROOT / "infra" / "locks" / f"{lock}.txt").read_text().splitlines()
        assert lines
        assert [line for line in lines if "==" not in line] == []


class Advisories:
    """An advisory service on loopback that speaks OSV's protocol, as far as pip-audit asks it."""

    def __init__(self) -> None:
        self.known: dict[str, dict] = {}
        self.asked: list[str] = []
        self.status = 200
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name, version = query["package"]["name"], query["version"]
                service.asked.append(f"{name}=={version}")
                advisory = service.known.get(f"{name}=={version}")
                body = json.dumps({"vulns": [advisory]} if advisory else {}).encode()
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1/query"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    service = Advisories()
    yield service
    service.close()


@pytest.fixture
def lock(tmp_path: Path) -> str:
    path = tmp_path / "lock.txt"
    path.write_text("jinja2==2.11.2\nidna==3.10\ntorch==2.13.0+cpu\n")
    return str(path)


def test_a_service_that_knows_of_one_fails_the_audit(audit, advisories, lock, capsys) -> None:
    """By pip-audit itself, over the protocol of the real service."""
    events = [{"introduced": "0"}, {"fixed": "2.11.3"}]
    package = {"name": "jinja2", "ecosystem": "PyPI"}
    advisories.known["jinja2==2.11.2"] = {
        "id": "PYSEC-2021-66",
        "aliases": ["CVE-2020-28493"],
        "summary": "A regular expression that takes very long.",
        "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
    }
    assert audit.main([lock, "--osv-url", advisories.url]) == 1
    told = capsys.readouterr().out
    assert "jinja2 2.11.2: PYSEC-2021-66, mended in 2.11.3" in told
    assert "1 known vulnerabilities in 3 packages" in told
    assert sorted(advisories.asked) == ["idna==3.10", "jinja2==2.11.2", "torch==2.13.0"]


def test_a_service_that_knows_of_none_passes(audit, advisories, lock, capsys) -> None:
    assert audit.main([lock, "--osv-url", advisories.url, "--require"]) == 0
    assert "0 known vulnerabilities in 3 packages" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--require"], 3)])
def test_a_service_that_fails_is_told_and_fails_where_it_is_required(
    audit, advisories, lock, capsys, options, status
) -> None:
    advisories.status = 503
    assert audit.main([lock, "--osv-url", advisories.url, *options]) == status
    assert "NOT CHECKED" in capsys.readouterr().out


def test_a_service_that_is_away_is_told(audit, advisories, lock, capsys) -> None:
    advisories.close()
    assert audit.main([lock, "--osv-url", advisories.url, "--require"]) == 3
    assert "NOT CHECKED" in capsys.readouterr().out
