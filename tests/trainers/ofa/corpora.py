"""Scenes with the columns and lists that OFA reads, really made of what is known of them."""

from pathlib import Path

from septet.trainers.ofa import lists
from tests.corpora import run_annotation
from tests.trainers.corpora import scenes_corpus


def annotated(
    folder: Path,
    count: int,
    first: int = 0,
    things: tuple[int, int] = (1, 1),
    seed: int = 1,
) -> Path:
    """Scenes `first` to `first + count`, by default of one thing each."""
    corpus = scenes_corpus(folder, seed, count, first, things=things)
    run_annotation(corpus, "boxes")
    run_annotation(corpus, "phrases")
    run_annotation(corpus, "questions", {"source": "extra"})
    lists.write(str(corpus))
    return corpus
