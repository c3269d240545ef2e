"""A model is added to a conf folder: its file checked and copied, and experiments that list it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.conf import Model, load_experiment, load_named
from tasks.conf.choices import Choices, read_each
from tasks.conf.read import with_name
from tasks.errors import SentinelError
from tasks.tables import write_text


def add_model(file: Path, conf: Path, experiments: Sequence[str]) -> str:
    """Copy a model's YAML into ``conf/models`` and add it to experiments; returns its name.

    Parameters
    ----------
    file : Path
        Named as the model, ``NAME.yaml``; it may lie in ``conf/models`` already.
    conf : Path
        The conf folder.
    experiments : sequence of str
        Experiments of that folder that are to list it, as :func:`experiment_path` gives them.

    Raises
    ------
    SentinelError
        If the file is no valid model, another model has its name, an experiment would not be
        valid with it, or a file cannot be written. Nothing is changed then.
    """
    text = _text(file)
    if file.suffix != ".yaml":
        raise SentinelError(f"{file} is not named as conf files are", f"name it {file.stem}.yaml")
    experiments = [experiment_path(path, conf) for path in experiments]
    target = conf / "models" / file.name
    if target.exists() and _text(target) != text:
        raise SentinelError(
            f"{target} is another model of that name", "give the new one a name of its own"
        )
    written = {target: text} | {
        Path(path): with_name(Path(path), "models", file.stem) for path in experiments
    }
    before = {path: _text(path) if path.exists() else None for path in written}
    try:
        for changed, content in written.items():
            if content != before[changed]:
                write_text(changed, content)
        load_named(conf, "models", file.stem, Model)
        for path in experiments:
            load_experiment(path)
    except BaseException:
        for changed, old in before.items():
            if old is None:
                changed.unlink(missing_ok=True)
            elif _text(changed) != old:
                write_text(changed, old)
        raise
    return file.stem


def experiment_path(given: str, conf: Path) -> str:
    """Path of an experiment of the conf folder, which is given by path or by name.

    Raises
    ------
    SentinelError
        If it has no such experiment.
    """
    known = Choices.of(conf).experiments
    for path in known:
        if (
            given in (Path(path).stem, Path(path).name)
            or Path(given).resolve() == Path(path).resolve()
        ):
            return path
    raise SentinelError(f"{given} is no experiment of {conf}", f"name one of {', '.join(known)}")


def listing(model: str, conf: Path) -> list[str]:
    """Paths of the experiments that list a model; those that are not valid are passed over.

    Raises
    ------
    SentinelError
        If none does, or the model is unknown.
    """
    load_named(conf, "models", model, Model)
    paths = Choices.of(conf).experiments
    read, unread = read_each(paths)
    found = [p for p, experiment in read.items() if model in {m.name for m in experiment.models}]
    if not found:
        mistakes = "".join(f"; {error.problem}" for error in unread.values())
        raise SentinelError(
            f"no experiment lists the model {model!r}{mistakes}",
            f"add it with `sentinel models add --experiment`, one of {', '.join(paths)}",
        )
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SentinelError(f"{file} cannot be read: {reason}", "give a YAML file") from None
