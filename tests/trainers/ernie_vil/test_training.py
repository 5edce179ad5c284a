import random
from pathlib import Path

import pytest

from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.trainers.ernie_vil.presets import PRESETS, ErnieVilPreset
from septet.trainers.loader.members import Members
from septet.trainers.loader.source import Health, Source
from septet.trainers.scale.estimate import estimate
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.ernie_vil.corpora import annotated
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after
from tests.trainers.test_cli import call
from tests.trainers.test_distributed import assert_equal_up_to_rounding

pytestmark = pytest.mark.slow

TINY = [
    "model.text.layers=2", "model.image.layers=1", "model.text_places=[1]", "model.image_places=[0]",
    "train.global_batch=16", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip


def preset(*changes: str) -> ErnieVilPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[Path, Path]:
    """Scenes to train on, and others to measure on."""
    folder = tmp_path_factory.mktemp("annotated")
    scenes = annotated(folder / "scenes", 1500, blank={7, 8, 9}, silent={20, 21})
    return scenes, annotated(folder / "held", 256, first=10**6)


@pytest.fixture(scope="module")
def alone(corpora, tmp_path_factory) -> Path:
    """One process, whole batches."""
    out = tmp_path_factory.mktemp("alone")
    assert run(corpora[0], out) == 0
    return out


@pytest.mark.parametrize(
    "ranks,changes",
    [
        (1, ("train.micro_batch=4",)),
        (2, ("train.micro_batch=4",)),
        (2, ("train.shard=2", "train.micro_batch=2", "train.activation_checkpointing=true")),
    ],
    ids=["accumulated", "ddp-accumulated", "fsdp-accumulated-checkpointed"],
)
def test_many_ranks_and_micro_batches_equal_one(alone, corpora, tmp_path, ranks, changes):
    if ranks == 1:
        assert run(corpora[0], tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, corpora[0], tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone)
    for name in preset().task().loss_weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone))
        assert theirs and mine == pytest.approx(theirs, rel=2e-5), name


def test_resumes_bit_for_bit_at_any_step(alone, corpora, tmp_path):
    step = random.Random(4).randint(1, 5)
    stop_after(step, preset(), corpora[0], tmp_path)
    assert run(corpora[0], tmp_path) == 0
    assert figures(alone) == figures(tmp_path)
    assert same(alone, tmp_path)


def test_what_samples_lack_is_told(corpora, tmp_path):
    """Samples without regions leave the run, captions without a graph stay in it."""
    changes = [part for change in TINY for part in ("--set", change)]
    found = call("ernie_vil", corpora[0], "--out", tmp_path, "--steps", 1, *changes)
    assert found.exit_code == 0, found.output
    assert "pairs: 3 samples lack a column: left out" in found.output
    assert "pairs: 2 samples have no value in scene-graphs: kept" in found.output
    assert not (tmp_path / "skipped-0.jsonl").exists()
    task = preset().task()
    source = Source("pairs", task, [(Corpus(str(corpora[0])), 1.0)], 0, 2**17, Health(0.0))
    assert source.samples == [1497]
    refused = call("ernie_vil", corpora[0], "--out", tmp_path / "b", *changes,
                   "--set", "model.features=64")  # fmt: skip
    assert refused.exit_code == 1 and "regions with 2048 features" in refused.output


def test_dry_run_counts_what_is_read(corpora):
    found = call("ernie_vil", corpora[0], "--preset", "base", "--dry-run", "--ranks", 8,
                 "--set", "model.vocabulary=scenes")  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "239,024,765" in found.output and "8 ranks x 64" in found.output
    members = Members(Corpus(str(corpora[0])), preset().task().streams["pairs"], preset().task())
    size = sum(read_manifest(str(corpora[0]), name).bytes for name in ("regions", "scene-graphs"))
    # Both columns, and captions of about 45 bytes; no image.
    assert members.bytes_per_sample() == pytest.approx(size / 1500 + 45, abs=5)
    preset_ = PRESETS["base"].model_copy(update={"model": preset().model})
    needs = estimate(
        preset_.task(),
        preset_.train,
        preset_.optimizer,
        {"pairs": [(Corpus(str(corpora[0])), 1.0)]},
        8,
    )
    assert needs.bytes_per_second / needs.samples_per_second == pytest.approx(
        members.bytes_per_sample()
    )


QUICK = ["model.text_tokens=12", "model.most_regions=3", "train.steps=240", "train.log_every=50",
         "train.eval_every=1000", "train.save_every=1000"]  # fmt: skip
COLOURS, SHAPES = 1 / 8, 1 / 6
"""Chance at an attribute, and at an object, of the scenes' captions."""


def test_it_looks_at_the_image(corpora, tmp_path):
    scenes, held = corpora
    changes = [part for change in QUICK for part in ("--set", change)]
    found = call("ernie_vil", scenes, "--held-out", held, "--out", tmp_path, *changes)
    assert found.exit_code == 0, found.output
    names = ("attribute", "object", "attribute_other_image", "object_other_image")
    attribute, object_, *blind = (figures(tmp_path, f"predictions/{name}")[240] for name in names)
    assert attribute > 3 * COLOURS and object_ > 3 * SHAPES
    # With another scene's regions it knows nothing: neither do the words that are left.
    assert figures(tmp_path, "matching/text_to_image_r10")[240] > 0.5  # 10 / 32
    assert blind[0] < 1.8 * COLOURS and blind[1] < 1.8 * SHAPES
