"""The engines of one model: started at the first prompt, shared by jobs, replaced when they die.

A model whose responses are all stored never loads its weights. vLLM engines are Ray actors that
hold the GPUs their conf asks for, all on one node, so that tensor parallelism stays inside it; an
endpoint needs no actor and answers from this process, where its key stays.

Replicas are not reserved together: a model goes on with the engines it has, and one for which the
cluster has no room yet joins when there is. So models that run side by side cannot block each
other by holding one half each of what both need.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import ray
import ray.exceptions

from tasks.cluster.joining import problem_of, signals_as_raised
from tasks.cluster.room import Needs, Waiting
from tasks.conf import Experiment, Model
from tasks.engines.contract import Batch, Prompt
from tasks.engines.openai import OpenAIEngine
from tasks.engines.processes import Processes
from tasks.engines.vllm import VllmEngine
from tasks.errors import EngineDied, SentinelError
from tasks.storage.versions import code_version

_log = logging.getLogger(__name__)

# A batch whose engine dies is tried on a fresh engine; one that kills two engines is at fault.
_MAX_DEATHS = 2

# An actor answers this many batches at once; vLLM's scheduler does the real queueing.
_CALLS_AT_ONCE = 64

# A batch waits in steps of this many seconds and looks after each whether another engine is ready.
_STEP_S = 2.0


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
            _from_anywhere(model),
            experiment.decoding,
            experiment.keep_top_logprobs,
        )
        self._lock = threading.Lock()
        self._engines: list[_Slot] = []
        self._closed = False

    @property
    def width(self) -> int:
        """How many batches a job should keep in flight to use every engine."""
        return self.model.resources.replicas if self.model.engine == "vllm" else 1

    @property
    def started(self) -> bool:
        """Whether any engine was needed so far."""
        return bool(self._engines)

    @property
    def seated(self) -> bool:
        """Whether an engine has the room it needs, so that batches do not wait for other runs."""
        with self._lock:
            return any(slot.engine.seated for slot in self._engines)

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer a batch on the least busy engine, on a fresh one if that engine dies.

        Raises
        ------
        SentinelError
            If the model cannot be loaded, or no node has room for it in a long time; also if the
            pool was closed meanwhile, as the run was stopped.
        EngineDied
            If the batch brings down its engine repeatedly.
        """
        deaths = 0
        while True:
            with self._best() as slot:
                try:
                    while not slot.engine.ready(_STEP_S):
                        if self._another_is_ready(slot):
                            break
                    else:
                        return slot.engine.generate(prompts)
                except concurrent.futures.CancelledError:  # Of an endpoint that was closed.
                    raise self._stopped() from None
                except EngineDied:
                    self._discard(slot)
                    deaths += 1
                    if deaths > _MAX_DEATHS:
                        raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closed = True
            # All of them, whatever the closing of one raises.
            with contextlib.ExitStack() as each:
                each.callback(self._engines.clear)
                for slot in self._engines:
                    each.callback(slot.close)

    @contextlib.contextmanager
    def _best(self) -> Iterator[_Slot]:
        """The least busy of the engines that are ready, else of those that are not."""
        with self._lock:
            if self._closed:
                raise self._stopped()
            while len(self._engines) < self.width:
                self._engines.append(_Slot(self._start()))
            slot = min(self._engines, key=lambda s: (not s.engine.ready(0), s.busy))
            slot.busy += 1
        try:
            yield slot
        finally:
            with self._lock:
                slot.busy -= 1

    def _another_is_ready(self, waiting: _Slot) -> bool:
        with self._lock:
            return any(s.engine.ready(0) for s in self._engines if s is not waiting)

    def _stopped(self) -> SentinelError:
        return SentinelError(
            f"model {self.model.name!r}: the run was stopped",
            "run it again: what is stored is kept",
        )

    def _start(self) -> _Endpoint | _RayEngine:
        if self.model.engine == "openai":
            return _Endpoint(*self._arguments)
        return _RayEngine(self.model, self._arguments)

    def _discard(self, slot: _Slot) -> None:
        with self._lock:
            if slot in self._engines:
                self._engines.remove(slot)
                slot.close()


class _Slot:
    """An engine and how many batches it is working on."""

    def __init__(self, engine: _Endpoint | _RayEngine) -> None:
        self.engine, self.busy = engine, 0

    def close(self) -> None:
        self.engine.close()


class _Endpoint(OpenAIEngine):
    """A remote model, which is always ready: the first request tells what is wrong with it."""

    seated = True

    def ready(self, within: float) -> bool:
        """Whether prompts can be answered."""
        return True


class _RayEngine:
    """A vLLM engine in an actor of its own, with the failures of actors told in our words."""

    def __init__(self, model: Model, arguments: tuple[Any, ...]) -> None:
        resources = model.resources
        self._name = model.name
        needs = Needs(resources.cpus, resources.gpus, resources.labels)
        # Ray adds `.remote` to the methods of a class at run time; no type checker sees it.
        engine: Any = VllmEngine
        self._actor = (
            ray.remote(engine)
            .options(
                **needs.options,
                max_concurrency=_CALLS_AT_ONCE,
                # The pool replaces a dead engine itself and knows which batch was lost.
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(*arguments, code_version())
        )
        self._placed = self._actor.notice.remote()
        self._loaded = self._actor.load.remote()
        self._waiting = Waiting(
            f"model {model.name!r}",
            "an engine",
            needs,
            "lower `resources` in the model's YAML, or add a node that has them all",
        )
        self._processes: Processes | None = None

    @property
    def seated(self) -> bool:
        """Whether a node has taken the engine in; it may still be loading."""
        try:
            return bool(ray.wait([self._placed], timeout=0)[0])
        except ray.exceptions.RayError:
            return False

    def ready(self, within: float) -> bool:
        """Whether the weights are loaded, after waiting for that at most ``within`` seconds.

        Raises
        ------
        SentinelError
            If no node has room for the engine, as :class:`tasks.cluster.room.Waiting` decides.
        """
        with signals_as_raised():
            done, _ = ray.wait([self._loaded], timeout=within)
            placed, _ = ray.wait([self._placed], timeout=0)
        if not done and within and not placed:
            self._waiting.check()
        return bool(done)

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer a batch; :class:`EngineDied` if the actor or vLLM's process goes away."""
        try:
            self._await_loaded()
            batch: Batch = ray.get(self._actor.generate.remote(list(prompts)))
            return batch
        except ray.exceptions.RayError as error:
            if problem := problem_of(error, f"model {self._name!r}"):
                raise problem from None
            if isinstance(error, ray.exceptions.RayTaskError):
                raise
            # Its worker, its node, or the node's memory.
            raise EngineDied(
                f"model {self._name!r}: the engine's worker ended: {_reason(error)}",
                "rerun; if it recurs, the machine may be out of memory",
            ) from None

    def _await_loaded(self) -> None:
        processes = ray.get(self._loaded)
        if self._processes is None:
            self._processes = processes
            # What an actor logs stays on its node; what the user should know is told here.
            if notice := ray.get(self._actor.notice.remote()):
                _log.warning(notice)

    def close(self) -> None:
        """End the engine with all its processes and wait until they are gone."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.close.remote(), timeout=10)
        ray.kill(self._actor, no_restart=True)
        # Only processes of this host can be seen from here; Ray ends an actor's own elsewhere.
        if self._processes is not None:
            psutil.wait_procs(self._processes.left(), timeout=10)


def _from_anywhere(model: Model) -> Model:
    """The model with its folder, if it is one, named so that a worker of this host finds it."""
    folder = Path(model.model)
    if model.engine == "openai" or not folder.is_dir():
        return model
    return dataclasses.replace(model, model=str(folder.resolve()))


def _reason(error: ray.exceptions.RayError) -> str:
    """Ray's account of a dead actor in a line.

    Of memory that ran out the first line tells, where ten follow about who used it; of an actor's
    death the last one, which holds the exception, if one was raised.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    out_of_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
    return lines[0 if out_of_memory else -1].strip()
