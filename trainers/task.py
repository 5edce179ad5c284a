"""What a model gives the engine: a task. `trainers/README.md` explains it with CLIP."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest

Row = dict[str, NDArray[Any]]
"""One sample as model inputs; every row of a stream has the same names, shapes and types."""

Gather = Callable[[Tensor], tuple[Tensor, int]]
"""From a rank's rows to all ranks' rows, with gradient, and the place where its own begin."""


Draw = Callable[[], np.random.Generator]
"""A sample's randomness in an epoch, made when it is asked for; every call begins it anew."""


class SampleError(ValueError):
    """A sample that cannot be used. It is skipped, counted and reported; any other exception
    from a task's `read` is a fault of the program and stops the run."""


@dataclass(frozen=True)
class Stream:
    """A kind of sample that a task reads."""

    members: tuple[str, ...]
    """Extensions it needs of the base shard; alternatives are separated by `|` ("jpg|png")."""
    columns: tuple[str, ...] = ()
    """Columns it needs, joined by key. Samples without a value take no part in the run."""
    optional: tuple[str, ...] = ()
    """Columns that it reads where a sample has a value; where it has none, empty bytes."""
    tokens: int = 0
    """Patches and word pieces that the encoders take of a sample, with padding; for tokens/s."""
    drop_tail: bool = False
    """Leave out an epoch's last samples that do not fill a batch, so that no batch holds a
    sample twice."""


@dataclass(frozen=True)
class SubBatch:
    """Part of a step: so many rows, over all ranks, of one stream."""

    stream: str
    rows: int


@dataclass(frozen=True)
class Batch:
    """Rows of one stream: what one forward pass sees."""

    stream: str
    data: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        moved = {name: x.to(device, non_blocking=True) for name, x in self.data.items()}
        return Batch(self.stream, moved)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches of one stream as one."""
    if len(batches) == 1:
        return batches[0]
    names = batches[0].data
    return Batch(batches[0].stream, {n: torch.cat([b.data[n] for b in batches]) for n in names})


class Evaluator(Protocol):
    """A measure that a run takes on its schedule."""

    name: str

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure. Called on every rank with the module in evaluation mode; returns figures by
        name, equal on all ranks."""
        ...


class Tracker(Protocol):
    """Another place that a run's figures go to; only the main rank calls it."""

    def begin(self, folder: Path) -> None:
        """The run begins: its folder on this machine, with `run.json`."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record figures of a step."""

    def close(self) -> None:
        """The run has ended, or failed."""


class Task(ABC):
    """One model's way to be trained.

    The engine calls `plan`, `read`, `exchange`, `counts`, `forward`, `losses` and
    `pooled_losses`, in this order, for each step. Loss `x` adds
    `weights[x] * (sum of x) / (count of x)` to the objective, with sum and count taken over all
    ranks and micro-batches.
    """

    settings: Any = None
    """The model's `Settings`; a resumed run must have equal ones."""
    streams: Mapping[str, Stream]
    weights: Mapping[str, float]
    """The named losses."""
    pooled: tuple[str, ...] = ()
    """Outputs that `pooled_losses` needs of the whole global batch (contrastive features)."""
    shared: tuple[str, ...] = ()
    """Those of `pooled` that are not rows but one value for the batch (a temperature)."""
    unused_parameters: bool = False
    """Whether some steps leave parameters without gradient."""

    @abstractmethod
    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """The sub-batches of a step, a pure function of its arguments."""

    @abstractmethod
    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """A sample's members as model inputs; runs in threads.

        Args:
            stream: A name of `streams`.
            sample: Members and columns by extension or column name.
            draw: See `Draw`; None asks for the evaluation view.

        Raises:
            SampleError: the sample cannot be used.
        """

    def check_column(self, name: str, manifest: ColumnManifest) -> None:  # noqa: B027 (optional)
        """Whether `read` can take a column's values, judged by its manifest before any is read.

        Raises:
            ValueError: it cannot; says what is expected, what was found and what to do.
        """

    def exchange(self, batch: Batch) -> Batch:
        """A micro-batch as it was read, with what its rows take from each other (negatives); runs
        in a thread. It must not matter how a global batch is cut into micro-batches: take from
        near rows, and refuse sizes that part them."""
        return batch

    @abstractmethod
    def build(self) -> nn.Module:
        """The module, initialised from torch's global generator."""

    @abstractmethod
    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """The repeated layers: units of sharding, compilation and checkpointing."""

    @abstractmethod
    def example(self, stream: str, rows: int) -> Batch:
        """An empty batch of the right shapes and types, for counting FLOPs and memory."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Denominators of the losses that this batch contributes to, from its data alone."""

    @abstractmethod
    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Run the module (through its `forward`, which sharding hooks into); outputs by name."""

    def pooled_outputs(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The `pooled` outputs alone, as `forward` gives them; none where a batch has none. The
        first of accumulation's two passes asks for them: override it where `forward` does more."""
        outputs = self.forward(module, batch)
        return {name: outputs[name] for name in self.pooled if name in outputs}

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Sums of the losses that each row has by itself."""
        return {}

    def pooled_losses(
        self, outputs: dict[str, Tensor], batch: Batch, gather: Gather
    ) -> dict[str, Tensor]:
        """Sums, over this rank's rows, of the losses that compare rows of the global batch.

        Args:
            outputs: The `pooled` outputs of all of this rank's rows of a sub-batch.
            batch: The same rows' data.
            gather: See `Gather`.
        """
        return {}

    def after_step(self, module: nn.Module) -> None:  # noqa: B027 (optional)
        """Constrain parameters after an update (without gradient)."""

    def decays(self, name: str, parameter: Tensor) -> bool:
        """Whether weight decay applies to a parameter: not to gains, biases and scalars."""
        return parameter.ndim > 1

    def depth(self, name: str) -> int:
        """How many layers lie between a parameter and the output, for layer decay."""
        return 0

    def texts(self, stream: str, texts: Sequence[str]) -> Batch:
        """Texts without pictures as a batch, for tasks that encode them alone."""
        raise NotImplementedError

    def initial(self, path: Path) -> dict[str, Tensor]:
        """Weights to start from, under the module's names, out of a file that others wrote; those
        that it lacks start at random.

        Raises:
            ValueError: the file does not fit.
        """
        raise ValueError("this model cannot start from a file of weights")

    def export(self, state: Mapping[str, Tensor], folder: Path, form: str) -> list[Path]:
        """Write weights as another library loads them; the files that were written.

        Raises:
            ValueError: there is no such form.
        """
        raise ValueError("this model cannot be exported")

    def evaluators(self, held_out: Corpus) -> list[Evaluator]:
        """Measures to take on a corpus that is not trained on."""
        return []
