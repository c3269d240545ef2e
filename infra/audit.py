"""Known vulnerabilities of a lock's packages: ``python infra/audit.py LOCK...``.

pip-audit asks the advisory service of the package index about each pinned version, or with
``--osv-url URL`` a service that speaks OSV's protocol, such as a mirror inside a closed network.
Exit status 1 where it knows of a vulnerability. Where the service cannot be reached, or knows none
of the packages (a mirror without advisories), nothing was checked: that is said in so many words
and does not fail, because a build without a network cannot mend it. With ``--require`` it fails,
with status 3: for a CI that has a network, where silence would be taken for health.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NOT_CHECKED = 3


def main(arguments: list[str]) -> int:
    """Audit each lock; returns the exit status, of several that of what is known to be ill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("locks", nargs="+", metavar="LOCK")
    parser.add_argument("--osv-url", help="query address of a service with OSV's protocol")
    parser.add_argument("--require", action="store_true", help="fail where nothing was checked")
    options = parser.parse_args(arguments)
    found = set()
    for lock in options.locks:
        code, lines = verdict(audit(lock, options.osv_url))
        sys.stdout.write("".join(f"{lock}: {line}\n" for line in lines))
        found.add(code)
    unchecked = NOT_CHECKED if options.require and NOT_CHECKED in found else 0
    return 1 if 1 in found else unchecked


def audit(lock: str, osv_url: str | None = None) -> dict[str, Any] | None:
    """The report of pip-audit on a lock, or ``None`` where the service could not be asked."""
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        # A local version, as that of torch's CPU build, is not a version of the index.
        text = Path(lock).read_text(encoding="utf-8")
        pins.write_text("\n".join(line.split("+")[0] for line in text.splitlines()) + "\n")
        command = ["pip_audit", "-r", str(pins), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--output", str(report), "--progress-spinner", "off"]
        if osv_url:
            # Answers of another service must not be taken for this one's, nor kept for it.
            command += ["--vulnerability-service", "osv", "--osv-url", osv_url]
            command += ["--cache-dir", folder]
        subprocess.run([sys.executable, "-m", *command], check=False, capture_output=True)
        if not report.exists() or not report.stat().st_size:
            return None
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found


def verdict(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Status (0 well, 1 ill, 3 not checked) and lines for people."""
    packages = report["dependencies"] if report else []
    checked = [p for p in packages if "skip_reason" not in p]
    if not checked:
        return NOT_CHECKED, [
            "NOT CHECKED: the advisory service cannot be reached or knows no package of it"
        ]
    lines = [
        f"{p['name']} {p['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'none'}"
        for p in checked
        for v in p["vulns"]
    ]
    skipped = len(packages) - len(checked)
    known = f"{len(lines)} known vulnerabilities in {len(checked)} packages"
    return int(bool(lines)), [*lines, f"{known}; {skipped} unknown to the service"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
