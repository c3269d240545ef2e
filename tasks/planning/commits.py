"""What became new in a conf folder since a revision of its git repository."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tasks.conf import Model, load_experiment
from tasks.conf.choices import Choices, read_each
from tasks.errors import SentinelError


def listed_since(revision: str, conf: Path) -> list[tuple[str, str]]:
    """Models that an experiment lists now and did not list so at a revision.

    Parameters
    ----------
    revision : str
        Any name git knows for a commit, such as ``HEAD~1`` or ``ORIG_HEAD``.
    conf : Path
        The conf folder, as it is now; commits and changes that are not committed count alike.

    Returns
    -------
    list of (model, experiment)
        A model's name and the experiment's path, sorted: the model was added to the experiment's
        list, or its own YAML says something else now.

    Raises
    ------
    SentinelError
        If the folder is in no repository, or the revision is unknown. An experiment that is not
        valid counts as one that lists nothing, now as then.
    """
    _git(conf, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    experiments, _ = read_each(Choices.of(conf).experiments)
    now = {(m.name, path): m for path, e in experiments.items() for m in e.models}
    with tempfile.TemporaryDirectory() as scratch:
        before = Path(scratch) / conf.resolve().name
        before.mkdir()
        if _git(conf, "ls-tree", revision, ".").strip():
            archive = _git(conf, "archive", "--format=tar", revision, ".")
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                files.extractall(before, filter="data")
        return sorted(
            (name, path)
            for (name, path), model in now.items()
            if model != _listed(before / "experiments" / Path(path).name, name)
        )


def _listed(experiment: Path, name: str) -> Model | None:
    """A model as an experiment lists it; None where there is no such experiment or model."""
    with contextlib.suppress(SentinelError):
        return {m.name: m for m in load_experiment(experiment).models}.get(name)
    return None


def _git(folder: Path, *words: str) -> bytes:
    # In a hook these name a repository relative to where git was called.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, env=environment)  # noqa: S603
    except FileNotFoundError:
        raise SentinelError("git is not installed", "name the models instead") from None
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip() or f"{words[-1]!r} is no commit of it"
        raise SentinelError(
            f"git cannot tell what is new in {folder}: {told}",
            "give a commit of this repository, as HEAD~1, or name the models",
        )
    return done.stdout
