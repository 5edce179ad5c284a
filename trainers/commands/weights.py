"""`septet weights`: what a file of others' weights holds of a model."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from septet.trainers.commands.models import MODELS, presets_of


def weights(
    model: Annotated[str, typer.Argument(help=f"The model: {', '.join(MODELS)}.")],
    path: Annotated[str, typer.Argument(help="File, folder or URL of weights.")],
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
        from safetensors.torch import save_file

        from septet.trainers.settings.overrides import override
        from septet.trainers.weights.nearest import told_nearest

        task = override(presets[preset], changes or []).task()
        with told_nearest(presets, preset):
            found = task.initial(path)
    except ValueError as error:
        typer.secho(f"septet weights: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    count = len(found.weights) + len(found.lacking)
    typer.echo(f"{path}: {found.form}, {len(found.weights)} of {count} weights of {model} {preset}")
    for line in _listed("it lacks", "they start at random", found.lacking):
        typer.echo(line)
    for line in _listed("not read", f"{model} has no use for them", found.unread):
        typer.echo(line)
    if out is not None:
        save_file({name: x.contiguous() for name, x in found.weights.items()}, out)
        typer.echo(f"written: {out}")


def _listed(what: str, why: str, names: list[str]) -> Iterator[str]:
    yield f"{what}: {len(names)}; {why}" if names else f"{what}: none"
    for stem in _grouped(names):
        yield f"  {stem}"


def _grouped(names: Iterable[str]) -> list[str]:
    """Names with their numbers as `*`, each once."""
    return list(dict.fromkeys(re.sub(r"(?<=[._])\d+(?=[._])", "*", name) for name in names))
