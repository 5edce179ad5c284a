import pytest
import torch
from typer.testing import CliRunner

from septet.preprocess.shards.reader import Corpus
from septet.trainers.clip.presets import PRESETS
from septet.trainers.engine.optim import MovingAverage, make_optimizer
from septet.trainers.optimizers.adafactor import SMALLEST_FACTORED
from septet.trainers.scale.estimate import activation_bytes, estimate
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import settings
from tests.trainers.test_cli import APP


def test_kept_bytes_are_those_of_a_real_forward_pass():
    preset = settings()
    task = preset.task()
    module, data = task.build(), task.example("pairs", 4)
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        outputs = task.forward(module, data)
    expected = sum(x.untyped_storage().nbytes() for at, x in kept.items() if at not in own)
    assert outputs
    # Kernels for CPU keep a little else than the reference ones that count without memory.
    assert activation_bytes(task, preset.train, "pairs", 4) == pytest.approx(expected, rel=0.3)


def test_checkpointing_and_smaller_micro_batches_keep_less():
    preset = override(PRESETS["vit-b-32"], ["train.precision=fp32"])
    task = preset.task()
    whole = activation_bytes(task, preset.train, "pairs", 8)
    half = activation_bytes(task, preset.train, "pairs", 4)
    assert half == pytest.approx(whole / 2, rel=0.05)
    saving = override(preset, ["train.activation_checkpointing=true"])
    assert activation_bytes(task, saving.train, "pairs", 8) < whole / 5


def test_figures_of_a_published_preset(scenes):
    preset = override(PRESETS["vit-b-32"], ["train.micro_batch=128", "train.shard=8"])
    corpora = {"pairs": [(Corpus(str(scenes)), 1.0)]}
    needs = estimate(preset.task(), preset.train, preset.optimizer, corpora, 64)
    assert needs.parameters["all"] == 151_277_313
    assert needs.parameters["visual"] == 87_849_216
    assert needs.rows_per_rank == {"pairs": 512} and needs.micro_batches == {"pairs": 4}
    assert needs.state_bytes == 16 * 151_277_313 // 8
    assert needs.cast_bytes < 2 * 151_277_313
    assert needs.logit_bytes == 4 * 4 * 512 * 32_768
    assert needs.bytes_in_all == needs.state_bytes + needs.cast_bytes + needs.activation_bytes + (
        needs.logit_bytes
    )
    assert needs.seconds_per_step == pytest.approx(32_768 / needs.samples_per_second)
    assert needs.step_flops == 4 * needs.forward_flops["pairs"] * 32_768
    # An H100 at 40 % takes 989e12 * 0.4 / (4 * 14.8e9) pairs a second.
    assert needs.samples_per_second == pytest.approx(64 * 6700, rel=0.05)
    with pytest.raises(ValueError, match=r"train\.shard=8"):
        estimate(preset.task(), preset.train, preset.optimizer, corpora, 12)


def test_dry_run_prints_and_trains_nothing(scenes, tmp_path):
    arguments = ["clip", str(scenes), "--preset", "vit-l-14", "--dry-run", "--ranks", "256"]
    found = CliRunner().invoke(APP, [*arguments, "--out", str(tmp_path / "run")])
    assert found.exit_code == 0, found.output
    assert "427,616,513" in found.output and "256 ranks x 128" in found.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_dry_run_needs_no_corpus_and_decides(scenes):
    def said(*arguments):
        found = CliRunner().invoke(APP, [*arguments, "--dry-run"])
        assert found.exit_code == 0, found.output
        return " ".join(found.output.split())

    flava = said("flava", "--preset", "debug", "--ranks", "32")
    assert "give a corpus to know" in flava and "GiB: fits (80 GB)" in flava
    # The column of codes is still to be made.
    codes = "--set", "model.column=codes", "--set", "model.tokenizer=null"
    assert "not known: " in said("flava", str(scenes), "--preset", "debug", *codes)
    large = said("clip", "--preset", "vit-b-32", "--ranks", "16")
    assert "GiB: does not fit: lower train.micro_batch" in large
    assert "fits (200 GB)" in said("clip", "--preset", "vit-b-32", "--ranks", "16", "--card", "200")
    assert "1 rank, at once" in said("clip", "--preset", "debug")


def test_frozen_parameters_have_no_gradients_and_moments(scenes):
    preset = settings()
    task = preset.task()
    build = task.build

    def frozen():
        module = build()
        module.visual.requires_grad_(False)
        return module

    whole = estimate(task, preset.train, preset.optimizer, {}, 1)
    task.build = frozen
    part = estimate(task, preset.train, preset.optimizer, {}, 1)
    assert whole.state_bytes - part.state_bytes == 12 * whole.parameters["visual"]


@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_the_state_is_that_of_a_real_update(kind, ema):
    """With a frozen tower: bytes of parameters, gradients, average and optimizer after a step."""
    preset = settings(f"optimizer.kind={kind}", f"train.ema={ema}")
    task = preset.task()
    build = task.build

    def frozen():
        module = build()
        module.visual.requires_grad_(False)
        return module

    task.build = frozen
    module = task.build()
    optimizer = make_optimizer(module, task, preset.optimizer)
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.ones_like(p)
    optimizer.step()
    tensors = [*module.parameters(), *(p.grad for p in trained)]
    if ema != "null":
        tensors += MovingAverage(module, 0.9).mean.values()
    for state in optimizer.state.values():
        tensors += [x for name, x in state.items() if name != "step"]
    expected = sum(x.numel() * x.itemsize for x in tensors)
    assert estimate(task, preset.train, preset.optimizer, {}, 1).state_bytes == expected


def test_a_mean_of_columns_lies_whole_on_each_rank():
    preset = settings("optimizer.kind=adafactor", "train.shard=2", "model.width=128")
    alone = override(preset, ["train.shard=1"])
    parts = [estimate(p.task(), p.train, p.optimizer, {}, 2).state_bytes for p in (alone, preset)]
    with torch.device("meta"):
        named = preset.task().build().parameters()
        large = [p for p in named if p.ndim == 2 and min(p.shape) >= SMALLEST_FACTORED]
    columns = 4 * sum(p.shape[1] for p in large)
    assert large
    assert parts[1] == pytest.approx((parts[0] - columns) / 2 + columns, abs=4)
