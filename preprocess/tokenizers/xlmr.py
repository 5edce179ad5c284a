"""XLM-R's tokenizer, which BEiT-3 uses with a SentencePiece model of its own (`beit3.spm`): the
model's pieces in fairseq's numbering. Case is kept; white space is a piece's first letter.
"""

from collections.abc import Iterable

from septet.preprocess.tokenizers.pieces import learn_model, open_model, read_model

START, PAD, END, UNKNOWN = 0, 1, 2, 3
"""<s>, <pad>, </s>, <unk>; pieces follow from 4, <mask> comes last."""
FIRST_PIECE = 4

_MOVED = 1
"""The model's own special pieces are three (<unk>, <s>, </s>); fairseq's are four."""


class XlmrTokenizer:
    """XLM-R's tokenizer, from text to ids and back. Threads may share it.

    Args:
        model: Content of a SentencePiece model.
        name: The tokenizer's name, for messages.

    Raises:
        ValueError: it is no such model.
    """

    def __init__(self, model: bytes, name: str):
        self.name = name
        self._model = open_model(model, name)
        ids = (self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        if ids != (0, 1, 2):
            raise ValueError(
                f"{name} has <unk>, <s>, </s> at {ids}: expected (0, 1, 2), as XLM-R's and BEiT-3's"
            )
        self._unknown = self._model.unk_id()
        self.mask = len(self._model) + _MOVED

    @classmethod
    def load(cls, path: str) -> "XlmrTokenizer":
        """Load a model's file such as `beit3.spm`, local or remote.

        Raises:
            ValueError: there is none, or it is no SentencePiece model.
        """
        return cls(read_model(path), path)

    @classmethod
    def learn(cls, texts: Iterable[str], pieces: int, name: str) -> "XlmrTokenizer":
        """Learn a small tokenizer (byte-pair encoding of characters) for trying out, with at most
        `pieces` ids; it knows all of printable ASCII. A pure function of its arguments."""
        return cls(learn_model(texts, pieces - 1 - _MOVED), name)

    def __len__(self) -> int:
        """The number of ids, <mask> among them."""
        return self.mask + 1

    def encode(self, text: str) -> list[int]:
        """Encode a text to ids, without <s> and </s>."""
        ids: list[int] = self._model.encode(text)
        return [UNKNOWN if i == self._unknown else i + _MOVED for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to text; special ones are left out."""
        pieces = [i - _MOVED for i in ids if FIRST_PIECE <= i < self.mask]
        text: str = self._model.decode(pieces)
        return text
