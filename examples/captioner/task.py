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
from septet.trainers.generate.cache import Cache, LayerCache
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import write
from septet.trainers.inputs import images
from septet.trainers.inputs.members import image_file, text
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.measures.generation import Generation
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


class Attention(nn.Module):
    """Attention of four heads, whose keys and values may come from a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.pair = nn.Linear(WIDTH, 2 * WIDTH)

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of states [B, T, W], each [B, heads, T, head]."""
        keys, values = self.pair(x).unflatten(2, (8, -1)).transpose(1, 2).chunk(2, 1)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """States [B, T, W] that look where the bool mask `seen` allows."""
        query = self.query(x).unflatten(2, (4, -1)).transpose(1, 2)
        found = F.scaled_dot_product_attention(query, keys, values, seen)
        return self.out(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, cross: bool):
        super().__init__()
        self.own, self.cross = Attention(), Attention() if cross else None
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 384), nn.GELU(), nn.Linear(384, WIDTH))

    def forward(
        self, x: Tensor, seen: Tensor, layer: LayerCache | None = None, cache: Cache | None = None
    ) -> Tensor:
        """States [B, T, W]; a layer of the decoder writes its keys and values into its cache."""
        y = self.norms[0](x)
        keys, values = self.own.pairs(y)
        if layer is not None:
            keys, values = layer.extend(keys, values)
        x = x + self.own(y, keys, values, seen)
        if self.cross is not None and layer is not None and cache is not None:
            if layer.cross_keys is None or layer.cross_values is None:
                layer.cross_keys, layer.cross_values = self.cross.pairs(cache.memory)
            real = ~cache.memory_pads[:, None, None]
            x = x + self.cross(self.norms[1](x), layer.cross_keys, layer.cross_values, real)
        return x + self.mlp(self.norms[2](x))


class Captioner(nn.Module):
    """Patches and words in, words out; see `septet.trainers.generate.cache.Generative`."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(64, WIDTH))
        self.encoder = nn.ModuleList(Block(False) for _ in range(2))
        self.decoder = nn.ModuleList(Block(True) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.words.weight, std=0.05)

    def encode(self, pixels: Tensor, source: Tensor) -> Cache:
        """An empty cache over the states of patches and words."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([patches, self.words(source)], 1)
        x = x + self.places[: x.shape[1]]
        pads = F.pad(source == 0, (patches.shape[1], 0))
        for block in self.encoder:
            x = block(x, ~pads[:, None, None])
        return Cache.of(x, pads, len(self.decoder))

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """States [B, T, W] of new words behind those of the cache."""
        before, after = cache.length, cache.length + ids.shape[1]
        y = self.words(ids) + self.places[before:after]
        seen = torch.ones(ids.shape[1], after, dtype=torch.bool, device=y.device).tril(before)
        for block, layer in zip(self.decoder, cache.layers, strict=True):
            y = block(y, seen, layer, cache)
        cache.length = after
        return self.norm(y)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the words."""
        return hidden @ self.words.weight.T

    def forward(self, pixels: Tensor, source: Tensor, before: Tensor) -> Tensor:
        """Scores [B, T, words] of what follows each of the words `before` [B, T]."""
        return self.logits(self.decode(before, self.encode(pixels, source)))


class CaptionerTask(Task):
    """See `septet.trainers.task.Task`."""

    loss_weights: Mapping[str, float] = {"words": 1.0}
    kinds: Sequence[str] = ["answers"]
    decoding = Decoding(TARGET.buckets[-1])

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

    def write(self, module: nn.Module, batch: Batch) -> list[str]:
        """What the model writes for each row."""
        assert isinstance(module, Captioner)
        inputs = {
            "pixels": images.normalise(batch.data["pixels"]), "source": batch.data["source"]
        }  # fmt: skip
        pieces = self._pieces
        written = write(module, inputs, self.decoding, pieces.start, pieces.end, pieces.pad)
        return [pieces.decode(ids) for ids in written.ids[:, 0].tolist()]

    def thing(self, sample: Sample) -> str:
        """What is to be named."""
        return " ".join(text(sample).split()[-2:])

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Words told right, and things named right, each beside a wrong image's."""
        told = Predictions(self, ["captions"], held_out, self.labels, image=["pixels"])
        return [told, Generation(self, "things", held_out, self.write, self.thing)]
