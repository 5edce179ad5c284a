"""Trained models, as commands open them: a run's newest checkpoint, or a file of weights."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from septet.preprocess import files
from septet.trainers.commands.models import presets_of

if TYPE_CHECKING:
    from torch import nn

    from septet.trainers.settings.preset import Preset
    from septet.trainers.task import Task


class Trained:
    """A model that was trained, of which nothing but the settings is read until `module`.

    Args:
        path: Folder or URL of a run; or, with `model`, a file or folder of weights that
            `septet weights` reads.
        model: Name of the model whose weights `path` holds; None for a run.
        preset: Its sizes.
        changes: To the preset, or to the run's settings (where files lie), KEY=VALUE.

    Raises:
        ValueError: there is no run, or no such model or preset.
    """

    def __init__(
        self,
        path: str,
        model: str | None = None,
        preset: str = "base",
        changes: Sequence[str] = (),
    ):
        from septet.trainers.settings.overrides import override

        self.path, self._is_run = path, model is None
        if model is None:
            record = run_record(path)
            self.model, self.preset = str(record["model"]), str(record["preset"])
            presets = presets_of(self.model)
            settings = next(iter(presets.values()))
            known = type(settings).model_validate(record["settings"])
            self._chosen: Preset = override(known, changes)
        else:
            presets = presets_of(model)
            if preset not in presets:
                raise ValueError(f"{model} has no preset {preset!r}; it has: {', '.join(presets)}")
            self.model, self.preset = model, preset
            self._chosen = override(presets[preset], changes)
        self._presets = presets
        self.task: Task = self._chosen.task()
        self.name = ""
        """Of the checkpoint or file that was read."""

    def module(self) -> "nn.Module":
        """The module with its weights, the moving average where the run keeps one.

        Raises:
            ValueError: there is no checkpoint, it is damaged, or it is another model's.
        """
        from septet.trainers.engine.checkpoint import read_weights
        from septet.trainers.weights.nearest import told_nearest

        module = self.task.build()
        if self._is_run:
            self.name = read_weights(files.join(self.path, "checkpoints"), module)
            return module
        if not files.exists(self.path):
            raise ValueError(f"{self.path}: there is no such file of weights")
        with told_nearest(self._presets, self.preset):
            found = self.task.initial(self.path)
        parameters = {name for name, _ in module.named_parameters()}
        lacks = [name for name in found.lacking if name in parameters]
        if lacks:
            more = f" and {len(lacks) - 3} more" if len(lacks) > 3 else ""
            raise ValueError(
                f"{self.path} is no whole {self.model} {self.preset}: it lacks "
                f"{', '.join(lacks[:3])}{more}"
            )
        module.load_state_dict(found.weights, strict=False)
        self.name = self.path
        return module

    def on_device(self) -> "nn.Module":
        """`module`, on the accelerator where there is one, in evaluation mode."""
        import torch

        return self.module().to("cuda" if torch.cuda.is_available() else "cpu").eval()


def run_record(run: str) -> dict[str, Any]:
    """What `run.json` says of a run that `septet train` started.

    Raises:
        ValueError: there is none, or it names no model.
    """
    where = files.join(run, "run.json")
    if not files.exists(where):
        raise ValueError(f"{where} does not exist: give the folder of a run")
    try:
        record: dict[str, Any] = json.loads(files.read_bytes(where))
        known = {"model", "preset", "settings"} <= record.keys() and isinstance(
            record["model"], str
        )
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{where} is no record of a run: {error}") from error
    if not known:
        raise ValueError(f"{where} names no model: the run was not started by septet train")
    return record
