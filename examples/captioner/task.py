"""A model that writes captions and names things, added to Septet from outside: docs/add-a-model.md.

One forward pass holds rows of two streams: `captions` gives an image and the caption's first words
and wants the rest; `things` asks what is to be seen. How many rows are of which varies by step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.draws import generator
from septet.trainers.inputs import images
from septet.trainers.inputs.members import image_file, text
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.measures.generation import Generation, greedy
from septet.trainers.measures.predictions import Predictions
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

SIDE, PATCH, WIDTH, WORDS = 64, 16, 96, 256
SOURCE, TARGET = Lengths((8, 16, 24)), Lengths((4, 8, 16, 24))


class Block(nn.Module):
    """A layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, cross: bool):
        super().__init__()
        self.own = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(WIDTH, 4, batch_first=True) if cross else None
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 384), nn.GELU(), nn.Linear(384, WIDTH))

    def forward(self, x: Tensor, hidden: Tensor, seen: Tensor | None = None) -> Tensor:
        """States [B, T, W]; `hidden` masks pads [B, T], or in the decoder what comes later."""
        y = self.norms[0](x)
        pads = {"attn_mask" if self.cross else "key_padding_mask": hidden}
        x = x + self.own(y, y, y, need_weights=False, **pads)[0]
        if self.cross is not None:
            x = x + self.cross(self.norms[1](x), seen, seen, need_weights=False)[0]
        return x + self.mlp(self.norms[2](x))


class Captioner(nn.Module):
    """Patches and words in, words out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(64, WIDTH))
        self.encoder = nn.ModuleList(Block(False) for _ in range(2))
        self.decoder = nn.ModuleList(Block(True) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.words.weight, std=0.05)

    def forward(self, pixels: Tensor, source: Tensor, before: Tensor) -> Tensor:
        """Scores [B, T, words] of what follows each of the words `before` [B, T]."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([patches, self.words(source)], 1)
        x = x + self.places[: x.shape[1]]
        pads = F.pad(source == 0, (patches.shape[1], 0))
        for block in self.encoder:
            x = block(x, pads)
        y = self.words(before) + self.places[: before.shape[1]]
        later = torch.ones(2 * before.shape[1:], dtype=torch.bool, device=y.device).triu(1)
        for block in self.decoder:
            y = block(y, later, x)
        return self.norm(y) @ self.words.weight.T


class CaptionerTask(Task):
    """See `septet.trainers.task.Task`."""

    loss_weights: Mapping[str, float] = {"words": 1.0}
    kinds: Sequence[str] = ["answers"]

    def __init__(self, rows: int, asked: float = 0.3):
        self.rows, self.asked = rows, asked
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
            raise SampleError("text is empty")
        if stream == "things":
            asked, answer = "what", " ".join(words[-2:])
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
        return [*module.encoder, *module.decoder]

    def example(self, kind: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        ids = torch.ones(rows, TARGET.buckets[-1], dtype=torch.int64)
        pixels = torch.zeros(rows, SIDE, SIDE, 3, dtype=torch.uint8)
        return Batch(kind, {"pixels": pixels, "source": ids, "target": ids})

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Words to write."""
        return {"words": (batch.data["target"] != 0).sum()}

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores of the words to write, [n, words], row by row."""
        target = batch.data["target"]
        before = F.pad(target[:, :-1], (1, 0), value=self._pieces.start)
        scores = module(images.normalise(batch.data["pixels"]), batch.data["source"], before)
        return {"words": scores[target != 0] if not target.is_meta else scores.flatten(0, 1)}

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """The words to write, [n]."""
        return {"words": batch.data["target"][batch.data["target"] != 0]}

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each word."""
        labels = self.labels(batch)["words"]
        return {"words": F.cross_entropy(outputs["words"].float(), labels, reduction="sum")}

    def generate(self, module: nn.Module, batch: Batch) -> Tensor:
        """What the model writes, [B, T]."""
        pixels, source = images.normalise(batch.data["pixels"]), batch.data["source"]
        return greedy(
            lambda ids: module(pixels, source, ids)[:, -1], len(batch), self._pieces.start,
            self._pieces.end, TARGET.buckets[-1], source.device,
        )  # fmt: skip

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Words told right, and things named right, each beside a wrong image's."""
        told = Predictions(self, ["captions"], held_out, self.labels, image=["pixels"])
        return [told, Generation(self, "things", held_out, self.generate, "target")]
