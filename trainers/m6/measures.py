"""How well M6 does each of its tasks on held-out samples, beside what it does with another's image;
of tasks without an image, with another's source text."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.m6.answers import draw, texts
from septet.trainers.m6.samples import model_inputs, tokenizer
from septet.trainers.m6.settings import PAD, START
from septet.trainers.measures.captions import captions
from septet.trainers.measures.generation import Generation, Score, Write, exact
from septet.trainers.measures.likelier import Likelier
from septet.trainers.measures.tokens import Tokens
from septet.trainers.task import Batch, Evaluator

if TYPE_CHECKING:
    from septet.trainers.m6.task import M6Task

IMAGE = ("pixels", "patches", "source")
"""What a row has of its image, or in place of one."""

WRITTEN = ("captioning", "image_denoising", "denoising", "drawing")
"""Tasks of which it is measured what the model writes by itself; a text that goes on has no end
to write."""


def same_codes(written: Sequence[Any], expected: Sequence[Any]) -> dict[str, float]:
    """`codes`, the share of image codes that are right; for `Generation`."""
    return {"codes": float(np.mean([a == b for a, b in zip(written, expected, strict=True)]))}


def same_captions(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """`exact`, `cider` and `bleu4`; for `Generation`."""
    return {**exact(written, expected), **captions(written, [[text] for text in expected])}


def evaluators(task: "M6Task", held_out: Corpus, samples: int = 256) -> list[Evaluator]:
    """The measures of a run."""
    s = task.settings

    def write_texts(module: nn.Module, batch: Batch) -> Sequence[Any]:
        return [text for text, _ in texts(s, module, model_inputs(batch))]

    def write_codes(module: nn.Module, batch: Batch) -> Sequence[Any]:
        return [codes.reshape(-1) for codes, _ in draw(s, module, model_inputs(batch))]

    def expected(stream: str) -> Callable[[Sample], Any]:
        def told(sample: Sample) -> Any:
            ids = task.read(stream, sample, None)["target"]
            if stream == "drawing":
                return ids[:-1] - s.words
            return tokenizer(s).decode(ids.tolist())

        return told

    found: list[Evaluator] = [Tokens(task, list(task.streams), held_out, samples, image=IMAGE)]
    for stream in (name for name in WRITTEN if name in task.streams):
        score: Score = {"captioning": same_captions, "drawing": same_codes}.get(stream, exact)
        write: Write = write_codes if stream == "drawing" else write_texts
        row = task.example(stream, 1).data
        image = [name for name in IMAGE if name in row][:1]
        found.append(
            Generation(
                task, stream, held_out, write, expected(stream), score, samples, image=image,
                name=stream,
            )
        )  # fmt: skip
    if "drawing" in task.streams:  # Where things are, a caption does not tell: see the README.
        drawing = Likelier(task, ["drawing"], held_out, model_inputs, START, PAD, samples)
        found.append(drawing)
    return found
