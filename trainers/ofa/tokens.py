"""OFA's vocabulary: words, image codes and box bins, numbered in one row.

Words are the pieces of GPT-2's byte-level BPE in the order of fairseq's `dict.txt` (BART's): <s>,
<pad>, </s>, <unk>, pieces by frequency, <mask>. Behind them come the image codes, then the bins.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from septet.preprocess.boxes.tokens import Ofa as Bins
from septet.preprocess.synthetic.languages import caption, phrases, questions
from septet.preprocess.synthetic.scenes import captions, make_scene
from septet.preprocess.text.words import UNSPACED
from septet.trainers.mixture.instructions import Instructions
from septet.trainers.ofa.settings import END, PAD, SPECIALS, START, OfaSettings

SCENES = "scenes"
ENGLISH = "en"
"""What the published weights are asked in."""
UNKNOWN = "<unk>"

Ids = NDArray[np.int64]

_SPACE = "Ġ"
"""Byte-level BPE's sign for a space."""
_LETTER = regex.compile(f"[{UNSPACED}]")


@lru_cache(1)
def instructions() -> Instructions:
    """What OFA is asked."""
    return Instructions.load("septet.trainers.ofa")


class Vocabulary:
    """Texts, image codes and boxes to ids, and back."""

    def __init__(self, pieces: dict[str, int], merges: list[tuple[str, str]], s: OfaSettings):
        """
        Args:
            pieces: Ids of GPT-2's pieces, from 4.
            merges: Of BPE, in order.
            s: Sizes.

        Raises:
            ValueError: there are more pieces than words, or ids that are not theirs.
        """
        most = s.words - 1  # The last is <mask>.
        ids = sorted(pieces.values())
        if not ids or ids[0] < SPECIALS or ids[-1] >= most or len(set(ids)) != len(ids):
            raise ValueError(
                f"pieces have ids from {SPECIALS} to {most - 1}, as model.words is {s.words}; "
                f"found {len(ids)} from {ids[:1]} to {ids[-1:]}"
            )
        self._s = s
        self._words = Tokenizer(models.BPE({**pieces, UNKNOWN: 3}, merges, unk_token=UNKNOWN))
        self._words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._words.decoder = decoders.ByteLevel()
        self._starts = np.zeros(s.words, np.bool_)
        self._starts[[i for piece, i in pieces.items() if piece.startswith(_SPACE)]] = True
        self._space = pieces.get(_SPACE, -1)
        self.first_code, self.first_bin = s.words, s.words + s.codes

    def encode(self, text: str) -> Ids:
        """Ids of a text as it stands; those of models begin with a space."""
        return np.array(self._words.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to the end, without what are no words."""
        found = []
        for i in ids:
            if i == END:
                break
            if SPECIALS <= i < self._s.mask:
                found.append(int(i))
        return self._words.decode(found, skip_special_tokens=False).strip()

    def encode_words(self, text: str) -> tuple[Ids, NDArray[np.bool_]]:
        """Ids of a text as it stands, and which of them begin a word: a space is before them, or
        they begin a letter of a script without spaces (a piece may have several)."""
        found = self._words.encode(text, add_special_tokens=False)
        ids = np.array(found.ids, np.int64)
        begins = self._starts[ids]
        letters, last = {match.start() for match in _LETTER.finditer(text)}, 0
        for i, (first, end) in enumerate(found.offsets if letters else ()):
            # Pieces of one letter's bytes all have its place: the first of them begins it.
            if not letters.isdisjoint(range(max(first, last), end)):
                begins[i] |= i == 0 or ids[i - 1] != self._space
            last = end
        return ids, begins

    def codes(self, codes: ArrayLike) -> Ids:
        """Image codes, row by row, as ids."""
        found = np.asarray(codes, np.int64).reshape(-1)
        if found.size and not 0 <= found.min() <= found.max() < self._s.codes:
            raise ValueError(f"image codes are below model.codes={self._s.codes}")
        return found + self.first_code

    def image_codes(self, ids: ArrayLike) -> Ids:
        """The inverse of `codes`, int64 [n], of those ids that are codes."""
        found = np.asarray(ids, np.int64).reshape(-1) - self.first_code
        return found[(found >= 0) & (found < self._s.codes)]

    def boxes(self, corners: ArrayLike, side: int) -> Ids:
        """Boxes, as shares of an input of `side` pixels, to four ids each, [n, 4]."""
        return self._bins(side).encode(corners) + self.first_bin

    def corners(self, ids: ArrayLike, side: int) -> NDArray[np.float64]:
        """The inverse of `boxes`, clipped to the image, [n, 4]; ids [n, 4]."""
        found = np.asarray(ids, np.int64).reshape(-1, 4) - self.first_bin
        return np.clip(self._bins(side).decode(found), 0.0, 1.0)

    def is_bin(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Which ids are bins."""
        return np.asarray(ids) >= self.first_bin

    def objects(self, ids: Iterable[int], side: int) -> list[tuple[NDArray[np.float64], str]]:
        """Boxes of a written list of objects, each with the words behind it; what is no whole box
        is left out."""
        found, box, words = [], list[int](), list[int]()
        for i in [*(i for i in ids if i not in (START, PAD)), END]:
            if i >= self.first_bin or i == END:
                if words or i == END:
                    if len(box) == 4:
                        found.append((self.corners(box, side)[0], self.decode(words)))
                    box, words = [], []
                if i == END:
                    break
                box.append(i)
            else:
                words.append(i)
        return found

    def _bins(self, side: int) -> Bins:
        return Bins(size=side, max_image_size=self._s.binned, bins=self._s.bins)


@lru_cache(4)
def vocabulary(s: OfaSettings) -> Vocabulary:
    """The vocabulary that settings name.

    Raises:
        ValueError: there is none, or a file is missing or of another kind.
    """
    if s.vocabulary is None:
        raise ValueError(
            "texts need a vocabulary: --set model.vocabulary=FOLDER with OFA's dict.txt and "
            "GPT-2's encoder.json and vocab.bpe, or with vocab.json and merges.txt of a port"
        )
    if s.vocabulary == SCENES:
        return _learnt(s)
    folder = Path(s.vocabulary)
    for ids, merges in (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")):
        if (folder / ids).exists() and (folder / merges).exists():
            break
    else:
        raise ValueError(
            f"{folder} holds neither encoder.json and vocab.bpe nor vocab.json and merges.txt"
        )
    pieces: dict[str, int] = json.loads((folder / ids).read_text(encoding="utf-8"))
    lines = (folder / merges).read_text(encoding="utf-8").splitlines()
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if ids == "encoder.json":
        pieces = _in_order(pieces, folder / "dict.txt")
    else:
        pieces = {p: i for p, i in pieces.items() if SPECIALS <= i < s.mask}
    return Vocabulary(pieces, [(a, b) for a, b in pairs], s)


def _in_order(pieces: dict[str, int], path: Path) -> dict[str, int]:
    """GPT-2's pieces by the ids of fairseq's dictionary, whose lines are "GPT-2's id, count"."""
    if not path.exists():
        raise ValueError(f"{path} is missing: it says in which order GPT-2's pieces are numbered")
    names = {str(i): piece for piece, i in pieces.items()}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        name = line.rpartition(" ")[0]
        if name in names:  # Others are fillers.
            found[names[name]] = SPECIALS + number
    if len(found) != len(pieces):
        lacks = len(pieces) - len(found)
        raise ValueError(f"{path} has no line for {lacks} of {len(pieces)} pieces of GPT-2's")
    return found


def _asked(languages: Sequence[str]) -> list[str]:
    """What OFA is asked in some languages, names standing for parts."""
    told = instructions()
    return [
        told.fill(task, language, **{part: part for part in told.parts(task)})
        for task in told.tasks
        for language in (languages if told.languages(task) else languages[:1])
    ]


def _learnt(s: OfaSettings) -> Vocabulary:
    """Pieces of what OFA is asked, and of scenes' captions, phrases and questions."""
    told = _asked(s.languages or (ENGLISH,))
    for scene in (make_scene(0, i) for i in range(300)):
        told += [f" {text}" for text in captions(scene)]
        for language in dict.fromkeys((ENGLISH, *s.languages)):
            told += [f" {caption(scene, language)}"] if language != ENGLISH else []
            told += [f" {phrase}" for phrase, _ in phrases(scene, language)]
            told += [f" {pair.question.lower()}" for pair in questions(scene, language)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = s.words - 1 - SPECIALS
    bpe.train_from_iterator(
        told,
        trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False),
    )
    learnt = json.loads(bpe.to_str())["model"]
    pieces = {piece: SPECIALS + i for piece, i in learnt["vocab"].items()}
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    return Vocabulary(pieces, [(a, b) for a, b in merges], s)
