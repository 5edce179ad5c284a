import random
from pathlib import Path

import pytest
import torch

from septet.preprocess.shards.reader import Corpus
from septet.trainers.beit3.presets import PRESETS, Beit3Preset
from septet.trainers.loader.source import Health, Source
from septet.trainers.settings.overrides import override
from tests.corpora import run_annotation
from tests.trainers.beit3.small import vqkd
from tests.trainers.conftest import train
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after
from tests.trainers.test_distributed import assert_equal_up_to_rounding

pytestmark = pytest.mark.slow

TINY = [
    "model.width=48", "model.inner=96", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip
FORMS = {
    "released": ("debug-released", "train.global_batch=24"),
    "paper": ("debug", "train.global_batch=24"),
    "itc": ("debug-itc", "train.global_batch=16"),
}


def preset(form: str, *changes: str) -> Beit3Preset:
    name, *more = FORMS[form]
    return override(PRESETS[name], [*TINY, *more, *changes])


def run(form: str, corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(form, *changes), corpus, out)


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    """One process, whole batches, by form."""
    found: dict[str, Path] = {}

    def of(form: str) -> Path:
        if form not in found:
            found[form] = tmp_path_factory.mktemp(form)
            assert run(form, scenes, found[form]) == 0
        return found[form]

    return of


SAVING = "train.activation_checkpointing=true"


@pytest.mark.parametrize("form,ranks,changes", [
    ("released", 1, ("train.micro_batch=4", SAVING)),
    ("released", 2, ("train.shard=2",)),
    ("paper", 2, ("train.shard=2", "train.micro_batch=2", SAVING)),
    ("paper", 2, ("train.micro_batch=4",)),
    ("itc", 2, ("train.shard=2", "train.micro_batch=4", SAVING)),
], ids=["released-accumulated-checkpointed", "released-fsdp",
        "paper-fsdp-accumulated-checkpointed", "paper-ddp-accumulated",
        "itc-fsdp-accumulated-checkpointed"])  # fmt: skip
def test_many_ranks_and_micro_batches_equal_one(alone, scenes, tmp_path, form, ranks, changes):
    if ranks == 1:
        assert run(form, scenes, tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, form, scenes, tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone(form))
    for name in preset(form).task().loss_weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone(form)))
        assert len(theirs) == 6 and mine == pytest.approx(theirs, rel=2e-5), name


@pytest.mark.parametrize("form", ["released", "itc"])
def test_resumes_bit_for_bit_at_any_step(alone, scenes, tmp_path, form):
    """Also where some experts have no part in what is learnt, and so no moments."""
    step = random.Random(3).randint(1, 5)
    stop_after(step, preset(form), scenes, tmp_path)
    assert run(form, scenes, tmp_path) == 0
    assert figures(alone(form)) == figures(tmp_path)
    assert same(alone(form), tmp_path)


def test_experts_without_a_part_resume_on_other_ranks(alone, scenes, tmp_path):
    stop_after(3, preset("itc"), scenes, tmp_path)
    assert run_ranks(2, run, "itc", scenes, tmp_path, "train.shard=2") == [0, 0]
    assert_equal_up_to_rounding(tmp_path, alone("itc"))


def test_stochastic_depth_resumes_bit_for_bit(scenes, tmp_path):
    changes = ("model.drop_path=0.3", "train.precision=bf16")
    assert run("paper", scenes, tmp_path / "whole", *changes) == 0
    stop_after(4, preset("paper", *changes), scenes, tmp_path / "cut")
    assert run("paper", scenes, tmp_path / "cut", *changes) == 0
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_reads_codes_and_views_of_a_column(tmp_path):
    """A real column, made by the tokenizer; encoding what the model sees again gives its codes."""
    corpus = scenes_corpus(tmp_path / "scenes", seed=1, count=48)
    tokenizer = vqkd()
    torch.save(tokenizer.state_dict(), tmp_path / "vqkd.pth")
    settings = {"tokenizer": "vqkd", "augmentation": "beit", "jitter": 0.4, "views": 3, "size": 64,
                "weights": str(tmp_path / "vqkd.pth")}  # fmt: skip
    run_annotation(corpus, "codes", settings)
    stored = ("model.column=codes", "model.tokenizer=null", "train.steps=2")
    assert run("paper", corpus, tmp_path / "run", *stored) == 0
    assert len(figures(tmp_path / "run", "loss/mvlm_image")) == 2
    task = preset("paper", *stored).task()
    source = Source("pairs", task, [(Corpus(str(corpus)), 1.0)], 0, 2**17, Health(0.0))
    seen = set()
    for epoch in range(4):
        for row, _ in source.rows(range(48 * epoch, 48 * epoch + 8)):
            pixels = torch.from_numpy(row["pixels"]).permute(2, 0, 1)[None].float() / 255
            assert torch.equal(tokenizer.codes(pixels).flatten(), torch.from_numpy(row["codes"]))
            seen.add(row["codes"].tobytes())
    assert len(seen) > 16
    with pytest.raises(ValueError, match=r"has 4 x 4 codes up to 511; the model needs 8 x 8"):
        run("paper", corpus, tmp_path / "other", *stored, "model.patch=8", "model.least_block=4")
