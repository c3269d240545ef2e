#!/usr/bin/env bash
# Writes infra/locks/{cpu,driver,cuda,worker}.txt anew from the .in files. Needs uv. Its arguments are options of
# uv for the CPU lock, such as where the CPU build of torch is: infra/lock.sh --find-links FOLDER
set -euo pipefail
cd "$(dirname "$0")/locks"
# torchvision and its kin break transformers beside the CPU build of torch; vLLM runs without them.
# pip is what installs the lock, and must not replace itself half-way.
left_out=()
for name in torchvision torchaudio torchcodec pip; do left_out+=(--no-emit-package "$name"); done
lock() { # NAME [OPTION...]
  uv pip compile "$1.in" -o "$1.txt" --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "${left_out[@]}" "${@:2}"
}
lock cpu "$@"
lock driver --constraint cpu.txt "$@"
lock cuda
lock worker --constraint cuda.txt
