"""Measures that several models share.

Ranks share the samples: batch b of a held-out corpus is read and run by rank b modulo their number
alone. Figures do not depend on how many ranks there are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.order import generator
from septet.trainers.loader.source import Members, stack
from septet.trainers.task import Batch, Row, SampleError, Stream, Task

T = TypeVar("T")

_LABEL = "class"
"""Beside a row's inputs: its class's number."""


class Retrieval:
    """How often a picture finds its caption among all, and a caption its picture.

    For a task whose outputs are unit vectors `image` and `text`. Figures: recall at 1, 5 and 10
    of both directions, in [0, 1]; chance is k / samples.
    """

    name = "retrieval"

    def __init__(
        self, task: Task, stream: str, corpus: Corpus, samples: int = 1000, batch: int = 64
    ):
        self._task = task
        self._parts = parts(task, stream, corpus, samples, batch)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        found = {}
        for number, part in enumerate(self._parts):
            outputs = self._task.forward(module, part.batch.to(device))
            if part.counts:
                found[number, _rank()[0]] = [outputs[n].float().cpu() for n in ("image", "text")]
        everywhere = {place: pair for each in _gathered(found) for place, pair in each.items()}
        pairs = [everywhere[place] for place in sorted(everywhere)]
        image, text = (torch.cat(side) for side in zip(*pairs, strict=True))
        return {
            **_recalls("image_to_text", image @ text.T),
            **_recalls("text_to_image", text @ image.T),
        }


class ZeroShot:
    """Classification by the nearest class description (CLIP, section 3.1.2): a class's vector is
    the mean of its descriptions' unit vectors, made a unit vector again.

    The corpus needs an image member and `cls`, the class's number as text, as ImageNet's
    WebDataset shards have it. Figures: accuracy at 1 and 5, in [0, 1].
    """

    name = "zero_shot"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        classes: Sequence[str],
        templates: Sequence[str] = ("a photo of a {}.",),
        samples: int = 10_000,
        batch: int = 64,
    ):
        """
        Args:
            task: One that implements `texts`.
            stream: The stream whose image member is read.
            corpus: Labelled pictures.
            classes: Names, in the order of the numbers.
            templates: Descriptions; `{}` stands for the name.
            samples: How many pictures at most.
            batch: Pictures or texts at once.

        Raises:
            ValueError: a template without `{}`, or a label that is no class's number.
        """
        if not classes or not templates or any("{}" not in text for text in templates):
            raise ValueError(
                "zero-shot classification needs class names, and templates with {} for the name; "
                f"found {len(classes)} classes and templates {list(templates)}"
            )
        self._task, self._stream, self._batch = task, stream, batch
        self._classes, self._templates = list(classes), list(templates)
        image = task.streams[stream].members[0]
        members = Members(corpus, Stream((image, "cls")), task)

        def read(shard: int, row: int) -> Row:
            sample = members.read(shard, row)
            label = int(sample["cls"])
            if not 0 <= label < len(classes):
                raise ValueError(
                    f"{members.key(shard, row)}: class {label} of {len(classes)}; give all class "
                    "names"
                )
            inputs = task.read(stream, {"txt": b"", **sample}, None)
            return {**inputs, _LABEL: np.asarray(label)}

        places = [corpus.locate(i) for i in range(min(samples, len(corpus)))]
        self._parts = _share(stream, places, read, batch, corpus.path)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        texts = [text.replace("{}", name) for name in self._classes for text in self._templates]
        vectors = []
        for i in range(0, len(texts), self._batch):
            part = self._task.texts(self._stream, texts[i : i + self._batch])
            vectors.append(self._task.forward(module, part.to(device))["text"].float().cpu())
        means = torch.cat(vectors).view(len(self._classes), len(self._templates), -1).mean(1)
        means = torch.nn.functional.normalize(means, dim=-1)
        right: Counter[str] = Counter()
        for batch, counts in self._parts:
            outputs = self._task.forward(module, batch.to(device))
            ranked = (outputs["image"].float().cpu() @ means.T).argsort(1, descending=True)
            hits = ranked == batch.data[_LABEL][:, None]
            if counts:
                right["rows"] += len(batch)
                right.update({f"accuracy_{k}": int(hits[:, :k].sum()) for k in (1, 5)})
        right = _total(right)
        return {f"accuracy_{k}": right[f"accuracy_{k}"] / right["rows"] for k in (1, 5)}


class Predictions:
    """How often what a task predicts of a row (masked words, matching) is right.

    Rows are read as for training, with randomness that is a function of the key. Figures: the
    share of right predictions by name, in [0, 1]; under `NAME_commonest` that of always saying
    the commonest answer; and for rows with pictures, under `NAME_other_picture`, the first with
    each row seeing its neighbour's picture: what is known without the picture.
    """

    name = "predictions"

    def __init__(
        self,
        task: Task,
        streams: Sequence[str],
        corpus: Corpus,
        labels: Callable[[Batch], Mapping[str, Tensor]],
        samples: int = 512,
        batch: int = 64,
        picture: Sequence[str] = ("pixels",),
    ):
        """
        Args:
            task: Its outputs are scores [n, classes].
            streams: Kinds of rows to predict for.
            corpus: Whose samples are read.
            labels: From a batch to int64 [n] for each of the outputs to compare.
            samples: How many rows of each kind at most.
            batch: Rows at once; even, as tasks may join rows in pairs.
            picture: What a row has of its picture.
        """
        self._task, self._labels, self._picture = task, labels, picture
        self._parts = []
        for stream in streams:
            for part in parts(task, stream, corpus, samples, batch, drawn=True):
                rows, counts = _even(part)
                self._parts.append(Part(task.exchange(rows), counts))

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        answers: dict[str, Counter[int]] = {}
        for part in self._parts:
            batch = part.batch.to(device)
            views = {"": batch}
            if all(name in batch.data for name in self._picture):
                other = {name: batch.data[name].roll(1, 0) for name in self._picture}
                views["_other_picture"] = Batch(batch.stream, {**batch.data, **other})
            labels = self._labels(batch) if part.counts else {}
            for name, expected in labels.items():
                answers.setdefault(name, Counter()).update(expected.tolist())
            for view, seen in views.items():
                outputs = self._task.forward(module, seen)
                for name, expected in labels.items():
                    hits = outputs[name].argmax(1) == expected
                    right[name + view] += int(hits.sum())
                    count[name + view] += len(expected)
        right, count = _total(right), _total(count)
        for name in sorted({name for each in _gathered(list(answers)) for name in each}):
            found = _total(answers.get(name, Counter()))
            right[f"{name}_commonest"] = max(found.values(), default=0)
            count[f"{name}_commonest"] = found.total()
        return {name: right[name] / n for name, n in count.items() if n}


class Matching:
    """Whether a model that scores whole pairs tells which belong together.

    In groups of `group` samples every caption is scored with every picture. Figures: `accuracy`,
    the share of right answers to the pairs that match and as many that do not (chance 0.5); recall
    at 1, 5 and 10 of both directions within the group, by the odds of a match (chance is
    k / group).
    """

    name = "matching"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        picture: Sequence[str],
        samples: int = 256,
        group: int = 32,
    ):
        """
        Args:
            task: Its output `match` [B, 2] scores "they match" and "they do not".
            stream: The stream of pairs.
            corpus: Whose samples are read.
            picture: What a row has of its picture.
            samples: How many at most; the last group may lack some.
            group: Captions that are scored with each picture.
        """
        self._task, self._picture, self._group = task, picture, group
        self._parts = parts(task, stream, corpus, samples, group)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        sums: Counter[str] = Counter()
        for group, counts in self._parts:
            odds = torch.stack([s[:, 0] - s[:, 1] for s in self._scores(module, group, device)])
            n = len(group)
            odds = odds[:n]
            right, wrong = odds.diagonal(), odds.roll(1, 1).diagonal()
            figures = {"accuracy": float(((right > 0).double() + (wrong < 0)).mean() / 2)}
            figures |= _recalls("text_to_image", odds) | _recalls("image_to_text", odds.T)
            if counts:
                sums["rows"] += n
                for name, value in figures.items():
                    sums[name] += value * n  # type: ignore[assignment]
        sums = _total(sums)
        count = sums.pop("rows")
        return {name: value / count for name, value in sums.items()}

    def _scores(self, module: nn.Module, group: Batch, device: torch.device) -> Iterator[Tensor]:
        """Scores [n, 2] of each caption with all pictures of its group; then the last caption's
        again, so that every group takes as many forward passes."""
        for i in range(self._group):
            i = min(i, len(group) - 1)
            data = {
                name: x if name in self._picture else x[i : i + 1].expand_as(x)
                for name, x in group.data.items()
            }
            outputs = self._task.forward(module, Batch(group.stream, data).to(device))
            yield outputs["match"].float().cpu()


class Part(NamedTuple):
    """A batch that a rank runs."""

    batch: Batch
    counts: bool
    """Whether the batch is the rank's own. Sharded modules of all ranks run forward together, so
    where there are fewer batches left than ranks, the others repeat one."""


def parts(
    task: Task, stream: str, corpus: Corpus, most: int, size: int, drawn: bool = False
) -> list[Part]:
    """This rank's share of the first samples, as the task reads them; `drawn` with randomness of
    the key.

    Raises:
        ValueError: there is none, or a column is missing.
    """
    wanted = task.streams[stream]
    members, kept = Members(corpus, wanted, task), Kept(corpus, wanted.columns)
    places = ((s, kept.row(s, i)) for s, count in enumerate(kept.counts) for i in range(count))

    def read(shard: int, row: int) -> Row:
        draw = partial(generator, "measure", members.key(shard, row)) if drawn else None
        return task.read(stream, members.read(shard, row), draw)

    return _share(stream, list(islice(places, most)), read, size, corpus.path)


def _share(
    stream: str,
    places: Sequence[tuple[int, int]],
    read: Callable[[int, int], Row],
    size: int,
    corpus: str,
) -> list[Part]:
    rank, world = _rank()
    cuts = [places[i : i + size] for i in range(0, len(places), size)]
    if not cuts:
        raise ValueError(f"{corpus} has no sample of {stream} to measure on")
    found = []
    for number in range(rank, -(-len(cuts) // world) * world, world):
        rows = []
        for shard, row in cuts[number % len(cuts)]:
            try:
                rows.append(read(shard, row))
            except (SampleError, OSError):
                continue  # Told of by `septet check`; a measure needs no full batch.
        if not rows:
            raise ValueError(
                f"{corpus}: none of {size} samples of {stream} in a row can be measured on; see "
                "`septet check`"
            )
        data = {name: torch.from_numpy(array) for name, array in stack(rows).items()}
        found.append(Part(Batch(stream, data), number < len(cuts)))
    return found


def _even(part: Part) -> Part:
    """Without the last row of an odd number; a single row is doubled, and does not count."""
    rows = len(part.batch) // 2 * 2
    data = {n: x[:rows] if rows else torch.cat([x, x]) for n, x in part.batch.data.items()}
    return Part(Batch(part.batch.stream, data), part.counts and rows > 0)


def _rank() -> tuple[int, int]:
    """This rank, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _gathered(value: T) -> list[T]:
    """Every rank's value, in the order of ranks."""
    _, world = _rank()
    if world == 1:
        return [value]
    found: list[T | None] = [None] * world
    dist.all_gather_object(found, value)
    return found  # type: ignore[return-value]


def _total(counts: Counter[T]) -> Counter[T]:
    """The sum over ranks."""
    total: Counter[T] = Counter()
    for each in _gathered(counts):
        total.update(each)
    return total


def _recalls(name: str, scores: Tensor) -> dict[str, float]:
    """Ties count against the model, so that equal vectors for all score nothing."""
    right = scores.diagonal()[:, None]
    rank = (scores >= right).sum(1) - 1
    return {f"{name}_r{k}": float((rank < k).double().mean()) for k in (1, 5, 10)}
