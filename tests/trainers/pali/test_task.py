import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from septet.trainers.engine.optim import learning_rate
from septet.trainers.pali.model import Pali
from septet.trainers.pali.presets import EXAMPLES, FIRST_STAGE, PRESETS
from septet.trainers.pali.settings import PAPER_MIXTURE
from septet.trainers.pali.task import PaliTask
from septet.trainers.settings.overrides import override

DEBUG = PRESETS["debug"]
SHARES = {name: weight / 1566 for name, weight in PAPER_MIXTURE.items()}


def test_the_mixture_is_the_papers():
    assert sum(PAPER_MIXTURE.values()) == 1566 and EXAMPLES == 1_566_000_000
    assert FIRST_STAGE.steps == 382_324
    assert all(PRESETS[name].model.mixture == PAPER_MIXTURE for name in ("3b", "15b", "17b"))


@pytest.mark.parametrize("text_rows", [1, 8])
def test_rows_of_each_task_come_by_weight(text_rows):
    s = DEBUG.model.model_copy(update={"mixture": PAPER_MIXTURE, "text_rows": text_rows})
    task, found, rows = PaliTask(s, 48), Counter(), 0
    for step in range(209):
        for sub in task.plan(0, step):
            assert set(sub.rows) <= ({"spans"} if sub.kind == "spans" else set(SHARES) - {"spans"})
            assert sub.total % text_rows == 0
            found.update(sub.rows)
        rows += 48
    assert sum(found.values()) == rows == 10_032
    for name, share in SHARES.items():
        assert abs(found[name] / rows - share) < 3 * math.sqrt(share * (1 - share) / rows), name
    assert [task.plan(0, 7), task.plan(0, 8)] == [PaliTask(s, 48).plan(0, i) for i in (7, 8)]


def test_tasks_of_weight_zero_are_not_read():
    s = DEBUG.model.model_copy(update={"mixture": {"caption": 1.0, "ocr": 0.0}})
    task = PaliTask(s, 6)
    assert list(task.streams) == ["caption"] and not task.unused_parameters
    assert [dict(sub.rows) for sub in task.plan(0, 3)] == [{"caption": 6}]
    with pytest.raises(
        ValueError, match=r"a mixture's tasks are spans, split_caption.*found poems"
    ):
        override(DEBUG, ["model.mixture={poems: 1}"])


@pytest.mark.parametrize("kind", ["images", "spans"])
def test_the_example_is_what_the_longest_rows_are(kind):
    task = DEBUG.task()
    with torch.device("meta"):
        module = task.build()
        batch = task.example(kind, 2)
        outputs = task.forward(module, batch)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "tokens": (), "z": (), "right": (),
    }  # fmt: skip
    stream = task.streams["spans" if kind == "spans" else "caption"]
    for name in ("source", "target"):
        assert batch.data[name].shape[1] == stream.lengths[name].buckets[-1]


def test_losses_are_means_over_the_tokens_to_write():
    task = DEBUG.task()
    torch.manual_seed(0)
    module, batch = task.build(), replace(task.example("images", 3), places=None)
    batch.data["target"][1, 5:] = 0
    outputs, counts = task.forward(module, batch), task.counts(batch)
    width = batch.data["target"].shape[1]
    assert counts["tokens"] == counts["z"] == 2 * width + 5
    assert isinstance(module, Pali)
    hidden = module.states(batch.data["target"], **task.inputs(batch))
    logits = module.logits(hidden)[batch.data["target"] != 0]
    labels = batch.data["target"][batch.data["target"] != 0]
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert outputs["tokens"].item() == pytest.approx(expected.item(), rel=1e-5)
    z = 1e-4 * logits.logsumexp(-1).square().sum()
    assert outputs["z"].item() == pytest.approx(z.item(), rel=1e-5)
    assert int(outputs["right"]) == int((logits.argmax(-1) == labels).sum())


def test_the_first_stage_is_the_papers_recipe():
    for name, peak in (("3b", 1e-2), ("15b", 5e-3), ("17b", 5e-3)):
        preset = PRESETS[name]
        o, last = preset.optimizer, learning_rate(preset.optimizer, 382_323, 382_324)
        assert (o.kind, o.lr, o.weight_decay, o.clip_norm) == ("adafactor", peak, 0.0, None)
        assert learning_rate(o, 999, 382_324) == peak
        assert last == pytest.approx({1e-2: 5.1e-4, 5e-3: 2.6e-4}[peak], rel=0.02)
        assert (preset.model.frozen, preset.train.global_batch) == ("vision", 4096)
        assert preset.model.z_loss == 1e-4 and preset.model.smoothing == 0
        assert preset.model.language.dropout == 0


def test_the_second_stage_sees_more_and_trains_everything():
    preset = PRESETS["17b-high"]
    assert (preset.train.steps, preset.train.global_batch) == (10_000, 1024)
    assert preset.model.vision.grid**2 == 1764 and preset.model.frozen == "nothing"
    weights = preset.model.mixture
    assert weights["ocr"] == weights["caption"] == weights["vqa"] + weights["vqg"]
    assert set(weights) == {"ocr", "caption", "vqa", "vqg"}
    assert preset.optimizer.lr == pytest.approx(2.6e-4, rel=0.02)
    with torch.device("meta"):
        first, second = PRESETS["17b"].task().build(), preset.task().build()
    frozen = {n.split(".")[0] for n, p in first.named_parameters() if not p.requires_grad}
    assert frozen == {"vision"} and all(p.requires_grad for p in second.parameters())


def test_equal_mixtures_draw_equally_however_they_are_written():
    plans = [
        override(PRESETS["debug"], [f"model.mixture={written}", "train.global_batch=6"])
        .task()
        .plan(0, 0)
        for written in ("{caption: 1, vqa: 1, ocr: 2}", "{ocr: 2, vqa: 1, caption: 1}")
    ]
    assert plans[0] == plans[1] and list(plans[0][0].rows) == list(plans[1][0].rows)


def test_rows_that_do_not_hold_whole_passes_of_texts_are_told():
    with pytest.raises(ValueError, match=r"global_batch 256 is no multiple of model.text_rows 512"):
        override(PRESETS["3b"], ["train.global_batch=256", "model.vocabulary=scenes"]).task()
