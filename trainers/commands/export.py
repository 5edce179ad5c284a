"""`septet export`: a run's weights, as other libraries load them."""

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer

from septet.preprocess import files
from septet.trainers.commands.models import MODELS
from septet.trainers.engine.checkpoint import read_weights


def export(
    run: Annotated[str, typer.Argument(help="Folder or URL of the run, with its run.json.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    form: Annotated[str, typer.Option(help="Whose form: hf, or open_clip for CLIP.")] = "hf",
) -> None:
    """Write a run's newest weights for another library; their moving average if it has one."""
    try:
        where = files.join(run, "run.json")
        if not files.exists(where):
            raise ValueError(f"{where} does not exist: give the folder of a run")
        record = json.loads(files.read_bytes(where))
        presets = importlib.import_module(MODELS[record["model"]]).PRESETS
        settings = type(presets[record["preset"]]).model_validate(record["settings"])
        task = settings.task()
        module = task.build()
        name = read_weights(files.join(run, "checkpoints"), module)
        written = task.export(module.state_dict(), out, form)
    except ValueError as error:
        typer.secho(f"septet export: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{name} of {run}: {', '.join(map(str, written))}")
