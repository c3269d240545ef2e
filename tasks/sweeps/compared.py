"""What of a model can be compared: the benchmarks that it has whole.

A benchmark may be missing for a model: its items cannot be had, a job failed or is still to come.
The model is then swept over the others, and the notes say which are missing. A benchmark that is
answered in part counts as missing, as the items that are left need not be like those answered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tasks.benchmarks.questions import Questions
from tasks.conf import Experiment, Model, Sweep
from tasks.jobs import Job, jobs_of
from tasks.signals.features import Joined, join_jobs
from tasks.storage.store import Store
from tasks.sweeps.sweep import fitting

_FEWEST = 2


@dataclasses.dataclass(frozen=True)
class Whole:
    """The jobs of one model that are whole, and why the others are not.

    Parameters
    ----------
    jobs : sequence of Job
        All their responses are stored, judged and profiled.
    gaps : mapping of benchmark to reason
    """

    jobs: Sequence[Job]
    gaps: Mapping[str, str]

    @property
    def left_out(self) -> str:
        """Why the model cannot be compared; empty if it can."""
        if not self.gaps or len(self.jobs) >= _FEWEST:
            return ""
        return f"{_count(len(self.jobs))} whole, two are needed; missing: {_listed(self.gaps)}"

    def join(self, items: Mapping[str, pa.Table], store: Store) -> Joined:
        """Feature table over the whole jobs, with a note on the others.

        Raises
        ------
        SentinelError
            As :func:`tasks.signals.features.join`.
        """
        joined = join_jobs(self.jobs, items, store)
        if not self.gaps:
            return joined
        note = f"compared over {_count(len(self.jobs))} only; missing: {_listed(self.gaps)}"
        return dataclasses.replace(joined, notes=(note, *joined.notes))

    def sweep(self, settings: Sweep) -> Sweep:
        """The sweep with the sizes that this many benchmarks allow, if some are missing.

        Where none is, a size that is too large is a mistake in conf and told as one.
        """
        return fitting(settings, len(self.jobs)) if self.gaps else settings


def whole(experiment: Experiment, model: Model, questions: Questions, store: Store) -> Whole:
    """Which jobs of a model are whole."""
    jobs, gaps = [], {}
    for job in jobs_of(experiment, model):
        name = job.benchmark.name
        items = questions.items.get(name)
        if items is None:
            gaps[name] = "its items cannot be read"
            continue
        wanted = set(items["item_id"].to_pylist())
        steps = {
            "answered": job.responses(store),
            "judged": job.verdicts(store),
            "profiled": job.profiles(store),
        }
        missing = {done: len(wanted - artefact.done()) for done, artefact in steps.items()}
        found = next((done for done, count in missing.items() if count), None)
        if found is None:
            jobs.append(job)
        else:
            gaps[name] = f"{missing[found]} of {len(wanted)} items not {found}"
    return Whole(tuple(jobs), gaps)


def _count(benchmarks: int) -> str:
    return f"{benchmarks} benchmark{'' if benchmarks == 1 else 's'}"


def _listed(gaps: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in gaps.items())
