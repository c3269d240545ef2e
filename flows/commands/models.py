"""Models: add one to the conf folder, and tell the Prefect server of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import CONF, conf_choices, console
from tasks.errors import EndpointError, SentinelError
from tasks.host.workspace import Workspace

app = typer.Typer()
models = typer.Typer(help="Add a model, or announce one, so that its jobs run.")
app.add_typer(models, name="models")


@models.command()
def add(
    file: Annotated[Path, typer.Argument(help="A model's YAML, named as the model.")],
    experiment: Annotated[
        list[str],
        typer.Option(help="Experiment that is to list it, by file or name; can be repeated."),
    ],
    announce: Annotated[bool, typer.Option(help="Tell the Prefect server.")] = True,
) -> None:
    """Check a model's YAML, copy it to conf/models, add it to experiments, and announce it."""
    from tasks.planning.added import add_model, experiment_path

    paths = [experiment_path(given, CONF) for given in experiment]
    name = add_model(file, CONF, paths)
    console.print(f"{name} is in {', '.join(paths)}")
    if announce:
        _announce({name: paths})


@models.command(name="announce")
def announce_models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or YAML files of models in conf.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="What became new since this commit, as HEAD~1, for a hook or a CI step."),
    ] = None,
) -> None:
    """Tell the Prefect server of models in conf: of those named, and of what a commit brought."""
    from tasks.planning.added import listing
    from tasks.planning.commits import listed_since

    found = {Path(name).stem: listing(Path(name).stem, CONF) for name in names or ()}
    for name, path in listed_since(since, CONF) if since else ():
        found.setdefault(name, [])
        found[name] += [path] * (path not in found[name])
    if found:
        _announce(found)
    elif since:
        conf_choices()
        console.print(f"no model is new since {since}")
    else:
        raise SentinelError("no model is named", "give names, or --since COMMIT")


def _announce(found: Mapping[str, Sequence[str]]) -> None:
    """Refresh the forms, so that they offer the models, and send an event a model x experiment."""
    Workspace.from_environment().prepare_environment()
    from flows.deploy import refresh_forms
    from flows.events import model_added, send

    try:
        refresh_forms(conf_choices())
        send([model_added(name, path) for name, paths in found.items() for path in paths])
    except EndpointError as error:
        again = f"`sentinel models announce {' '.join(found)}`"
        raise EndpointError(
            f"{error.problem}; conf has what was added", f"{error.remedy}; then {again}"
        ) from None
    for name, paths in found.items():
        console.print(
            f"announced {name} for {', '.join(paths)}: its run will appear in the Prefect pages"
        )
