"""PaLI as a task: rows drawn from eight tasks by weight, one loss over what is to be written
(paper, section 3.2 and appendix A.2). Texts without images have forward passes of their own.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.draws import generator
from septet.trainers.inputs.images import normalise
from septet.trainers.measures.tokens import Tokens
from septet.trainers.mixture.plan import Mixture
from septet.trainers.nets.t5 import PAD
from septet.trainers.outcomes import Change
from septet.trainers.pali import samples
from septet.trainers.pali.answers import ABILITIES, answers
from septet.trainers.pali.measures import written
from septet.trainers.pali.model import Pali
from septet.trainers.pali.samples import MEAN, STD, TEXT_TASK
from septet.trainers.pali.settings import PAPER_MIXTURE, PaliSettings
from septet.trainers.pali.weights import FORMS
from septet.trainers.prediction import Answer, Asked, Pixels
from septet.trainers.task import Batch, Draw, Evaluator, Row, SubBatch, Task

IMAGES, TEXTS = "images", TEXT_TASK
"""Kinds of forward passes."""


class PaliTask(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS
    loss_weights: Mapping[str, float] = {"tokens": 1.0, "z": 1.0}

    def __init__(self, settings: PaliSettings, global_batch: int):
        """
        Args:
            settings: The model and its inputs.
            global_batch: Rows of a step.
        """
        self.settings, self.global_batch = settings, global_batch
        # In one order, however it is written: equal settings draw equally.
        chosen = {n: settings.mixture[n] for n in PAPER_MIXTURE if settings.mixture.get(n, 0) > 0}
        kinds = {
            IMAGES: [name for name in chosen if name != TEXT_TASK],
            TEXTS: [name for name in chosen if name == TEXT_TASK],
        }
        kinds = {kind: names for kind, names in kinds.items() if names}
        several = len(kinds) > 1
        self.mixture = Mixture(chosen, kinds, settings.text_rows if several else 1)
        self.streams = {
            name: samples.stream_of(name, settings, self.mixture.after(name))
            for name in self.mixture.tasks
        }
        # Texts see neither the connector nor, where it is trained, the vision half.
        self.unused_parameters = several

    @property
    def kinds(self) -> list[str]:
        """Rows with images, and texts."""
        return list(self.mixture.kinds)

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """Rows of each task by its weight."""
        return self.mixture.sub_batches(seed, step, self.global_batch)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`; the evaluation view is drawn, too, but always the same."""
        drawn = draw() if draw else generator("measure", getattr(sample, "key", ""))
        return samples.read(stream, sample, self.settings, drawn)

    def join(self, stream: str, rows: Iterator[Row], draw: Draw) -> tuple[Row, Sequence[Change]]:
        """Texts, with spans hidden; see `samples.join`."""
        return samples.join(rows, self.settings, draw())

    def build(self) -> nn.Module:
        """The whole model."""
        return Pali(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer blocks of the ViT, the encoder and the decoder."""
        assert isinstance(module, Pali)
        language = module.language
        return [*module.vision.blocks, *language.encoder.blocks, *language.decoder.blocks]

    def example(self, kind: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        return samples.example(kind, rows, self.settings)

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens to write."""
        return {"tokens": batch.data["target"] != PAD}

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens to write."""
        return dict.fromkeys(("tokens", "z"), len(self.places(batch)["tokens"]))

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Sums over the tokens to write; see `model.Pali.forward`."""
        kept = self.places(batch)["tokens"]
        found: dict[str, Tensor] = module(batch.data["target"], kept, **self.inputs(batch))
        return found

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the encoder sees of a batch, for `model.Pali.encode`."""
        seen = {"source": batch.data["source"]}
        if "pixels" in batch.data:
            seen["pixels"] = normalise(batch.data["pixels"], MEAN, STD)
        return seen

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and z-loss of the tokens to write."""
        return {"tokens": outputs["tokens"], "z": outputs["z"]}

    abilities = ABILITIES

    def view(self, ability: str, image: Pixels) -> Pixels:
        """The whole image, made square."""
        return samples.square(image, self.settings.vision.image_size)

    def predict(
        self, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int = 1
    ) -> list[Answer]:
        """See `answers`."""
        return answers(self.settings, module, ability, asked, beams)

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Tokens told right, task by task, and how good what the model writes by itself is."""
        tokens = Tokens(self, list(self.streams), held_out, image=("pixels", "source"))
        return [tokens, *written(self, held_out)]
