"""The engines of one model: started at the first prompt, shared by jobs, replaced when they die.

A model whose responses are all stored never loads its weights. vLLM engines are Ray actors that
hold the GPUs their conf asks for; an endpoint needs no actor and answers from this process, where
its key stays.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import psutil
import ray
import ray.exceptions

from tasks.conf import Experiment, Model
from tasks.engines.contract import Batch, Prompt
from tasks.engines.openai import OpenAIEngine
from tasks.engines.vllm import VllmEngine
from tasks.errors import EngineDied, SentinelError

_log = logging.getLogger(__name__)

# A batch whose engine dies is tried on a fresh engine; one that kills two engines is at fault.
_MAX_DEATHS = 2

# An actor answers this many batches at once; vLLM's scheduler does the real queueing.
_CALLS_AT_ONCE = 64


class EnginePool:
    """All engines of ``model``; use as a context manager. Thread-safe.

    Parameters
    ----------
    model : Model
        ``resources.replicas`` is the number of engines.
    experiment : Experiment
        Decoding and what to keep of each response.
    """

    def __init__(self, model: Model, experiment: Experiment) -> None:
        self.model = model
        self._arguments = (
            model,
            experiment.decoding,
            experiment.keep_top_logprobs,
        )
        self._lock = threading.Lock()
        self._engines: list[_Slot] = []

    @property
    def width(self) -> int:
        """How many batches a job should keep in flight to use every engine."""
        return self.model.resources.replicas if self.model.engine == "vllm" else 1

    @property
    def started(self) -> bool:
        """Whether any engine was needed so far."""
        return bool(self._engines)

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer a batch on the least busy engine, on a fresh one if that engine dies.

        Raises
        ------
        SentinelError
            If the model cannot be loaded.
        EngineDied
            If the batch brings down its engine repeatedly.
        """
        for death in range(_MAX_DEATHS + 1):
            with self._least_busy() as slot:
                try:
                    return slot.engine.generate(prompts)
                except EngineDied:
                    self._discard(slot)
                    if death == _MAX_DEATHS:
                        raise
        raise AssertionError("unreachable: the last death raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            for slot in self._engines:
                slot.close()
            self._engines.clear()

    @contextlib.contextmanager
    def _least_busy(self) -> Iterator[_Slot]:
        with self._lock:
            while len(self._engines) < self.width:
                self._engines.append(_Slot(self._start()))
            slot = min(self._engines, key=lambda s: s.busy)
            slot.busy += 1
        try:
            yield slot
        finally:
            with self._lock:
                slot.busy -= 1

    def _start(self) -> OpenAIEngine | _RayEngine:
        if self.model.engine == "openai":
            return OpenAIEngine(*self._arguments)
        return _RayEngine(self.model, self._arguments)

    def _discard(self, slot: _Slot) -> None:
        with self._lock:
            if slot in self._engines:
                self._engines.remove(slot)
                slot.close()


class _Slot:
    """An engine and how many batches it is working on."""

    def __init__(self, engine: OpenAIEngine | _RayEngine) -> None:
        self.engine, self.busy = engine, 0

    def close(self) -> None:
        self.engine.close()


class _RayEngine:
    """A vLLM engine in an actor of its own, with the failures of actors told in our words."""

    def __init__(self, model: Model, arguments: tuple[Any, ...]) -> None:
        resources = model.resources
        self._name = model.name
        # Ray adds `.remote` to the methods of a class at run time; no type checker sees it.
        engine: Any = VllmEngine
        self._actor = (
            ray.remote(engine)
            .options(
                num_cpus=resources.cpus,
                num_gpus=resources.gpus,
                max_concurrency=_CALLS_AT_ONCE,
                # The pool replaces a dead engine itself and knows which batch was lost.
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(*arguments)
        )
        self._loaded = self._actor.load.remote()
        self._pids: list[int] = []

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer a batch; :class:`EngineDied` if the actor or vLLM's process goes away."""
        try:
            self._await_loaded()
            batch: Batch = ray.get(self._actor.generate.remote(list(prompts)))
            return batch
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayActorError as error:
            raise EngineDied(
                f"model {self._name!r}: the engine's worker ended: {_reason(error)}",
                "rerun; if it recurs, the machine may be out of memory",
            ) from None

    def _await_loaded(self) -> None:
        pids = ray.get(self._loaded)
        if not self._pids:
            self._pids = pids
            # What an actor logs stays on its node; what the user should know is told here.
            if notice := ray.get(self._actor.notice.remote()):
                _log.warning(notice)

    def close(self) -> None:
        """End the engine with all its processes and wait until they are gone."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.close.remote(), timeout=10)
        ray.kill(self._actor, no_restart=True)
        # Only processes of this host can be seen from here; Ray ends an actor's own elsewhere.
        orphans = [psutil.Process(p) for p in self._pids if psutil.pid_exists(p)]
        psutil.wait_procs(orphans, timeout=10)


def _reason(error: ray.exceptions.RayActorError) -> str:
    """Ray's account of a dead actor; the last line holds the exception, if one was raised."""
    return str(error).strip().splitlines()[-1].strip()


def _cause(error: ray.exceptions.RayTaskError) -> BaseException:
    """The error raised inside the actor, which Ray wraps in one of its own."""
    return error.cause if isinstance(error.cause, SentinelError) else error
