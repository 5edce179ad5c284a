"""CLIP's training: pairs in, one symmetric contrastive loss over the global batch out."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.images.crops import random_box
from septet.preprocess.shards.reader import Corpus, Sample
from septet.preprocess.tokenizers.clip import VOCABULARY, clip_tokenizer
from septet.trainers.clip.match import ABILITIES, match
from septet.trainers.clip.model import Bottleneck, Clip, ClipSettings, Transformer
from septet.trainers.clip.weights import FORMS
from septet.trainers.inputs import images
from septet.trainers.inputs.images import centre, normalise
from septet.trainers.inputs.members import image_file, text
from septet.trainers.measures.retrieval import Retrieval
from septet.trainers.nets.losses import contrastive
from septet.trainers.prediction import Answer, Asked, Pixels
from septet.trainers.task import Batch, Draw, Evaluator, Gather, Row, Stream, SubBatch, Task

MAX_LOGIT_SCALE = math.log(100)
"""The temperature's factor is kept at most 100 (paper, section 2.5). The lower bound, 1, is
open_clip's."""


class ClipTask(Task):
    """See `septet.trainers.task.Task`."""

    loss_weights = {"contrastive": 1.0}  # noqa: RUF012
    forms = FORMS
    pooled = ("image", "text", "scale")
    scalars = ("scale",)
    abilities = ABILITIES

    def __init__(self, settings: ClipSettings, global_batch: int):
        self.settings, self.global_batch = settings, global_batch
        tokens = settings.grid**2 + settings.context
        self.streams = {"pairs": Stream((IMAGE, "txt"), tokens=tokens, distinct=global_batch)}

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """One batch of pairs."""
        return [SubBatch.of("pairs", self.global_batch)]

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """`pixels` uint8 [P, P, 3] and `ids` int64 [T]. In training the image is a
        random crop, see `ClipSettings.crop`."""
        size = self.settings.image_size
        if draw is None:
            pixels = images.centre(images.decode(image_file(sample)), size)
        else:
            image = images.decode(image_file(sample), shortest=size)
            box = random_box(image.shape[0], image.shape[1], draw(), self.settings.crop)
            pixels = images.crop(image, box, size)
        if self.settings.vocabulary < VOCABULARY:
            raise ValueError(
                f"model.vocabulary is {self.settings.vocabulary}, the tokenizer has {VOCABULARY} "
                "pieces: raise it"
            )
        ids = clip_tokenizer()([text(sample)], self.settings.context)[0]
        return {"pixels": pixels, "ids": ids}

    def build(self) -> nn.Module:
        """Both towers."""
        return Clip(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer blocks and ResNet bottlenecks."""
        stacks = [m for m in module.modules() if isinstance(m, Transformer)]
        blocks: list[nn.Module] = [block for stack in stacks for block in stack.resblocks]
        return blocks + [m for m in module.modules() if isinstance(m, Bottleneck)]

    def example(self, stream: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        size, context = self.settings.image_size, self.settings.context
        pixels = torch.empty(rows, size, size, 3, dtype=torch.uint8)
        ids = torch.zeros(rows, context, dtype=torch.int64)
        return Batch(stream, {"pixels": pixels, "ids": ids})

    def texts(self, stream: str, texts: Sequence[str]) -> Batch:
        """See `septet.trainers.task.Task`."""
        return Batch(
            stream, {"ids": torch.from_numpy(clip_tokenizer()(texts, self.settings.context))}
        )

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Pairs."""
        return {"contrastive": len(batch)}

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`image`, `text` [B, E], those of them that the batch has data for, and `scale` [1]."""
        pixels = batch.data.get("pixels")
        if pixels is not None:
            pixels = normalise(pixels)
        image, text, scale = module(pixels, batch.data.get("ids"))
        outputs = {"image": image, "text": text, "scale": scale}
        return {name: x for name, x in outputs.items() if x is not None}

    def pooled_losses(
        self, outputs: dict[str, Tensor], batch: Batch, gather: Gather
    ) -> dict[str, Tensor]:
        """See `losses.contrastive`."""
        image, text, scale = outputs["image"], outputs["text"], outputs["scale"]
        return {"contrastive": contrastive(image, text, scale, gather)}

    def after_step(self, module: nn.Module) -> None:
        """Clamp the temperature; after the update, so that its gradient never dies."""
        assert isinstance(module, Clip)
        module.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def decays(self, name: str, parameter: Tensor) -> bool:
        """Gains, biases, the class token and the temperature are exempt (open_clip's rule up to
        3.2; the paper exempts gains and biases)."""
        return parameter.ndim > 1

    def view(self, ability: str, image: Pixels) -> Pixels:
        """The middle of the image."""
        return centre(image, self.settings.image_size)

    def predict(
        self, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int = 1
    ) -> list[Answer]:
        """See `match`."""
        return match(self, module, asked, self.settings.image_size)

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Retrieval in both directions."""
        return [Retrieval(self, "pairs", held_out)]
