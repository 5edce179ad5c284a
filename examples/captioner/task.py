"""A model that writes captions and names things, added to Septet from outside: docs/add-a-model.md.

One forward pass holds rows of two streams: `captions` gives an image and the caption's first words
and wants the rest; `things` asks what is to be seen. How many rows are of which varies by step.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.draws import generator
from septet.trainers.generate.cache import Cache
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import texts
from septet.trainers.inputs import images
from septet.trainers.inputs.kinds import cross_entropies
from septet.trainers.inputs.members import image_file, text
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.measures.generation import Generation
from septet.trainers.measures.predictions import Predictions
from septet.trainers.nets.layers import at
from septet.trainers.nets.t5 import PAD, T5, T5Settings
from septet.trainers.task import (
    Batch,
    Draw,
    Evaluator,
    Lengths,
    Row,
    SampleError,
    Stream,
    SubBatch,
    Task,
)  # fmt: skip

SIDE, PATCH, WORDS = 64, 16, 256
SIZES = T5Settings(width=96, inner=192, heads=4, head_width=24, layers=2, words=WORDS)
SOURCE, TARGET = Lengths((8, 16, 24)), Lengths((4, 8, 16, 24))
DECODING = Decoding(TARGET.buckets[-1])


class Captioner(T5):
    """A T5 whose encoder sees an image's patches before the words."""

    def __init__(self) -> None:
        super().__init__(SIZES)
        self.patches = nn.Conv2d(3, SIZES.width, PATCH, PATCH)
        self.places = nn.Parameter(torch.randn((SIDE // PATCH) ** 2, SIZES.width))

    def encode(self, pixels: Tensor, source: Tensor) -> Cache:
        """An empty cache over the states of patches and words; see `generate.cache.Generative`."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2) + self.places
        seen = F.pad(source != PAD, (patches.shape[1], 0), value=True)
        memory = self.encoder(torch.cat([patches, self.words(source)], 1), seen)
        return Cache.of(memory, ~seen, SIZES.layers)

    def forward(self, pixels: Tensor, source: Tensor, before: Tensor) -> Tensor:
        """Scores [B, T, words] of what follows each of the words `before` [B, T]."""
        return self.logits(self.decode(before, self.encode(pixels, source)))


class CaptionerTask(Task):
    """See `septet.trainers.task.Task`."""

    kinds = ("answers",)

    def __init__(self, rows: int, asked: float = 0.3):
        self.rows, self.asked = rows, asked
        self.loss_weights = {"words": 1.0}
        lengths = {"source": SOURCE, "target": TARGET}
        stream = Stream((IMAGE, "txt"), tokens=(SIDE // PATCH) ** 2, lengths=lengths)
        self.streams = {"captions": stream, "things": stream}
        self._pieces = tokenizer("scenes", WORDS)

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """One forward pass; how many rows ask for things is drawn."""
        things = int(generator("kind", seed, step).binomial(self.rows, self.asked))
        return [SubBatch("answers", {"captions": self.rows - things, "things": things})]

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """`pixels` uint8 [P, P, 3], `source` and `target` int64, as long as they are."""
        words = text(sample).split()
        if not words:
            raise SampleError("text is empty", "empty_text")
        if stream == "things":
            asked, answer = "what", self.thing(sample)
        else:
            cut = int(draw().integers(len(words))) if draw else 0
            asked, answer = " ".join(["caption", *words[:cut]]), " ".join(words[cut:])
        source = self._pieces.encode(asked, SOURCE.buckets[-1]).ids
        target = [*self._pieces.encode(answer, TARGET.buckets[-1] - 1).ids, self._pieces.end]
        pixels = images.centre(images.decode(image_file(sample)), SIDE)
        return {"pixels": pixels, "source": np.array(source), "target": np.array(target)}

    def build(self) -> nn.Module:
        """The model."""
        return Captioner()

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """All layers."""
        assert isinstance(module, Captioner)
        return [*module.encoder.blocks, *module.decoder.blocks]

    def example(self, kind: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        ids = torch.ones(rows, TARGET.buckets[-1], dtype=torch.int64)
        pixels = torch.zeros(rows, SIDE, SIDE, 3, dtype=torch.uint8)
        places = {"words": torch.arange(ids.numel())}
        return Batch(kind, {"pixels": pixels, "source": ids, "target": ids}, places=places)

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Words to write."""
        return {"words": batch.data["target"] != PAD}

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the encoder sees."""
        return {"pixels": images.normalise(batch.data["pixels"]), "source": batch.data["source"]}

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores of the words to write, [n, words], row by row."""
        before = F.pad(batch.data["target"][:, :-1], (1, 0), value=PAD)
        scores = module(**self.inputs(batch), before=before)
        return {"words": at(scores, self.places(batch)["words"])}

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """The words to write, [n]."""
        return {"words": at(batch.data["target"], self.places(batch)["words"])}

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each word."""
        return cross_entropies(outputs, self.labels(batch))

    def write(self, module: nn.Module, batch: Batch) -> list[str]:
        """What the model writes for each row."""
        assert isinstance(module, Captioner)
        tokens = PAD, self._pieces.end, PAD
        written = texts(module, self.inputs(batch), DECODING, tokens, self._pieces.decode)
        return [text for text, _ in written]

    def thing(self, sample: Sample) -> str:
        """What is to be named."""
        return " ".join(text(sample).split()[-2:])

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Words told right, and things named right, each beside a wrong image's."""
        told = Predictions(self, ["captions"], held_out, self.labels, image=["pixels"])
        return [told, Generation(self, "things", held_out, self.write, self.thing)]
