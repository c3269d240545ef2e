#!/usr/bin/env bash
# Writes infra/locks/{cpu,cuda}.txt anew from the .in files. Needs uv; name further places to look
# for packages (the CPU build of torch) as uv options: infra/lock.sh --find-links FOLDER
set -euo pipefail
cd "$(dirname "$0")/locks"
# torchvision and its kin break transformers beside the CPU build of torch; vLLM runs without them.
left_out=()
for name in torchvision torchaudio torchcodec; do left_out+=(--no-emit-package "$name"); done
for target in cpu cuda; do
  uv pip compile "$target.in" -o "$target.txt" --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "${left_out[@]}" "$@"
done
