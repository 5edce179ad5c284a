"""From a sample's bytes to a row of M6: up to three segments, an image's pieces, a source text and
a target text (M6, section 3). Everything random comes from a generator that is a pure function of
(seed, stream, key, epoch).

| task | image | source | target |
|---|---|---|---|
| `denoising` | | text with hidden spans | the text |
| `language_modelling` | | | text |
| `captioning` | yes | | caption |
| `image_denoising` | yes | caption with hidden spans | the caption |
| `drawing` | | caption | image codes |
"""

import numpy as np
import regex
import torch
from numpy.typing import NDArray
from PIL import Image

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Sample
from septet.preprocess.tokenizers.wordpiece import WordPiece
from septet.schemas.columns import ColumnManifest
from septet.trainers.inputs import images, wordpieces
from septet.trainers.inputs.codes import CodeGrid, MeanColours
from septet.trainers.inputs.masks import Ids
from septet.trainers.inputs.members import image_file, note, text
from septet.trainers.m6.settings import END, MASK, PAD, PIECES, START, M6Settings
from septet.trainers.m6.spans import hidden_tokens, masked_alone, with_masks
from septet.trainers.task import Batch, Languages, Lengths, Row, SampleError, Stream

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], over ImageNet, as torchvision's ResNets are trained with."""

SEEING = ("captioning", "image_denoising")
"""Tasks with an image before the text."""
HIDING = ("denoising", "image_denoising")
"""Tasks whose source is a text with hidden spans."""

_HAN = regex.compile(r"\p{Han}")


def tokenizer(s: M6Settings) -> WordPiece:
    """The word pieces that settings name.

    Raises:
        ValueError: there are none, or special pieces have other ids than BERT-Chinese's.
    """
    found = wordpieces.tokenizer(s.vocabulary, s.words)
    special = (found.pad, found.start, found.end, found.mask)
    if special != (PAD, START, END, MASK):
        raise ValueError(
            f"vocabulary {s.vocabulary} has [PAD], [CLS], [SEP], [MASK] at {special}: expected "
            f"{(PAD, START, END, MASK)}, as BERT-Chinese's vocab.txt has them"
        )
    return found


def stream(task: str, s: M6Settings) -> Stream:
    """What a task reads."""
    members: tuple[str, ...] = ("txt",)
    columns: tuple[str, ...] = ()
    if task in SEEING or task == "drawing":
        members = (IMAGE, "txt")
    if task in SEEING and not s.stages:
        members, columns = ("txt",), (s.patches_column,)
    if task == "drawing" and s.codes_column:
        columns = (s.codes_column,)
    languages = Languages(only=s.languages) if s.languages else None
    tokens = PIECES if task in SEEING else 0
    return Stream(
        members, columns, tokens=tokens, lengths=lengths(task, s), languages=languages,
        together=s.experts.group_rows if s.experts else 1,
    )  # fmt: skip


def lengths(task: str, s: M6Settings) -> dict[str, Lengths]:
    """Buckets of a task's source and target."""
    longest = {"target": s.text_tokens + 1}
    if task in HIDING:
        longest = {"source": s.hidden_tokens, "target": s.hidden_tokens + 1}
        if s.target == "masked":
            longest["target"] = s.longest_masked + 1
    if task == "drawing":
        longest = {"source": s.text_tokens, "target": s.code_grid**2 + 1}
    steps = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
    return {
        name: Lengths((*(n for n in steps if n < most), most), PAD)
        for name, most in longest.items()
    }


def check_column(name: str, manifest: ColumnManifest, s: M6Settings) -> None:
    """Whether a column's values are what the model reads; see `Task.check_column`.

    Raises:
        ValueError: they are not.
    """
    if name == s.codes_column:
        code_grid(s).check(name, manifest)
    if name == s.patches_column and not s.stages:
        form = manifest.member.arrays.get("patches")
        shape = None if form is None else tuple(form.shape)
        size = manifest.member.notes.get("size")
        if shape != (PIECES, s.features) or size != s.image_size:
            raise ValueError(
                f"column {name!r} has patches of shape {shape} of images of {size} pixels; the "
                f"model needs {(PIECES, s.features)} of model.image_size={s.image_size}: annotate "
                f"with --column patches size={s.image_size}"
            )


def read(task: str, sample: Sample, s: M6Settings, draw: np.random.Generator) -> Row:
    """A sample as model inputs.

    | input | |
    |---|---|
    | `target` | int64, as long as it is; [SEP] at its end, unless the text goes on |
    | `source` | int64, as long as it is; of tasks with a source |
    | `patches` | float16 [16, F]; of tasks with an image, from a column |
    | `pixels` | uint8 [P, P, 3]; of tasks with an image, for a ResNet in the graph |

    Raises:
        SampleError: the sample cannot be used for this task.
    """
    told = caption(sample, s)
    most = s.hidden_tokens if task in HIDING else s.text_tokens
    captioned = task in SEEING or task == "drawing"
    read = most + 1 if captioned else None  # What is further behind is never used.
    ids = np.array(tokenizer(s).encode(told, read).ids, np.int64)
    if not len(ids):
        raise SampleError("the text has no word piece", "empty_text")
    goes_on = len(ids) > most
    if goes_on:
        note(sample, "cut")
        # A caption from its start, a text from anywhere.
        begin = 0 if captioned else int(draw.integers(len(ids) - most + 1))
        goes_on = begin + most < len(ids)
        ids = ids[begin : begin + most]
    if task == "drawing":
        return {"source": ids, "target": np.append(drawn(sample, s, draw), END)}
    seen = {} if task not in SEEING else image_inputs(sample, s)
    if task not in HIDING:
        return {"target": _ended(ids, goes_on), **seen}
    hidden = hidden_tokens(draw, len(ids), s.hidden)
    target = _ended(ids, goes_on)
    if s.target == "masked":
        target = _ended(masked_alone(ids, hidden, MASK), False)
    return {"source": with_masks(ids, hidden, MASK), "target": target, **seen}


def caption(sample: Sample, s: M6Settings) -> str:
    """The sample's text.

    Raises:
        SampleError: it is empty; or Chinese alone is read, and it has no Chinese character.
    """
    told = text(sample)
    if not told.strip():
        raise SampleError("the text is empty", "empty_text")
    if s.languages == ("zh",) and not _HAN.search(told):
        raise SampleError("the text has no Chinese character", "other_language")
    return told


def _ended(ids: Ids, goes_on: bool) -> Ids:
    """With [SEP], unless the text goes on."""
    return ids if goes_on else np.append(ids, END)


def image_inputs(sample: Sample, s: M6Settings) -> Row:
    """`patches` or `pixels`, see `read`.

    Raises:
        SampleError: the image cannot be decoded, or the column has another number of values.
    """
    if s.stages:
        return {"pixels": square(images.decode(image_file(sample), s.image_size), s.image_size)}
    values = np.frombuffer(sample[s.patches_column], "<f2")
    if values.size != PIECES * s.features:
        raise SampleError(
            f"column {s.patches_column} has {values.size} values, not {PIECES} x {s.features}",
            "no_value",
        )
    return {"patches": values.reshape(PIECES, s.features)}


def square(image: images.Pixels, side: int) -> images.Pixels:
    """The whole image, squeezed to side x side: bicubic by Pillow, as the column has it."""
    if image.shape[:2] == (side, side):
        return np.array(image)
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def code_grid(s: M6Settings) -> CodeGrid:
    """The codes that are drawn."""
    return CodeGrid("vqgan", s.code_side, s.code_grid, s.codes)


def drawn(sample: Sample, s: M6Settings, draw: np.random.Generator) -> NDArray[np.int64]:
    """The image as codes, row by row, behind the words: int64 [grid * grid].

    Raises:
        SampleError: the image cannot be decoded, or the column is another image's.
    """
    grid, data = code_grid(s), image_file(sample)
    if s.codes_column:
        row = grid.stored_view(data, sample[s.codes_column], s.codes_column, grid.side, draw)
        return row["codes"] + s.words
    pixels = square(images.decode(data), grid.side)
    part = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return MeanColours(s.code_side).codes(part).numpy().reshape(-1) + s.words


def example(task: str, rows: int, s: M6Settings) -> Batch:
    """An empty batch of what `read` gives, at its longest."""
    data = {
        name: torch.full((rows, each.buckets[-1]), START)
        for name, each in reversed(lengths(task, s).items())
    }
    if task in SEEING and s.stages:
        data["pixels"] = torch.zeros(rows, s.image_size, s.image_size, 3, dtype=torch.uint8)
    elif task in SEEING:
        data["patches"] = torch.zeros(rows, PIECES, s.features, dtype=torch.float16)
    return Batch(task, data, places={"tokens": torch.arange(data["target"].numel())})


def model_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """What comes before the target, for `model.M6.encode`: besides, without a source or an image,
    how many rows there are."""
    data = batch.data
    found = {name: x for name, x in data.items() if name in ("source", "patches")}
    if "pixels" in data:
        found["pixels"] = images.normalise(data["pixels"], MEAN, STD)
    return found or {"rows": data["target"][:, :0]}


def real_tokens(batch: Batch) -> torch.Tensor:
    """How many tokens and pieces of images a batch has, padding left out, int64 []."""
    data = batch.data
    texts = [(data[name] != PAD).sum() for name in ("source", "target") if name in data]
    pieces = PIECES * len(batch) if "patches" in data or "pixels" in data else 0
    return torch.stack(texts).sum() + pieces
