"""Groups of MLflow runs made to be what they should be, whoever else is writing them.

A group is a parent run and its children. MLflow appends: a metric that is logged again at the same
step leaves two points in its chart, and two processes that look for a run and then create it make
two. So a run is never rewritten. One whose content changed is replaced by a new one, and the old
one goes to MLflow's trash; and after writing, a process looks again and clears up, until it finds
the group as it should be:

- what a run says is in a tag from its first moment, so an interrupted run is completed by the next
  process that wants the same, and writing it twice writes the same rows (the time of a point is the
  start of its run);
- of two runs with one content the older stays, so all processes keep the same one;
- of two parents with different content the later one stands, with its children. A parent starts
  after every parent that its process saw, so a clock that is behind cannot lose the later results.

No lock is held over any of this, and a killed process leaves nothing that the next one does not
mend.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from tasks.errors import SentinelError
from tasks.storage.keys import digest

#: Tags of ours that are not for people begin with this.
PREFIX = "sentinel."
_CONTENT = PREFIX + "content"
_OWN = PREFIX + "own"
_PARENT, _NOTE = "mlflow.parentRunId", "mlflow.note.content"

# MLflow's servers refuse more.
_LONGEST_TAG = 5000
_PAGE = 1000

# Looking again and clearing up; each process that writes the same group may cost another one.
_ROUNDS = 20

#: Name, value and step of a point.
Point = tuple[str, float, int]


@dataclass(frozen=True)
class Wanted:
    """A run as it should be.

    Parameters
    ----------
    identity : mapping
        Tags that tell it from the other runs of its group, without their prefix. ``kind`` is one of
        ``sweep``, ``estimator``, ``training``, ``sensitivity``, ``variant``, ``report``.
    name : str
        Shown in lists.
    tags, params : mappings
        Searched and compared by people.
    metrics : sequence of (name, value, step)
        One value a name and step.
    note : str
        Markdown shown on the run's page.
    files : callable, optional
        Writes the artifacts into a folder.
    seen : str
        Digest of the artifacts, and of whatever else a change of which makes a new run.
    """

    identity: Mapping[str, str]
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Point] = ()
    note: str = ""
    files: Callable[[Path], None] | None = None
    seen: str = ""

    @cached_property
    def content(self) -> str:
        """Digest of all that is shown."""
        tags, params = dict(self.tags), dict(self.params)
        return digest([self.name, tags, params, list(self.metrics), self.note, self.seen])

    def describes(self, run: Run) -> bool:
        """Whether a run has this identity."""
        return all(run.data.tags.get(PREFIX + k) == v for k, v in self.identity.items())

    def all_tags(self) -> dict[str, str]:
        """Every tag of a new run."""
        shown = {k: v[:_LONGEST_TAG] for k, v in self.tags.items()}
        hidden = {PREFIX + k: v for k, v in self.identity.items()} | {_CONTENT: self.content}
        note = {_NOTE: self.note} if self.note else {}
        return shown | hidden | note | {_OWN: ",".join(shown)[:_LONGEST_TAG]}


@dataclass(frozen=True)
class Runs:
    """The runs of one experiment."""

    client: MlflowClient
    experiment_id: str

    def settle(self, group: Mapping[str, str], parent: Wanted, children: Sequence[Wanted]) -> Run:
        """Make the runs that share the tags ``group`` this parent and these children, no others.

        Returns
        -------
        Run
            The parent; another process's where that one logged other results later.

        Raises
        ------
        SentinelError
            If other processes keep changing the group.
        MlflowException
            As MLflow gives it, where the server or database fails.
        """
        made: set[str] = set()
        claimed = False
        for _ in range(_ROUNDS):
            there = self.find(group)
            parents = [run for run in there if parent.describes(run)]
            latest = max(parents, key=_age, default=None)
            if latest is None or _content(latest) != parent.content:
                if claimed and latest is not None:
                    self._withdraw(there, made, latest)
                    return latest
                since = 0 if latest is None else int(latest.info.start_time) + 1
                latest = self._create(parent, group, latest, since)
                made.add(latest.info.run_id)
                claimed = True
            try:
                if self._write(group, there, latest, parent, children, made):
                    return latest
            except MlflowException as error:
                # Others may be clearing up what this process is writing: look again.
                if not was_faster(error):
                    raise
        raise SentinelError(
            f"MLflow: the runs of {parent.name!r} were changed by others again and again",
            "run it again when no other run of this experiment is ending",
        )

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        """All runs with these tags (without prefix) that are not in the trash."""
        query = " and ".join(f"tags.`{PREFIX}{k}` = '{v}'" for k, v in tags.items())
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], query, ViewType.ACTIVE_ONLY, _PAGE, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def single(self, wanted: Wanted) -> Run:
        """The one run with this identity and content, completed if need be."""
        tags = dict(wanted.identity) | {"content": wanted.content}
        same = self.find(tags)
        run = min(same, key=_age) if same else self._create(wanted, {}, None, 0)
        if run.info.status != "FINISHED":
            self._complete(run, wanted)
        return run

    def nest(self, tags: Mapping[str, str], parent: str) -> None:
        """Show the runs with these tags below a parent."""
        for run in self.find(tags):
            if run.data.tags.get(_PARENT) == parent:
                continue
            try:
                self.client.set_tag(run.info.run_id, _PARENT, parent)
            except MlflowException as error:
                if not was_faster(error):
                    raise

    def discard(self, run_id: str) -> None:
        """Move a run to the trash; one that is there or gone is left."""
        try:
            self.client.delete_run(run_id)
        except MlflowException as error:
            if not was_faster(error):
                raise

    def _write(
        self,
        group: Mapping[str, str],
        there: Sequence[Run],
        latest: Run,
        parent: Wanted,
        children: Sequence[Wanted],
        made: set[str],
    ) -> bool:
        """Write what is missing and discard what is too much; whether there was nothing to do."""
        kept, todo = {latest.info.run_id}, 0
        for child in children:
            of_child = [run for run in there if child.describes(run)]
            same = [run for run in of_child if _content(run) == child.content]
            if same:
                run = min(same, key=_age)
            else:
                before = max(of_child, key=_age, default=None)
                run = self._create(child, group, before, 0, latest.info.run_id)
                made.add(run.info.run_id)
            kept.add(run.info.run_id)
            if run.data.tags.get(_PARENT) != latest.info.run_id:
                self.client.set_tag(run.info.run_id, _PARENT, latest.info.run_id)
                todo += 1
            if run.info.status != "FINISHED":
                self._complete(run, child)
                todo += 1
        if latest.info.status != "FINISHED":
            self._complete(latest, parent)
            todo += 1
        for run in there:
            if run.info.run_id not in kept:
                self.discard(run.info.run_id)
                todo += 1
        return not todo

    def _withdraw(self, there: Sequence[Run], made: set[str], latest: Run) -> None:
        """Discard what this process made, except what the later parent has taken over."""
        for run in there:
            if run.info.run_id in made and run.data.tags.get(_PARENT) != latest.info.run_id:
                self.discard(run.info.run_id)

    def _create(
        self,
        wanted: Wanted,
        group: Mapping[str, str],
        before: Run | None,
        since: int,
        parent: str | None = None,
    ) -> Run:
        """Create a run, with the tags that people gave to the one it replaces."""
        tags = {PREFIX + k: v for k, v in group.items()} | wanted.all_tags()
        if before is not None:
            tags = _of_people(before) | tags
        if parent is not None:
            tags[_PARENT] = parent
        start = max(int(time.time() * 1000), since)
        return self.client.create_run(self.experiment_id, start, tags, wanted.name)

    def _complete(self, run: Run, wanted: Wanted) -> None:
        """Write a run's points, parameters and artifacts, and mark it finished."""
        run_id, when = run.info.run_id, int(run.info.start_time)
        points = [Metric(name, value, when, step) for name, value, step in wanted.metrics]
        params = [Param(k, v[:_LONGEST_TAG]) for k, v in wanted.params.items()]
        self.client.log_batch(run_id, points, params)
        if wanted.files is not None:
            with tempfile.TemporaryDirectory() as scratch:
                wanted.files(Path(scratch))
                self.client.log_artifacts(run_id, scratch)
        self.client.set_terminated(run_id)


def experiment_id(client: MlflowClient, name: str, location: str | None) -> str:
    """Id of the experiment with this name, created if there is none.

    Raises
    ------
    SentinelError
        If it is in MLflow's trash.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, location, tags=_PAGES))
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        number = "" if found is None else found.experiment_id
        raise SentinelError(
            f"the MLflow experiment {name!r} was deleted and is in its trash",
            f"restore it with `mlflow experiments restore --experiment-id {number}`, or empty the "
            "trash with `mlflow gc`",
        )
    return str(found.experiment_id)


# What the experiment is about. The pages of MLflow 3.17 open it on chat traces nevertheless, where
# the address does not ask for its runs.
_PAGES = {"mlflow.experimentKind": "custom_model_development"}


def connect(uri: str) -> MlflowClient:
    """A client that waits two minutes in all for a server that is restarted.

    One that is away for good is told sooner than MLflow would by itself. MLflow would also print a
    line a run, asking the server for it, and draw bars over the user's own.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with _alone(uri):
        return MlflowClient(uri)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time where the database is a file.

    MLflow makes its tables at the first use, step by step; two processes that did so at the same
    moment would leave tables that no later one can complete.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.parent.is_dir():
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def was_faster(error: MlflowException) -> bool:
    """Whether MLflow refused because another process has just done it, or undone what it is about.

    Gone or in the trash; or written at the same moment, which MLflow lets its database refuse.
    """
    gone = error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
    said = ("must be in the 'active' state", "IntegrityError", "unique constraint")
    return gone or any(words in str(error) for words in said)


def _age(run: Run) -> tuple[int, str]:
    """What runs are ordered by, oldest first; the same in every process."""
    return int(run.info.start_time), str(run.info.run_id)


def _content(run: Run) -> str | None:
    return run.data.tags.get(_CONTENT)


def _of_people(run: Run) -> dict[str, str]:
    """Tags of a run that were added by hand."""
    own = set(run.data.tags.get(_OWN, "").split(","))
    return {
        name: value
        for name, value in run.data.tags.items()
        if name not in own and not name.startswith((PREFIX, "mlflow."))
    }
