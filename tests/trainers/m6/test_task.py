from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.samples import model_inputs
from septet.trainers.m6.settings import TASKS
from septet.trainers.m6.task import M6Task
from septet.trainers.settings.overrides import override
from tests.trainers.m6.small import SMALL, SPARSE

DEBUG = PRESETS["debug"]


def test_each_step_is_of_one_task_drawn_by_weight():
    task, found = PRESETS["base"].task(), Counter()
    for step in range(2000):
        (sub,) = task.plan(0, step)
        assert sub.rows == {sub.kind: 2048}
        found[sub.kind] += 1
    assert set(found) == {"denoising", "language_modelling", "captioning", "image_denoising"}
    assert all(430 < n < 570 for n in found.values())
    assert [task.plan(3, 9), task.plan(3, 9)] == [PRESETS["base"].task().plan(3, 9)] * 2
    assert len({task.plan(seed, 9)[0].kind for seed in range(20)}) > 1


def test_tasks_of_weight_zero_are_not_read():
    s = SMALL.model_copy(update={"mixture": {"captioning": 1.0, "denoising": 0.0}})
    task = M6Task(s, 6)
    assert list(task.streams) == ["captioning"] and not task.unused_parameters
    assert task.streams["captioning"].columns == ("patches",)
    assert M6Task(SMALL, 6).unused_parameters
    with pytest.raises(ValueError, match=r"a mixture's tasks are denoising, .*found poems"):
        override(DEBUG, ["model.mixture={poems: 1}"])
    with pytest.raises(ValueError, match=r"drawing needs image codes: model.codes is 0"):
        override(PRESETS["base"], ["model.mixture={drawing: 1}"])
    with pytest.raises(ValueError, match=r"targets of 64 tokens need 80 positions"):
        override(DEBUG, ["model.positions=79"])
    with pytest.raises(ValueError, match=r"sources of 81 tokens need 97 positions.* is 96"):
        override(DEBUG, ["model.target=masked", "model.hidden_tokens=81"])
    override(DEBUG, ["model.target=masked", "model.hidden_tokens=80"])
    with pytest.raises(ValueError, match=r"3 stages and 16 channels gives 256 features"):
        override(DEBUG, ["model.features=2048"])


@pytest.mark.parametrize("kind", TASKS)
def test_the_example_is_what_the_longest_rows_are(kind):
    task = DEBUG.task()
    with torch.device("meta"):
        module = task.build()
        outputs = task.forward(module, task.example(kind, 2))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {"tokens": (), "right": ()}


@pytest.mark.parametrize("kind", ["image_denoising", "language_modelling"])
def test_experts_are_balanced_and_told_over_all_tokens_that_are_no_pads(kind):
    """The balance is a sum over layers of means over tokens, what is told a mean over both."""
    task = M6Task(SPARSE.model_copy(update={"layers": 4}), 3)
    assert task.loss_weights == {
        "tokens": 1.0, "balance": 0.01, "variation": 0.0, "overflow": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    module, batch = task.build(), replace(task.example(kind, 3), places=None)
    batch.data["target"][1, 3:] = 0
    length = batch.data["target"].shape[1]
    tokens = 2 * length + 3
    if kind == "image_denoising":
        batch.data["source"][2, 5:] = 0
        tokens += 3 * 16 + 2 * batch.data["source"].shape[1] + 5
    counts = task.counts(batch)
    assert {name: int(n) for name, n in counts.items()} == {
        "tokens": 2 * length + 3, "balance": tokens, "variation": 2 * tokens,
        "overflow": 2 * tokens,
    }  # fmt: skip
    found = task.losses(task.forward(module, batch), batch)
    assert found.keys() == counts.keys()
    balance, overflow = (float(found[n]) / float(counts[n]) for n in ("balance", "overflow"))
    assert 1.9 < balance < 8 and 0 <= overflow < 1  # Two layers, each 1 where all is even.
    found["balance"].backward()
    assert module.blocks[1].feed.router.grad.any() and module.blocks[3].feed.router.grad.any()
    names = {n for n, p in module.named_parameters() if p.ndim > 1 and task.stays_fp32(n, p)}
    assert names == {"blocks.1.feed.router", "blocks.3.feed.router"}


def test_rows_come_in_the_groups_that_experts_count_in():
    task = PRESETS["m6t-1.4b"].task()
    assert all(stream.together == 32 for stream in task.streams.values())
    with pytest.raises(ValueError, match=r"train.micro_batch must be a multiple of .*rows 32"):
        override(PRESETS["m6t-1.4b"], ["train.micro_batch=16"]).task()
    assert M6Task(SMALL, 6).streams["captioning"].together == 1


@pytest.mark.parametrize("kind", TASKS)
def test_the_loss_is_the_mean_over_the_tokens_to_write(kind):
    task = M6Task(SMALL, 3)
    torch.manual_seed(0)
    module, batch = task.build().eval(), replace(task.example(kind, 3), places=None)
    batch.data["target"] = torch.randint(104, 300, batch.data["target"].shape)
    batch.data["target"][1, 3:] = 0
    outputs, counts = task.forward(module, batch), task.counts(batch)
    width = batch.data["target"].shape[1]
    assert counts["tokens"] == 2 * width + 3
    logits = module.logits(module.states(batch.data["target"], **model_inputs(batch)))
    kept = batch.data["target"] != 0
    labels = batch.data["target"][kept]
    expected = F.cross_entropy(logits[kept], labels, reduction="sum")
    assert outputs["tokens"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(outputs["right"]) == int((logits[kept].argmax(-1) == labels).sum())
    assert task.losses(outputs, batch) == {"tokens": outputs["tokens"]}


def test_the_recipe_is_the_sheets():
    for name, rate in (("base", 2e-4), ("10b", 1e-4)):
        o, t = PRESETS[name].optimizer, PRESETS[name].train
        assert (o.lr, o.betas, o.eps, o.weight_decay, o.clip_norm) == (
            rate, (0.9, 0.98), 1e-6, 0.01, 1.0,
        )  # fmt: skip
        assert (o.warmup_steps, o.schedule) == (10_000, "linear")
        assert (t.steps, t.global_batch, t.precision) == (500_000, 2048, "bf16")
    s = PRESETS["base"].model
    assert (s.hidden, s.text_tokens, s.hidden_tokens, s.target) == (0.15, 255, 128, "whole")
    assert s.mixture["drawing"] == 0 and PRESETS["base-drawing"].after == "base"
