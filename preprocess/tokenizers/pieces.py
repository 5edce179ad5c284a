"""SentencePiece models: opened, read, and learnt in small form for trying out."""

import io
from collections.abc import Iterable
from typing import Any

from septet.preprocess import files

try:
    import sentencepiece
except ImportError as error:
    raise ImportError(f"this tokenizer needs {error.name}: pip install 'septet[train]'") from error


def open_model(model: bytes, name: str) -> Any:
    """Open a model as a `SentencePieceProcessor`.

    Args:
        model: Content of a SentencePiece model.
        name: The tokenizer's name, for messages.

    Raises:
        ValueError: it is no such model.
    """
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError(f"{name} is no SentencePiece model: {error}") from error


def read_model(path: str) -> bytes:
    """Read a model's file, local or remote.

    Raises:
        ValueError: there is none.
    """
    if not files.exists(path):
        raise ValueError(f"no such SentencePiece model: {path}")
    return files.read_bytes(path)


def learn_model(texts: Iterable[str], pieces: int, **more: Any) -> bytes:
    """Learn a model of byte-pair encoding that knows all of printable ASCII; a pure function of its
    arguments.

    Args:
        texts: The texts to learn from.
        pieces: The greatest number of pieces of the model.
        more: Further arguments of `SentencePieceTrainer.train`.
    """
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, model_type="bpe", num_threads=1,
        vocab_size=pieces, required_chars="".join(map(chr, range(0x21, 0x7F))),
        character_coverage=1.0, minloglevel=2, **more,
    )  # fmt: skip
    return out.getvalue()
