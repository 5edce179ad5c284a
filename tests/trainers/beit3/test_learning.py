"""Whole runs of small models on scenes: they look at the image."""

from pathlib import Path

import pytest

from septet.preprocess.shards.reader import Corpus
from septet.trainers.beit3.presets import PRESETS
from septet.trainers.engine.checkpoint import read_weights
from septet.trainers.settings.overrides import override
from tests.trainers.beit3.told import colours_told
from tests.trainers.conftest import train
from tests.trainers.corpora import one_thing_corpus
from tests.trainers.runs import figures

pytestmark = pytest.mark.slow

QUICK = ["model.pair_tokens=12", "model.text_tokens=12", "train.log_every=10"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[Path, Path]:
    """Scenes of one thing each; those held out are others."""
    folder = tmp_path_factory.mktemp("one")
    return (
        one_thing_corpus(folder / "corpus", 0, 2000),
        one_thing_corpus(folder / "held", 10**6, 256),
    )


def last(out: Path, name: str) -> float:
    return list(figures(out, name).values())[-1]


def test_masked_words_and_patches_are_told_by_the_image(corpora, tmp_path):
    preset = override(
        PRESETS["debug"],
        [
            *QUICK,
            "train.steps=320",
            "train.global_batch=96",
            "model.masked_patches=4",
        ],
    )
    corpus, held = corpora
    assert train(preset, corpus, tmp_path, held) == 0
    task = preset.task()
    module = task.build()
    read_weights(str(tmp_path / "checkpoints"), module)
    told = colours_told(task, module, Corpus(str(held)))
    # Eight colours; nothing else is hidden, so the text does not tell.
    assert told["right"] >= 3 * told["chance"], told
    assert told["wrong"] <= told["chance"] + 0.08, told
    for name in ("mim", "mvlm_image"):
        found = last(tmp_path, f"predictions/{name}")
        assert found > 0.6 and found > last(tmp_path, f"predictions/{name}_commonest") + 0.2
        assert found > last(tmp_path, f"predictions/{name}_other_image") + 0.3
    for name in ("mlm", "mvlm_text"):
        found = last(tmp_path, f"predictions/{name}")
        assert found > last(tmp_path, f"predictions/{name}_commonest") + 0.2


def test_the_contrastive_stage_learns_to_retrieve(corpora, tmp_path):
    preset = override(PRESETS["debug-itc"], [*QUICK, "train.steps=120"])
    corpus, held = corpora
    assert train(preset, corpus, tmp_path, held) == 0
    assert last(tmp_path, "loss/contrastive") < 3.0  # ln 64 = 4.16; captions come more than once
    for name in ("image_to_text", "text_to_image"):
        assert last(tmp_path, f"retrieval/{name}_r10") > 0.25  # Chance is 0.04.
