import json
import random
from pathlib import Path

import pytest

from septet.trainers.flava.presets import PRESETS, FlavaPreset
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.corpora import one_thing_corpus
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after, weights
from tests.trainers.test_cli import call
from tests.trainers.test_distributed import assert_equal_up_to_rounding

pytestmark = pytest.mark.slow

TINY = [
    "model.image.layers=1", "model.text.layers=1", "model.fusion.layers=1", "model.embed=32",
    "model.shares.pairs=1", "model.shares.images=1", "model.shares.texts=1",
    "train.global_batch=16", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip


def preset(*changes: str) -> FlavaPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory) -> Path:
    """One process, whole batches, of every kind."""
    kinds = [preset().task().plan(0, step)[0].kind for step in range(6)]
    assert set(kinds) == {"pairs", "images", "texts"}
    out = tmp_path_factory.mktemp("alone")
    assert run(scenes, out) == 0
    return out


@pytest.mark.parametrize(
    "ranks,changes",
    [
        (1, ("train.micro_batch=4",)),
        (2, ("train.micro_batch=4",)),
        (2, ("train.shard=2",)),
        (2, ("train.shard=2", "train.micro_batch=2", "train.activation_checkpointing=true")),
    ],
    ids=["accumulated", "ddp-accumulated", "fsdp", "fsdp-accumulated-checkpointed"],
)
def test_many_ranks_and_micro_batches_equal_one(alone, scenes, tmp_path, ranks, changes):
    if ranks == 1:
        assert run(scenes, tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, scenes, tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone)
    for name in preset().task().loss_weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone))
        assert theirs and mine == pytest.approx(theirs, rel=2e-5), name
    mine, theirs = weights(tmp_path), weights(alone)
    # What a step does not use is left alone: no update, no decay, no step of the optimizer.
    steps = {name: float(x) for name, x in theirs.items() if name.endswith(".step")}
    assert len(set(steps.values())) > 1 and max(steps.values()) < 6
    assert {name: float(mine[name]) for name in steps} == steps


@pytest.mark.parametrize("step", [1, random.Random(9).randint(2, 5)])
def test_resumes_bit_for_bit_at_any_step(alone, scenes, tmp_path, step):
    """After the first one two of the three kinds of data have not been seen."""
    stop_after(step, preset(), scenes, tmp_path)
    assert run(scenes, tmp_path) == 0
    assert figures(alone) == figures(tmp_path)
    assert same(alone, tmp_path)


QUICK = ["model.pair_tokens=12", "model.text_tokens=12", "model.masked_patches=3",
         "train.log_every=5", "train.eval_every=1000"]  # fmt: skip


def learn(folder: Path, steps: int, *changes: str) -> dict[str, float]:
    """Train on scenes of one thing; losses are means of their last four lines."""
    corpus = one_thing_corpus(folder / "corpus", 0, 2000)
    held_out = one_thing_corpus(folder / "held", 10**6, 256)
    arguments = ["flava", corpus, "--held-out", held_out, "--out", folder / "run", "--steps", steps]
    more = [part for change in [*QUICK, *changes] for part in ("--set", change)]
    found = call(*arguments, *more)
    assert found.exit_code == 0, found.output
    names = {name for line in (folder / "run/metrics.jsonl").read_text().splitlines()
             for name in json.loads(line)}  # fmt: skip
    last = {name: list(figures(folder / "run", name).values())[-4:] for name in names}
    return {name: sum(v) / len(v) if "loss/" in name else v[-1] for name, v in last.items()}


def test_pairs_are_learnt(tmp_path):
    # Sixteen patches are as many as a scene of one thing needs.
    small = ("model.image_size=32", "model.masked_patches=2", "model.mismatched=0.4")
    found = learn(tmp_path, 440, "model.shares.images=0", "model.shares.texts=0", *small)
    # Chance is ln 64 = 4.16; four rows of ten are left out, and captions come more than once.
    assert found["loss/contrastive"] < 1.8
    assert found["loss/itm"] < 0.5  # 0.67 for the share of mismatches alone
    assert found["loss/mmm_image"] < 1.5  # ln 512 = 6.24
    assert found["loss/mmm_text"] < 0.8  # ln 256 = 5.55
    assert found["retrieval/image_to_text_r10"] > 0.5  # 0.04; some 2.7 captions are the same
    assert found["retrieval/text_to_image_r10"] > 0.5
    # The commonest answer is right in 0.52; another kind of processor ends some points elsewhere.
    assert found["predictions/itm"] > 0.6 > 0.56 > found["predictions/itm_other_image"]
    assert found["predictions/mmm_image"] > 0.6
    # Words are told by the image, not by the text alone.
    assert found["predictions/mmm_text"] > found["predictions/mmm_text_other_image"] + 0.1


def test_images_and_texts_alone_are_learnt(tmp_path):
    found = learn(tmp_path, 90, "model.shares.pairs=0")
    assert found["loss/mim"] < 2.5  # ln 512 = 6.24
    assert found["loss/mlm"] < 2.0  # ln 256 = 5.55
    assert found["predictions/mim"] > 0.6 > 0.4 > found["predictions/mim_other_image"]
    assert found["predictions/mlm"] > 0.5
