"""`septet weights`: what a file of others' weights holds of a model."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from septet.trainers.commands.models import MODELS, presets_of


def weights(
    model: Annotated[str, typer.Argument(help=f"The model: {', '.join(MODELS)}.")],
    path: Annotated[Path, typer.Argument(help="File or folder of weights.")],
    preset: Annotated[str, typer.Option(help="Whose sizes it should have.")] = "base",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: KEY=VALUE.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write what is found under the model's names, safetensors.")
    ] = None,
) -> None:
    """Say what a file of weights holds of a model, and convert it.

    Examples:

      septet weights clip ViT-B-32.pt --preset vit-b-32

      septet weights ernie_vil ernie-2.0-base-en/params --preset base --out text.safetensors
    """
    try:
        presets = presets_of(model)
        if preset not in presets:
            raise ValueError(f"{model} has no preset {preset!r}; it has: {', '.join(presets)}")
        import torch
        from safetensors.torch import save_file

        from septet.trainers.settings.overrides import override
        from septet.trainers.weights.fit import told_nearest

        task = override(presets[preset], changes or []).task()
        with told_nearest(presets, preset):
            found = task.initial(path)
        with torch.device("meta"):
            wanted = task.build().state_dict()
    except ValueError as error:
        typer.secho(f"septet weights: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    lacking = [name for name in wanted if name not in found]
    typer.echo(f"{path}: {len(found)} of {len(wanted)} weights of {model} {preset}")
    typer.echo(f"it lacks {len(lacking)}; they start at random" if lacking else "it lacks none")
    for stem in _grouped(lacking):
        typer.echo(f"  {stem}")
    if out is not None:
        save_file({name: x.contiguous() for name, x in found.items()}, out)
        typer.echo(f"written: {out}")


def _grouped(names: Iterable[str]) -> list[str]:
    """Names with their numbers as `*`, each once."""
    return list(dict.fromkeys(re.sub(r"(?<=[._])\d+(?=[._])", "*", name) for name in names))
