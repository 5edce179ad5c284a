"""A run in Weights & Biases."""

import json
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any


class Wandb:
    """A run's folder as a run of a Weights & Biases project; a resumed run goes on with the same.

    Raises:
        ValueError: wandb is not installed.
    """

    def __init__(self, project: str):
        self._project, self._wandb = project, _installed()
        self._folder: Path | None = None
        self._run: Any = None

    def begin(self, folder: Path) -> None:
        """See `septet.trainers.task.Tracker`."""
        self._folder = folder

    def log(self, step: int, figures: dict[str, float]) -> None:
        """See `septet.trainers.task.Tracker`. The first call begins the run, with run.json as its
        configuration."""
        if self._run is None:
            assert self._folder is not None
            name, record = self._folder / "wandb-id.txt", self._folder / "run.json"
            if not name.exists():
                name.write_text(uuid.uuid4().hex)
            config = json.loads(record.read_text())
            self._run = self._wandb.init(
                project=self._project,
                name=config["out"].rsplit("/", 1)[-1],
                id=name.read_text(),
                resume="allow",
                dir=self._folder,
                config=config,
            )
        self._run.log(figures, step=step)

    def close(self) -> None:
        """Send what is left."""
        if self._run is not None:
            self._run.finish()


def _installed() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise ValueError("--wandb needs wandb: pip install 'septet[wandb]'") from error
    return wandb
