"""What does not match: captions, objects and answers of a whole corpus, from its side files.

    python -m septet.trainers.ofa.lists CORPUS

writes `captions.txt` (each caption once), `objects.txt` (the words of its column `objects`, where
there is one) and `answers.jsonl` (the answers of its column `questions` by kind) into the corpus's
folder.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.reader import ColumnShardReader, column_names
from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.side import Lines, SideFiles

T = TypeVar("T")

EXCHANGED = 0.4
"""Probability that a caption that does not match is its own with an object exchanged."""
NUMBER = "number"
"""The kind of questions that ask how many."""
OTHER = "other"
"""The kind of answers for questions that few agreed on, and of all without a kind."""


class Negatives:
    """Draws captions and answers that do not match.

    Rows of a held-out corpus take the lists of the first that is trained on.

    Args:
        side: Of the corpora.
        names: Of the files of captions, objects and answers.

    Raises:
        ValueError: a list is empty, or two corpora have one name.
    """

    def __init__(self, side: Sequence[SideFiles] = (), names: Sequence[str] = ("", "", "")):
        self._captions: dict[str, Lines] = {}
        self._objects: dict[str, Lines] = {}
        self._answers: dict[str, dict[str, list[str]]] = {}
        captions, objects, answers = names
        if len({each.corpus for each in side}) < len(side):
            raise ValueError(
                "two corpora of a mix have one name, so their lists cannot be told apart: found "
                + ", ".join(each.corpus for each in side)
            )
        for each in side:
            if captions in each.paths:
                self._captions[each.corpus] = each.lines(captions)
                self._objects[each.corpus] = each.lines(objects)
                if not len(self._captions[each.corpus]):
                    raise ValueError(f"{each.paths[captions]}: no caption is listed")
            if answers in each.paths:
                rows = (json.loads(line) for line in each.lines(answers))
                self._answers[each.corpus] = {row["kind"]: row["answers"] for row in rows}
                if not self._answers[each.corpus].get(OTHER):
                    raise ValueError(f"{each.paths[answers]}: no answer of the kind {OTHER}")

    def caption(
        self, draw: np.random.Generator, corpus: str, caption: str, objects: Sequence[str]
    ) -> str:
        """Another caption; or with probability 0.4, where objects are known, the same with one of
        them exchanged."""
        others = _of(self._objects, corpus)
        told = [name for name in objects if name in caption.lower()]
        if told and len(others) > 1 and draw.random() < EXCHANGED:
            old = told[int(draw.integers(len(told)))]
            new = _other(draw, others, old)
            return caption.lower().replace(old, new)
        return _other(draw, _of(self._captions, corpus), caption)

    def answer(
        self, draw: np.random.Generator, corpus: str, right: str, kind: str, sure: float
    ) -> str:
        """Another answer: of the same kind where people agreed on the right one, or for a number
        with equal probability the next one; else of the kind `other`."""
        answers, dice = _of(self._answers, corpus), draw.random()
        alike = answers.get(kind, [])
        if sure > dice + 0.1 and right in alike and len(alike) > 1:
            if kind == NUMBER and right.isdigit() and dice > 0.5:
                return str(int(right) + (1 if right == "0" or draw.random() < 0.5 else -1))
            others = alike
        else:
            others = answers[OTHER]
        return _other(draw, others, right)


def _of(lists: Mapping[str, T], corpus: str) -> T:
    """A corpus's own list; of a corpus that is held out, that of the first that is trained on."""
    return lists[corpus] if corpus in lists else next(iter(lists.values()))


def _other(draw: np.random.Generator, told: Sequence[str], own: str) -> str:
    """A line of several that is not one's own; for that the next one stands in."""
    i = int(draw.integers(len(told)))
    return told[(i + 1) % len(told)] if told[i] == own else told[i]


def write(path: str) -> None:
    """Write the three side files of a corpus.

    Raises:
        ValueError: it, or one of its columns, cannot be read.
    """
    corpus, have = Corpus(path), column_names(path)
    captions = dict.fromkeys(" ".join(v.decode().split()) for v in _members(corpus))
    objects: dict[str, None] = {}
    for value in _values(corpus, "objects") if "objects" in have else ():
        objects |= dict.fromkeys(value["objects"])
    answers: dict[str, dict[str, None]] = defaultdict(dict)
    for value in _values(corpus, "questions") if "questions" in have else ():
        for pair in value["pairs"]:
            answers[pair["kind"] or OTHER][pair["answer"].lower()] = None
    if OTHER not in answers:
        answers[OTHER] = {told: None for each in list(answers.values()) for told in each}
    rows = [json.dumps({"kind": k, "answers": list(v)}) for k, v in sorted(answers.items())]
    found = {"captions.txt": filter(None, captions), "objects.txt": objects, "answers.jsonl": rows}
    for name, lines in found.items():
        data = "".join(f"{line}\n" for line in lines).encode()
        files.write_bytes(files.join(path, name), data)


def _members(corpus: Corpus) -> Iterator[bytes]:
    """The text of each sample that has one."""
    for shard in range(len(corpus.shards)):
        reader = corpus.shard(shard)
        for row in corpus.rows(shard).tolist():
            yield from reader.read(row, frozenset({"txt"}), crc32).values()


def _values(corpus: Corpus, column: str) -> Iterator[dict[str, Any]]:
    """A column's values."""
    for shard in range(len(corpus.shards)):
        reader = ColumnShardReader(corpus, column, shard)
        for row in corpus.rows(shard).tolist():
            yield from (json.loads(v) for v in reader.read(row, None, crc32).values() if v)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m septet.trainers.ofa.lists CORPUS")
    try:
        write(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
