"""What every model's presets are made of."""

from abc import abstractmethod

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.settings.base import Settings
from septet.trainers.task import Task


class Preset(Settings):
    """All settings of a run. A model's presets add `model`, its own settings."""

    train: TrainSettings
    optimizer: OptimizerSettings
    after: str | None = None
    """The preset whose weights a run begins with, as this one is a later stage of its recipe: at
    another resolution, with other parameters frozen."""

    @abstractmethod
    def task(self) -> Task:
        """The task of these settings.

        Raises:
            ValueError: they do not fit each other.
        """

    def require_even_batches(self, why: str) -> None:
        """For tasks whose rows exchange something with their neighbours.

        Raises:
            ValueError: an odd number of rows.
        """
        for name in ("global_batch", "micro_batch"):
            if (getattr(self.train, name) or 0) % 2:
                raise ValueError(
                    f"train.{name} must be even, as {why}; found {getattr(self.train, name)}"
                )
