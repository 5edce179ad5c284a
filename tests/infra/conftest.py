"""A run that nothing interrupts, for those that are cut short to be compared with."""

from pathlib import Path

import pytest

from tests.trainers.conftest import TINY, settings, train
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same

RANKS, STEPS = 2, 24
CHANGES = [*TINY, f"train.steps={STEPS}", "train.save_every=2", "train.workers=1"]
FLAGS = [word for change in CHANGES for word in ("--set", change)]
"""The same for the command."""


def run(corpus: Path, out: Path) -> int:
    return train(settings(*CHANGES), corpus, out)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes_corpus(tmp_path_factory.mktemp("corpus"), 1, 300)


@pytest.fixture(scope="session")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    assert run_ranks(RANKS, run, corpus, out) == [0] * RANKS
    return out


def assert_same_run(out: Path, whole: Path) -> None:
    """Bit for bit: losses, gradient norms, weights and moments."""
    for name in ("loss", "gradient_norm"):
        assert figures(out, name) == figures(whole, name)
    assert [*figures(out)] == [*range(1, STEPS + 1)]
    assert same(out, whole)
