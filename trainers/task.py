"""What a model gives the engine: a task. `trainers/README.md` explains it with CLIP."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.loader.side import SideFiles
from septet.trainers.outcomes import Change, Loss
from septet.trainers.prediction import Ability, Answer, Asked, Pixels
from septet.trainers.weights.form import Forms, Found

Row = dict[str, NDArray[Any]]
"""One sample as model inputs; every row of a sub-batch has the same names, shapes and types, but
for the lengths of `Stream.lengths`."""

Gather = Callable[[Tensor], tuple[Tensor, int]]
"""From a rank's rows to all ranks' rows, with gradient, and the place where its own begin."""


Draw = Callable[[], np.random.Generator]
"""Makes a sample's random generator of an epoch. Call it once: a second call returns the same
numbers again."""


class SampleError(ValueError):
    """A sample that cannot be used. It is skipped, counted and reported; any other exception
    from a task's `read` is a fault of the program and stops the run.

    Args:
        message: What is wrong with this sample.
        outcome: Its name among `trainers.outcomes`, by which it is counted.
    """

    def __init__(self, message: str, outcome: Loss = "unusable"):
        super().__init__(message)
        self.outcome: Loss = outcome


class ReadSample(dict[str, bytes]):
    """A sample's members and columns by name, with where it is from."""

    __slots__ = ("corpus", "key", "language", "notes")  # made in a third of the time

    def __init__(
        self, members: Mapping[str, bytes], *, key: str, corpus: str, language: str | None = None
    ):
        self.update(members)
        self.key, self.corpus = key, corpus
        """Its key, and the name of its corpus (of the corpus's manifest)."""
        self.language = language
        """Code of its language, where the stream has `languages`. A `read` that itself chooses a
        language sets it: the shares of languages are counted by it."""
        self.notes: list[Change] = []
        """What `read` did with it; see `inputs.members.note`."""


@dataclass(frozen=True)
class Lengths:
    """An input whose rows differ in length, along their first axis.

    A rank's rows of a sub-batch (or its groups of `together`) are sorted by length before
    they are cut into micro-batches, and each micro-batch is padded to the least of the buckets that
    holds its longest row. So micro-batches hold little padding, and few shapes come up. Not for
    kinds with pooled outputs.
    """

    buckets: tuple[int, ...]
    """Lengths of batches, rising; no row is longer than the last."""
    pad: int = 0

    @classmethod
    def up_to(cls, most: int, pad: int = 0, also: Collection[int] = ()) -> "Lengths":
        """Buckets of 4, 8, … 32, from there on four to each doubling, the last of `most`; and
        `also` some lengths that many rows have."""
        fours = {4 * i for i in range(1, 9)}
        doublings = {2**k + i * 2 ** (k - 2) for k in range(5, most.bit_length()) for i in range(4)}
        return cls((*sorted(n for n in fours | doublings | set(also) if n < most), most), pad)


@dataclass(frozen=True)
class Languages:
    """Sampling over the languages of a stream's samples, by column `language` of the sidecars.

    A language of n samples is drawn in proportion to n ** (1 / temperature), within each corpus of
    a mix; which language a position is of is a pure function of seed and position.
    """

    temperature: float = 1.0
    """1 draws as the corpus has them, a greater one more evenly, `math.inf` evenly."""
    only: tuple[str, ...] = ()
    """Codes of the languages that take part; all where there is none."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"a temperature of languages is above 0; found {self.temperature}")


@dataclass(frozen=True)
class Stream:
    """A kind of sample that a task reads."""

    members: tuple[str, ...]
    """Extensions it needs of the base shard; alternatives are separated by `|` ("jpg|png")."""
    columns: tuple[str, ...] = ()
    """Columns it needs, joined by key. Samples without a value take no part in the run, but for
    `otherwise`."""
    optional: tuple[str, ...] = ()
    """Columns that it reads where a sample has a value; where it has none, or its corpus of a mix
    has no such column, empty bytes."""
    tokens: int = 0
    """Patches and word pieces that the encoders take of a sample, with padding, without those of
    `lengths`; for tokens/s."""
    distinct: int = 1
    """So many samples in a row, across epochs and in mixes, hold none twice. A task whose losses
    compare rows gives the rows of its largest step."""
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    """Inputs whose rows differ in length; equal for all streams of a sub-batch."""
    together: int = 1
    """Rows that stay side by side where rows are sorted by length: groups of so many, from the
    sub-batch's first row on, are the same however many ranks share it (experts count their capacity
    in them). A rank's share must be whole groups. Equal for all streams of a sub-batch."""
    side_files: tuple[str, ...] = ()
    """Files in the corpus's folder that belong to all of it, for draws from the whole corpus; see
    `Task.open`. They are part of the corpus's digest."""
    joins: int = 0
    """Samples that a row is made of at most, by `Task.join`, of one corpus and, where languages
    are sampled, one language: a part's row r begins with its sample r * joins, and has no other's.
    Of 0 a row is what `read` gives. Not together with `otherwise`."""
    otherwise: tuple[str, ...] = ()
    """Streams of equal `lengths` that read, in this order, a sample which lacks one of `columns` or
    in which `read` finds something lacking (`outcomes.LACKING`). So the row goes to the next task
    of its kind (`Mixture.after`), and that is counted."""
    languages: Languages | None = None
    """How the languages of samples are sampled; None draws them as they come, untold."""


@dataclass(frozen=True)
class SubBatch:
    """Part of a step: the rows, over all ranks, that one forward pass sees.

    Rows of several streams stand in any order; their inputs have equal names, shapes and types.
    Their sum must divide by the ranks and by micro-batches, the rows of a stream need not.
    """

    kind: str
    rows: Mapping[str, int]
    """Of each stream."""

    @classmethod
    def of(cls, stream: str, rows: int) -> "SubBatch":
        """Rows of one stream, the kind of the same name."""
        return cls(stream, {stream: rows})

    @property
    def total(self) -> int:
        """Rows of all streams."""
        return sum(self.rows.values())


@dataclass(frozen=True)
class Batch:
    """Rows of one kind: what one forward pass sees."""

    kind: str
    """The sub-batch's; where a task says nothing else, the stream's name."""
    data: dict[str, Tensor]
    tokens: int = 0
    """Of all rows, padding of `Stream.lengths` left out."""
    places: Mapping[str, Tensor] | None = None
    """See `Task.places`; None where nobody has looked for them yet."""

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}

        places = None if self.places is None else moved(self.places)
        return replace(self, data=moved(self.data), places=places)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches of one kind as one, without places."""
    if len(batches) == 1:
        return batches[0]
    data = {name: torch.cat([b.data[name] for b in batches]) for name in batches[0].data}
    return Batch(batches[0].kind, data, sum(b.tokens for b in batches))


def places(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where bool masks are true: flat positions by name, rising, int64 [n]."""
    return {name: mask.flatten().nonzero()[:, 0] for name, mask in masks.items()}


class ExpertModule(nn.Module):
    """Base of modules whose parameters all belong to experts: their first axes count them.

    With `train.expert_parallel=N` a rank holds one Nth of the experts; the parameters then are
    `DTensor`s whose local part that is, and `forward` runs them on tokens of all N ranks.

    Initial values are drawn expert by expert, whatever the ranks: constructors fill each parameter
    as a whole (`nn.init.normal_`, `torch.zeros`), by no operation that mixes experts.
    """

    ranks: dist.ProcessGroup | None = None
    """Those that hold the experts together, in their order; None where this one has all."""

    turn: Callable[[], None] | None = None
    """Where ranks need different numbers of passes (writing): what `forward` calls before it
    exchanges tokens, to wait for its turn (`generate.turns`)."""

    def join(self) -> None:
        """Take part in a pass of the other ranks, with no tokens and out of turn."""
        raise NotImplementedError


def expert_parameters(module: nn.Module) -> set[nn.Parameter]:
    """Parameters of a module that count experts by their first axis."""
    return {x for m in module.modules() if isinstance(m, ExpertModule) for x in m.parameters()}


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
    `loss_weights[x] * (sum of x) / (count of x)` to the objective, with sum and count taken over
    all ranks and micro-batches.
    """

    settings: Any = None
    """The model's `Settings`; a resumed run must have equal ones."""
    streams: Mapping[str, Stream]
    forms: Forms[Any] | None = None
    """The forms in which others write the model's weights."""
    loss_weights: Mapping[str, float]
    """The named losses."""
    pooled: tuple[str, ...] = ()
    """Outputs that `pooled_losses` needs of the whole global batch (contrastive features)."""
    scalars: tuple[str, ...] = ()
    """Those of `pooled` that are not rows but one value for the batch (a temperature)."""
    unused_parameters: bool = False
    """Whether some steps leave parameters without gradient."""

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of sub-batches that `plan` may name: those of the streams, where each
        sub-batch is of one stream."""
        return list(self.streams)

    @abstractmethod
    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """The sub-batches of a step, a pure function of its arguments. Their order is equal on all
        ranks; one without rows is left out."""

    def open(self, stream: str, side: Sequence[SideFiles]) -> None:  # noqa: B027 (optional)
        """Take the side files of a stream's corpora (`Stream.side_files`), once, before any read;
        `ReadSample.corpus` says which a sample is of."""

    @abstractmethod
    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """A sample's members as model inputs; runs in threads.

        Args:
            stream: A name of `streams`.
            sample: Members and columns by extension or column name; in a run a `ReadSample`,
                which says of which corpus it is.
            draw: See `Draw`; None asks for the evaluation view.

        Raises:
            SampleError: the sample cannot be used.
        """

    def join(self, stream: str, rows: Iterator[Row], draw: Draw) -> tuple[Row, Sequence[Change]]:
        """One row of several samples (`Stream.joins`), with what was done to them. Those that are
        not taken of `rows` are not read.

        Args:
            stream: A name of `streams`.
            rows: What `read` made of each sample, one at least.
            draw: See `Draw`; of the row.
        """
        raise NotImplementedError

    def check_column(self, name: str, manifest: ColumnManifest) -> None:  # noqa: B027 (optional)
        """Whether `read` can take a column's values, judged by its manifest before any is read.

        Raises:
            ValueError: it cannot; says what is expected, what was found and what to do.
        """

    def exchange(self, batch: Batch) -> Batch:
        """A micro-batch as it was read, with what its rows take from each other (negatives); runs
        in a thread. It must not matter how a global batch is cut into micro-batches: take only
        within pairs of rows 2k and 2k + 1, and refuse an odd number of rows."""
        return batch

    def masks(self, batch: Batch) -> Mapping[str, Tensor]:
        """Inputs whose true places `forward` or `losses` picks out, bool tensors by name: under a
        loss's name the places that it predicts. From the batch's data alone."""
        return {}

    def places(self, batch: Batch) -> Mapping[str, Tensor]:
        """Where `masks` are true, see `places`. Index with these, not with the masks themselves: a
        GPU would have to wait until the host knows how many there are. The loader has made them on
        the host; here they are made for a batch that does not come from it."""
        return places(self.masks(batch)) if batch.places is None else batch.places

    @abstractmethod
    def build(self) -> nn.Module:
        """The module, initialised from torch's global generator."""

    @abstractmethod
    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """The repeated layers: units of sharding, compilation and checkpointing."""

    @abstractmethod
    def example(self, kind: str, rows: int) -> Batch:
        """An empty batch of the right shapes and types, for counting FLOPs and memory; inputs of
        `Stream.lengths` at their longest. It has `Batch.places` where there are `masks`, as on the
        device `meta` nobody can look for them."""

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Denominators of the losses that this batch contributes to, from its data alone; any
        numbers that are not negative. A loss without a count is an error. By default the number of
        places of each loss that has some."""
        found = self.places(batch)
        return {name: len(found[name]) for name in self.loss_weights if name in found}

    @abstractmethod
    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Run the module (through its `forward`, which sharding hooks into); outputs by name."""

    def pooled_outputs(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The `pooled` outputs alone, as `forward` gives them; none where a batch has none. The
        first of accumulation's two passes asks for them: override it where `forward` does more, and
        use the same random numbers in the same order (dropout is seeded alike in both passes)."""
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

    def stays_fp32(self, name: str, parameter: Tensor) -> bool:
        """Whether a parameter is fp32 in every forward pass of a run in bf16: temperatures, gains
        and biases, routers of experts, and what a task adds. Keep it to small ones: where the
        others are sharded, each rank holds these whole."""
        return parameter.ndim <= 1 or name.rsplit(".", 1)[-1] == "router"

    def depth(self, name: str) -> int:
        """How many layers lie between a parameter and the output, for layer decay."""
        return 0

    def texts(self, stream: str, texts: Sequence[str]) -> Batch:
        """Texts without images as a batch, for tasks that encode them alone."""
        raise NotImplementedError

    abilities: Mapping[str, Ability] = MappingProxyType({})
    """What the trained model can be asked, by name."""

    def view(self, ability: str, image: Pixels) -> Pixels:
        """An image uint8 [height, width, 3] as small as `predict` reads it: of a batch that is
        asked about only these are kept."""
        return image

    def predict(
        self, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int = 1
    ) -> list[Answer]:
        """What the module answers, in evaluation mode and without gradient.

        Args:
            module: It.
            ability: One of `abilities`.
            asked: Questions; each has the parts that the ability needs.
            beams: Of beam search, where the model writes.

        Raises:
            ValueError: a question cannot be answered (a text without a word, say).
        """
        raise NotImplementedError

    def from_stage(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The module's weights out of an earlier stage's of the same model: at this resolution
        (`Forms.adapt`), without what belongs to the other stage alone (`Form.unused`)."""
        if self.forms is None:
            return dict(state)
        forms, s = self.forms, self.settings
        own = forms.shapes(s)
        others = {n for n in state if n not in own and any(f.unused(n, s) for f in forms.forms)}
        return forms.adapt({n: x for n, x in state.items() if n not in others}, s)

    def initial(self, path: Path | str) -> Found:
        """What a file that others wrote, on disk or at a URL, has of the module's weights; those
        that it lacks start at random.

        Raises:
            ValueError: the file does not fit.
        """
        if self.forms is None:
            raise ValueError("this model cannot start from a file of weights")
        return self.forms.read(path, self.settings)

    def export(self, state: Mapping[str, Tensor], folder: Path, form: str) -> list[Path]:
        """Write weights as another library loads them; the files that were written.

        Raises:
            ValueError: there is no such form.
        """
        if self.forms is None:
            raise ValueError("this model cannot be exported")
        return self.forms.write(state, self.settings, folder, form)

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Measures to take on a corpus that is not trained on; `name` is what `--held-out
        NAME=PATH` calls it."""
        return []
