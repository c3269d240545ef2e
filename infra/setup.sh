#!/usr/bin/env bash
# Makes the virtual environment from a lock. usage: infra/setup.sh VENV LOCK
# Needs Python 3.11 or newer on Linux x86-64, and a package index; PYTHON chooses the interpreter.
set -euo pipefail
venv=$1 lock=$2
# Where the CPU build of torch is found if the configured indexes do not have it.
torch_cpu_index=https://download.pytorch.org/whl/cpu

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }
for python in ${PYTHON:-} python3 python3.12 python3.11; do suits "$python" && break; python=; done
[ -n "$python" ] || { echo "no Python 3.11 or 3.12 was found: install one, or set PYTHON" >&2; exit 2; }

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# --no-deps: the lock is complete, and leaves out torchvision on purpose (it breaks transformers
# beside the CPU build of torch).
install() { "$venv/bin/python" -m pip install --quiet --no-deps --disable-pip-version-check "$@"; }
log=$(mktemp); trap 'rm -f "$log"' EXIT
echo "installing $(grep -c == "$lock") packages into $venv, this takes a few minutes ..." >&2
if ! install -r "$lock" 2>"$log"; then
  grep -q 'torch==.*+cpu' "$lock" && grep -q 'torch==' "$log" || { cat "$log" >&2; exit 1; }
  install --extra-index-url "$torch_cpu_index" -r "$lock"
fi
install --no-build-isolation --editable .
touch "$venv/.complete"
