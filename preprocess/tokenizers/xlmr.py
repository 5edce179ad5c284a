"""XLM-R's tokenizer, which BEiT-3 uses with a SentencePiece model of its own (`beit3.spm`): the
model's pieces in fairseq's numbering. Case is kept; white space is a piece's first letter.
"""

import io
from collections.abc import Iterable

from septet.preprocess import files

try:
    import sentencepiece
except ImportError as error:
    raise ImportError(f"this tokenizer needs {error.name}: pip install 'septet[train]'") from error

START, PAD, END, UNKNOWN = 0, 1, 2, 3
"""<s>, <pad>, </s>, <unk>; pieces follow from 4, <mask> comes last."""
FIRST_PIECE = 4

_MOVED = 1
"""The model's own special pieces are three (<unk>, <s>, </s>); fairseq's are four."""


class XlmrTokenizer:
    """Text to ids and back. Threads may share it.

    Args:
        model: Content of a SentencePiece model.
        name: Of the tokenizer, for messages.

    Raises:
        ValueError: it is no such model.
    """

    def __init__(self, model: bytes, name: str):
        self.name = name
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"{name} is no SentencePiece model: {error}") from error
        ids = (self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        if ids != (0, 1, 2):
            raise ValueError(
                f"{name} has <unk>, <s>, </s> at {ids}: expected (0, 1, 2), as XLM-R's and BEiT-3's"
            )
        self._unknown = self._model.unk_id()
        self.mask = len(self._model) + _MOVED

    @classmethod
    def load(cls, path: str) -> "XlmrTokenizer":
        """From a file such as `beit3.spm`, local or remote.

        Raises:
            ValueError: there is none, or it is no SentencePiece model.
        """
        if not files.exists(path):
            raise ValueError(f"no such SentencePiece model: {path}")
        return cls(files.read_bytes(path), path)

    @classmethod
    def learn(cls, texts: Iterable[str], pieces: int, name: str) -> "XlmrTokenizer":
        """A small one (byte-pair encoding of characters) for trying out, with at most `pieces`
        ids; it knows all of printable ASCII. A pure function of its arguments."""
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=out, model_type="bpe", num_threads=1,
            vocab_size=pieces - 1 - _MOVED, required_chars="".join(map(chr, range(0x21, 0x7F))),
            character_coverage=1.0, minloglevel=2,
        )  # fmt: skip
        return cls(out.getvalue(), name)

    def __len__(self) -> int:
        """How many ids there are, <mask> among them."""
        return self.mask + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without <s> and </s>."""
        ids: list[int] = self._model.encode(text)
        return [UNKNOWN if i == self._unknown else i + _MOVED for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones are left out."""
        pieces = [i - _MOVED for i in ids if FIRST_PIECE <= i < self.mask]
        text: str = self._model.decode(pieces)
        return text
