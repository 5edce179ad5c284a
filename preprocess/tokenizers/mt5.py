"""mT5's tokenizer: SentencePiece pieces under their own ids, and sentinels at the top of the table
(Xue et al., arXiv 2010.11934). The published file has 250,000 pieces and 100 sentinels.
"""

from collections.abc import Iterable

from septet.preprocess.tokenizers.pieces import learn_model, open_model, read_model

PAD, END, UNKNOWN = 0, 1, 2
"""<pad>, </s>, <unk>; there is no token that begins a text."""

SENTINELS = 100
"""`<extra_id_0>` has the last id, `<extra_id_1>` the one before."""


class Mt5Tokenizer:
    """mT5's tokenizer, from text to ids and back. Threads may share it.

    Args:
        model: Content of a SentencePiece model.
        name: The tokenizer's name, for messages.
        inside: Whether the model's last pieces are the sentinels, as in the published file; else
            their ids follow the model's.

    Raises:
        ValueError: it is no such model.
    """

    def __init__(self, model: bytes, name: str, inside: bool = True):
        self.name = name
        self._model = open_model(model, name)
        ids = (self._model.pad_id(), self._model.eos_id(), self._model.unk_id())
        if ids != (PAD, END, UNKNOWN):
            raise ValueError(
                f"{name} has <pad>, </s>, <unk> at {ids}: expected {(PAD, END, UNKNOWN)}, as mT5's"
            )
        self._size = len(self._model) + (0 if inside else SENTINELS)
        self._first_sentinel = self._size - SENTINELS

    @classmethod
    def load(cls, path: str) -> "Mt5Tokenizer":
        """Load mT5's `spiece.model`, local or remote.

        Raises:
            ValueError: there is none, or it is no such model.
        """
        return cls(read_model(path), path)

    @classmethod
    def learn(cls, texts: Iterable[str], pieces: int, name: str) -> "Mt5Tokenizer":
        """Learn a small tokenizer (byte-pair encoding of characters) for trying out, with `pieces`
        ids, sentinels among them; it knows all of printable ASCII. A pure function of its
        arguments."""
        model = learn_model(
            texts, pieces - SENTINELS, hard_vocab_limit=False,
            pad_id=PAD, eos_id=END, unk_id=UNKNOWN, bos_id=-1,
        )  # fmt: skip
        return cls(model, name, inside=False)

    def __len__(self) -> int:
        """The number of ids, sentinels among them."""
        return self._size

    def sentinel(self, number: int) -> int:
        """The id of `<extra_id_NUMBER>`."""
        assert 0 <= number < SENTINELS
        return self._size - 1 - number

    def encode(self, text: str) -> list[int]:
        """Encode a text to ids, without </s>. No text gives a sentinel."""
        ids: list[int] = self._model.encode(text)
        return [i if i < self._first_sentinel else UNKNOWN for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to text, up to the first </s>; pads and sentinels are left out."""
        pieces = []
        for i in ids:
            if i == END:
                break
            if UNKNOWN < i < self._first_sentinel:
                pieces.append(int(i))
        text: str = self._model.decode(pieces)
        return text
