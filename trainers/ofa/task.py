"""OFA's training: eight tasks, one loss. A step has two forward passes, of pairs and of plain
texts, images and objects, whose mean losses are added, the second twice (OFA-Sys/OFA,
`criterions/label_smoothed_cross_entropy.py`)."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.loader.side import SideFiles
from septet.trainers.mixture.plan import Mixture
from septet.trainers.ofa import samples, views
from septet.trainers.ofa.answers import abilities, answers, side
from septet.trainers.ofa.lists import Negatives
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.samples import PAIRS, PLAIN
from septet.trainers.ofa.settings import OfaSettings
from septet.trainers.ofa.tokens import instructions
from septet.trainers.ofa.weights import FORMS
from septet.trainers.prediction import Answer, Asked, Pixels
from septet.trainers.task import Batch, Draw, Evaluator, Languages, Row, Stream, SubBatch, Task

PLAIN_ROWS = {"texts": 2, "images": 1, "detection": 1}
"""Rows that one of so many rows of pairs (`model.plain_rows`) brings."""


class OfaTask(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS

    kinds: Sequence[str] = ()

    def __init__(self, settings: OfaSettings, global_batch: int):
        """
        Args:
            settings: The model's.
            global_batch: Rows of pairs of a step.
        """
        self.settings = s = settings
        self._pairs = global_batch
        self.abilities = abilities(s)
        self._mixture = Mixture(dict(s.shares))
        kept = s.patches or s.tokens(s.image_size)
        for language in s.languages:  # One without an instruction is told at once.
            instructions().fill("caption", language)
        languages = Languages(only=s.languages) if s.languages else None
        pairs = partial(
            Stream, tokens=2 * kept, lengths=samples.lengths("pairs", s), languages=languages
        )
        images = s.tokens(s.plain_size)
        plain = partial(Stream, tokens=images, lengths=samples.lengths("plain", s))
        objects = (s.objects_column,) if s.objects_column else ()
        codes = (s.codes_column,) if s.codes_column else ()
        texts, things, answers = s.lists
        streams = {
            "captions": pairs((IMAGE, "txt"), optional=objects, side_files=(texts, things)),
            "questions": pairs((IMAGE,), (s.questions_column,), side_files=(answers,)),
            "regions": pairs((IMAGE,), (s.phrases_column,)),
            "texts": plain(("txt",), tokens=0),
            "images": plain((IMAGE,), codes),
            "detection": plain((IMAGE,), (s.boxes_column,)),
        }
        self._plain = self._pairs // s.plain_rows if s.plain_rows else 0
        used = {*self._mixture.tasks, *(PLAIN if self._plain else ())}
        self.streams = {name: stream for name, stream in streams.items() if name in used}
        self.kinds = ["pairs", "plain"] if self._plain else ["pairs"]
        self.loss_weights = {"pairs": 1.0, "plain": 2.0}
        # The second pass has part of all parameters; without it nothing writes image codes.
        self.unused_parameters = not self._plain
        self._negatives: dict[str, Negatives] = {}

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """Pairs by their shares, and for each eighth of them two texts, an image to fill in and
        one to find objects in."""
        pairs = SubBatch("pairs", self._mixture.rows(seed, step, self._pairs))
        plain = {stream: n * self._plain for stream, n in PLAIN_ROWS.items()}
        return [pairs, SubBatch("plain", plain)] if self._plain else [pairs]

    def open(self, stream: str, side: Sequence[SideFiles]) -> None:
        """Take the lists that what does not match is drawn from."""
        self._negatives[stream] = Negatives(side, self.settings.lists)

    def check_column(self, name: str, manifest: ColumnManifest) -> None:
        """Codes fit the middle of the image."""
        if name == self.settings.codes_column:
            samples.code_grid(self.settings).check(name, manifest)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`."""
        negatives = self._negatives.get(stream) or Negatives()
        return samples.read(stream, sample, self.settings, draw() if draw else None, negatives)

    def build(self) -> nn.Module:
        """Encoder and decoder."""
        return Ofa(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer layers."""
        assert isinstance(module, Ofa)
        return [*module.encoder.layers, *module.decoder.layers]

    def example(self, kind: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        kind = "plain" if kind in PLAIN else "pairs" if kind in PAIRS else kind
        return samples.example(kind, rows, self.settings)

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens to write, which are counted whatever their factors; and images there are."""
        return samples.masks(batch)

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The sum of the tokens' losses under the batch's kind."""
        before, target, _, factors = samples.targets(batch)
        inputs = samples.model_inputs(batch, self.settings)
        name = samples.kind_of(batch)
        loss: Tensor = module(before, target, self.places(batch)[name], factors, **inputs)
        return {name: loss}

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What `forward` gave."""
        return outputs

    def decays(self, name: str, parameter: Tensor) -> bool:
        """All parameters, norms and biases too (OFA's scripts)."""
        return True

    def view(self, ability: str, image: Pixels) -> Pixels:
        """The whole image, made square."""
        return views.square(image, side(ability, self.settings))

    def predict(
        self, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int = 1
    ) -> list[Answer]:
        """See `answers`."""
        return answers(self.settings, module, ability, asked, beams)

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """How well each task is done, beside the same with another's image."""
        from septet.trainers.ofa.measures import evaluators

        return evaluators(self, held_out)
