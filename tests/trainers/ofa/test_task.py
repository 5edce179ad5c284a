import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.members import Members
from septet.trainers.ofa.measures import Tasks
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.ofa.samples import model_inputs, targets
from septet.trainers.ofa.settings import END, PAD
from septet.trainers.ofa.task import OfaTask
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.settings.overrides import override
from tests.trainers.ofa.corpora import annotated
from tests.trainers.ofa.small import batch

DEBUG = PRESETS["debug"].model


@pytest.mark.parametrize("kind", ["pairs", "plain"])
def test_the_loss_is_the_weighted_smoothed_cross_entropy(kind):
    s = DEBUG.model_copy(update={"smoothing": 0.1})
    task = OfaTask(s, 8)
    torch.manual_seed(0)
    module = task.build().eval()
    data = batch(task, kind, 6)
    data.data["target"][1, 6:] = 1  # Pads.
    data.data["weight"] = torch.rand(data.data["weight"].shape)
    data.data["unscored"][0] = 2
    found = task.forward(module, data)[kind]
    before, target, scored, factors = targets(data)
    states = module.decode(before, module.encode(**model_inputs(data, s)), keep=False)
    logs = module.logits(states).log_softmax(-1)
    expected = torch.zeros(())
    for row in range(len(target)):
        for place in range(target.shape[1]):
            if target[row, place] == 1 or (place < 2 and row < scored.shape[0] // 6):
                continue
            right = logs[row, place, target[row, place]]
            others = (logs[row, place].sum() - right) / (logs.shape[-1] - 1)
            expected = expected - factors[row, place] * (0.9 * right + 0.1 * others)
    assert torch.allclose(found, expected, rtol=1e-5)
    assert float(task.counts(data)[kind]) == float(scored.sum()) < target.numel()
    found.backward()
    head = module.encoder.embed_tokens.weight
    gradient = head.grad.clone()
    head.grad = None
    expected.backward()
    assert torch.allclose(gradient, head.grad, atol=1e-4)


def test_without_smoothing_it_is_torchs():
    task = OfaTask(DEBUG, 8)
    torch.manual_seed(0)
    module, data = task.build().eval(), batch(OfaTask(DEBUG, 8), "plain", 4)
    before, target, _, _ = targets(data)
    states = module.decode(before, module.encode(**model_inputs(data, DEBUG)), keep=False)
    expected = F.cross_entropy(
        module.logits(states).flatten(0, 1), target.flatten(), reduction="sum"
    )
    assert torch.allclose(task.forward(module, data)["plain"], expected, rtol=1e-5)


def test_each_eighth_pair_brings_two_texts_an_image_and_objects():
    task = PRESETS["base"].task()
    pairs, plain = task.plan(0, 5)
    assert pairs.total == 2048 and plain.rows == {"texts": 512, "images": 256, "detection": 256}
    assert task.loss_weights == {"pairs": 1.0, "plain": 2.0} and not task.unused_parameters
    drawn = dict.fromkeys(pairs.rows, 0)
    for step in range(50):
        for name, n in task.plan(0, step)[0].rows.items():
            drawn[name] += n
    whole = 15.25 + 2.92 + 3.20
    for name, share in (("captions", 15.25), ("questions", 2.92), ("regions", 3.20)):
        assert abs(drawn[name] / (50 * 2048) - share / whole) < 1e-3
    alone = override(PRESETS["base"], ["model.plain_rows=0"]).task()
    assert alone.kinds == ["pairs"] and set(alone.streams) == {"captions", "questions", "regions"}
    with pytest.raises(ValueError, match=r"must be a multiple of it; found 12"):
        override(PRESETS["base"], ["train.global_batch=12"]).task()


@pytest.mark.parametrize("change,message", [
    ("image_size=500", "largest is from image_size"),
    ("image_size=520", "bins span 512 pixels"),
    ("patches=577", "has 576 tokens; patches is 577"),
    ("code_grid=32", "image codes 1024 must be below target_positions 1024"),
    ("width=100", "width 100 is no multiple of heads 12"),
])  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        override(PRESETS["base"], [f"model.{change}"])


@pytest.mark.parametrize("things,right", [((1, 1), 1.0), ((2, 2), 0.0)])
def test_any_name_of_a_region_is_right_and_none_of_another(tmp_path, monkeypatch, things, right):
    corpus = annotated(tmp_path / "scenes", 6, things=things)
    alone = ["model.plain_rows=0", "model.shares.captions=0", "model.shares.questions=0"]
    task = override(PRESETS["debug"], alone).task()
    words, members = (
        vocabulary(task.settings),
        Members(Corpus(str(corpus)), task.streams["regions"], task),
    )
    found = [json.loads(members.read(0, row)["phrases"]) for row in range(6)]
    boxes = [dict(zip(each["phrases"], each["boxes"], strict=True)) for each in found]
    mine = Tasks(task, Corpus(str(corpus)))
    (part,) = mine._parts["regions"]
    drawn = [words.decode(ids) for ids in part.batch.data["target"][:, :, 1].numpy()]
    # Of one thing its longest name, however it was drawn; of two, the other one's.
    told = [
        max((n for n, box in its.items() if (box == its[name]) == (right == 1.0)), key=len)
        for name, its in zip(drawn, boxes, strict=True)
    ]
    assert told != drawn
    ids = [np.append(words.encode(f" {name}"), END).tolist() for name in told for _ in range(2)]
    rows = torch.tensor([each + [PAD] * (20 - len(each)) for each in ids])
    written = SimpleNamespace(ids=rows[:, None])
    monkeypatch.setattr("septet.trainers.ofa.measures.write", lambda *args: written)
    figures = mine(task.build(), torch.device("cpu"))
    assert figures["describe"] == figures["describe_other_image"] == right
    names = Counter(n for each in boxes for n in each)
    if right:
        assert figures["describe_commonest"] == max(names.values()) / 6
