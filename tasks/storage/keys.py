"""Addresses of artefacts: a hash of everything that determines the content, and nothing else.

Two runs that would compute the same thing agree on the address, so the second finds the first's
result; anything that changes the result changes the address, so nothing stale is read. What only
changes *how many* items are computed (``limit``) or how fast (replicas, batch sizes, concurrency)
is left out: raising a limit computes the added items alone.

Raise a step's version here when its code starts to give different numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from tasks.conf import Benchmark, Decoding, Experiment, Model
from tasks.records import SCHEMA_VERSION

GENERATE_VERSION = 1
PROFILE_VERSION = 2
SWEEP_VERSION = 4
TRANSFER_VERSION = 1


def digest(document: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def prompt_of(experiment: Experiment, benchmark: Benchmark) -> str:
    """Prompt template of a benchmark: its own, else the experiment's."""
    return benchmark.prompt or experiment.prompt


def request_digest(model: Model, decoding: Decoding, prompt: str) -> str:
    """Digest of what is asked of the model besides the question; stored with each response."""
    asked = {
        "model": model.model,
        "revision": model.revision,
        "engine": model.engine,
        "options": _numeric_options(model.options),
        "chat_template": model.chat_template,
        "endpoint": model.endpoint
        and {
            "base_url": model.endpoint.base_url,
            "extra_body": model.endpoint.extra_body,
        },
        "tensor_parallel": model.resources.tensor_parallel,
        "decoding": decoding,
        "prompt": prompt,
    }
    return digest(asked)


# Engine options that change speed or memory only. Everything else is taken to change the tokens.
_SPEED_OPTIONS = {
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "swap_space",
    "enforce_eager",
    "enable_prefix_caching",
    "disable_log_stats",
}


def _numeric_options(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in _SPEED_OPTIONS}


def responses_key(experiment: Experiment, model: Model, benchmark: Benchmark) -> str:
    """Key of the responses of one model to one benchmark."""
    return digest(
        {
            "step": ["generate", GENERATE_VERSION, SCHEMA_VERSION],
            "request": request_digest(model, experiment.decoding, prompt_of(experiment, benchmark)),
            # Which questions are asked, and as whose; the other columns matter to the judge alone.
            "benchmark": [benchmark.name, benchmark.version, benchmark.source],
            "questions": [benchmark.fields.question, benchmark.fields.item_id],
            "store_text": experiment.store_text and benchmark.show_items,
            "keep_top_logprobs": experiment.keep_top_logprobs,
        }
    )


def verdicts_key(responses: str, benchmark: Benchmark, judge: dict[str, Any]) -> str:
    """Key of the verdicts on the responses with key ``responses``, under a judge's settings."""
    return digest(
        {
            "step": ["judge", SCHEMA_VERSION],
            "responses": responses,
            "judge": judge,
            "answers": benchmark.fields,
            "answer_type": [benchmark.answer_type, benchmark.answer_types],
            "tolerance": benchmark.tolerance,
        }
    )


def judgements_key(responses: str, asked: dict[str, Any]) -> str:
    """Key of what a model judge said about responses; raising its attempts or sample keeps it."""
    return digest({"step": ["ask", SCHEMA_VERSION], "responses": responses, "asked": asked})


def profiles_key(responses: str, top_k: int) -> str:
    """Key of the profiles over ``top_k`` candidates of the responses with key ``responses``."""
    return digest(
        {
            "step": ["profile", PROFILE_VERSION, SCHEMA_VERSION],
            "responses": responses,
            "top_k": top_k,
        }
    )


def sweep_key(table: str, path: str, seed: int) -> str:
    """Key of the splits of the feature table with digest ``table``.

    Estimators and compositions are not part of it: pieces of the sweep are named by theirs, so
    adding a family or a size computes the added pieces alone.
    """
    return digest(
        {
            "step": ["sweep", SWEEP_VERSION, SCHEMA_VERSION],
            "table": table,
            "path": path,
            "seed": seed,
        }
    )


def transfer_key(source: str, target: str, estimators: list[str], path: str, seed: int) -> str:
    """Key of the transfer from the feature table with digest ``source`` to that of ``target``."""
    return digest(
        {
            "step": ["transfer", TRANSFER_VERSION, SWEEP_VERSION, SCHEMA_VERSION],
            "tables": [source, target],
            "estimators": estimators,
            "path": path,
            "seed": seed,
        }
    )
