"""Measures that several models share."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from preprocess.shards.reader import Corpus
from trainers.loader.kept import Kept
from trainers.loader.order import generator
from trainers.loader.source import Members, stack
from trainers.task import Batch, Row, SampleError, Stream, Task


class Retrieval:
    """How often a picture finds its caption among all, and a caption its picture.

    For a task whose outputs are unit vectors `image` and `text`. Figures: recall at 1, 5 and 10
    of both directions, in [0, 1]; chance is k / samples.
    """

    name = "retrieval"

    def __init__(
        self, task: Task, stream: str, corpus: Corpus, samples: int = 1000, batch: int = 64
    ):
        self._task, self._stream, self._batch = task, stream, batch
        self._rows = _rows(task, stream, corpus, samples)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `trainers.task.Evaluator`."""
        found: dict[str, list[Tensor]] = {"image": [], "text": []}
        for i in range(0, len(self._rows), self._batch):
            arrays = stack(self._rows[i : i + self._batch])
            data = {name: torch.from_numpy(array) for name, array in arrays.items()}
            outputs = self._task.forward(module, Batch(self._stream, data).to(device))
            for name, parts in found.items():
                parts.append(outputs[name].float().cpu())
        image, text = torch.cat(found["image"]), torch.cat(found["text"])
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
        self._rows, self._labels = [], []
        for index in range(min(samples, len(corpus))):
            sample = members.read(*corpus.locate(index))
            label = int(sample["cls"])
            if not 0 <= label < len(classes):
                raise ValueError(
                    f"{corpus.key(index)}: class {label} of {len(classes)}; give all class names"
                )
            self._rows.append(task.read(stream, {"txt": b"", **sample}, None))
            self._labels.append(label)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `trainers.task.Evaluator`."""
        texts = [text.replace("{}", name) for name in self._classes for text in self._templates]
        vectors = []
        for i in range(0, len(texts), self._batch):
            part = self._task.texts(self._stream, texts[i : i + self._batch])
            vectors.append(self._task.forward(module, part.to(device))["text"].float().cpu())
        means = torch.cat(vectors).view(len(self._classes), len(self._templates), -1).mean(1)
        means = torch.nn.functional.normalize(means, dim=-1)
        right = {1: 0, 5: 0}
        for i in range(0, len(self._rows), self._batch):
            arrays = stack(self._rows[i : i + self._batch])
            data = {name: torch.from_numpy(array) for name, array in arrays.items()}
            outputs = self._task.forward(module, Batch(self._stream, data).to(device))
            ranked = (outputs["image"].float().cpu() @ means.T).argsort(1, descending=True)
            hits = ranked == torch.tensor(self._labels[i : i + self._batch])[:, None]
            for k in right:
                right[k] += int(hits[:, :k].sum())
        return {f"accuracy_{k}": n / len(self._rows) for k, n in right.items()}


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
        self._batches: list[Batch] = []
        for stream in streams:
            rows = _rows(task, stream, corpus, samples, drawn=True)
            for i in range(0, len(rows) - 1, batch):
                part = rows[i : i + batch]
                arrays = stack(part[: len(part) // 2 * 2])
                data = {name: torch.from_numpy(array) for name, array in arrays.items()}
                self._batches.append(task.exchange(Batch(stream, data)))

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        answers: dict[str, Counter[int]] = {}
        for batch in (b.to(device) for b in self._batches):
            views = {"": batch}
            if all(name in batch.data for name in self._picture):
                other = {name: batch.data[name].roll(1, 0) for name in self._picture}
                views["_other_picture"] = Batch(batch.stream, {**batch.data, **other})
            labels = self._labels(batch)
            for name, expected in labels.items():
                answers.setdefault(name, Counter()).update(expected.tolist())
            for view, seen in views.items():
                outputs = self._task.forward(module, seen)
                for name, expected in labels.items():
                    hits = outputs[name].argmax(1) == expected
                    right[name + view] += int(hits.sum())
                    count[name + view] += len(expected)
        for name, found in answers.items():
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
        self._task, self._stream, self._picture = task, stream, picture
        rows = _rows(task, stream, corpus, samples)
        groups = [stack(rows[i : i + group]) for i in range(0, len(rows), group)]
        self._groups = [{n: torch.from_numpy(x) for n, x in g.items()} for g in groups]

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `trainers.task.Evaluator`."""
        sums: Counter[str] = Counter()
        count = 0
        for group in self._groups:
            odds = torch.stack([s[:, 0] - s[:, 1] for s in self._scores(module, group, device)])
            n = len(odds)
            right, wrong = odds.diagonal(), odds.roll(1, 1).diagonal()
            figures = {"accuracy": float(((right > 0).double() + (wrong < 0)).mean() / 2)}
            figures |= _recalls("text_to_image", odds) | _recalls("image_to_text", odds.T)
            for name, value in figures.items():
                sums[name] += value * n  # type: ignore[assignment]
            count += n
        return {name: value / count for name, value in sums.items()}

    def _scores(
        self, module: nn.Module, group: dict[str, Tensor], device: torch.device
    ) -> Iterator[Tensor]:
        """Scores [n, 2] of each caption with all pictures of its group."""
        n = len(next(iter(group.values())))
        for i in range(n):
            data = {
                name: x if name in self._picture else x[i : i + 1].expand_as(x)
                for name, x in group.items()
            }
            outputs = self._task.forward(module, Batch(self._stream, data).to(device))
            yield outputs["match"].float().cpu()


def _rows(task: Task, stream: str, corpus: Corpus, most: int, drawn: bool = False) -> list[Row]:
    """The first usable samples as model inputs; `drawn` with randomness of the key.

    Raises:
        ValueError: there is none, or a column is missing.
    """
    wanted = task.streams[stream]
    members, kept = Members(corpus, wanted, task), Kept(corpus, wanted.columns)
    places = ((s, kept.row(s, i)) for s, count in enumerate(kept.counts) for i in range(count))
    rows = []
    for shard, row in islice(places, most):
        draw = partial(generator, "measure", members.key(shard, row)) if drawn else None
        try:
            rows.append(task.read(stream, members.read(shard, row), draw))
        except (SampleError, OSError):
            continue  # Told of by `septet check`; a measure needs no full batch.
    if not rows:
        raise ValueError(f"{corpus.path} has no sample of {stream} to measure on")
    return rows


def _recalls(name: str, scores: Tensor) -> dict[str, float]:
    """Ties count against the model, so that equal vectors for all score nothing."""
    right = scores.diagonal()[:, None]
    rank = (scores >= right).sum(1) - 1
    return {f"{name}_r{k}": float((rank < k).double().mean()) for k in (1, 5, 10)}
