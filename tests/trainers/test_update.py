"""One update: what it asks of a task, and how often the host waits for the device."""

import copy
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from septet.preprocess.shards.reader import Corpus
from septet.trainers.commands.models import MODELS
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import ContractError, Updater
from septet.trainers.engine.world import World
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.m6.task import M6Task
from septet.trainers.ofa.task import OfaTask
from septet.trainers.pali.presets import PRESETS as PALI
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch, SubBatch
from tests.trainers.beit3 import small as beit3
from tests.trainers.conftest import settings, train
from tests.trainers.ernie_vil import small as ernie_vil
from tests.trainers.flava import small as flava
from tests.trainers.lines import Line
from tests.trainers.m6 import small as m6
from tests.trainers.ofa import small as ofa

WORLD = World(0, 1, torch.device("cpu"))
OPTIMIZER = OptimizerSettings(lr=1e-3)


class Fetches(TorchDispatchMode):
    """Operations for which a host waits for its device: values that Python looks at, shapes that
    values decide, numbers that are copied there (`lift_fresh`, of `torch.tensor`)."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, given=(), options=None):
        name = function._schema.name.removeprefix("aten::")
        masks = name == "index" and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in given[1]
        )
        if name in WAITING or masks:
            self.found[name] += 1
        return function(*given, **(options or {}))


WAITING = {
    "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_consecutive",
    "_unique2", "lift_fresh",
}  # fmt: skip


@contextmanager
def fetches(monkeypatch):
    """How often the host waits for the device meanwhile, by what for."""
    with Fetches() as mode, monkeypatch.context() as patch:
        tolist = torch.Tensor.tolist  # Reads a CPU tensor without an operation that a mode sees.

        def counted(x):
            mode.found["tolist"] += 1
            return tolist(x)

        patch.setattr(torch.Tensor, "tolist", counted)
        yield mode.found


@pytest.mark.parametrize("changes", [(), ("train.micro_batch=4",)], ids=["whole", "accumulated"])
def test_an_update_talks_to_the_host_at_most_once(scenes, monkeypatch, changes):
    preset = settings("optimizer.clip_norm=1.0", *changes)
    task = preset.task()
    parallel = Parallel(task.build(), task, preset.train, WORLD)
    optimizer = make_optimizer(parallel.raw, task, preset.optimizer)
    update = Updater(task, parallel, optimizer, 0, preset.optimizer.clip_norm)
    source = Source("pairs", task, [(Corpus(str(scenes)), 1.0)], 0, 500, Health(0.0))
    loader = Loader(
        task, {"pairs": source}, seed=0, progress=Progress(), workers=0,
        micro_batch=preset.train.micro_batch,
    )  # fmt: skip
    update(next(loader).sub_batches, 0, 1e-3)  # Copies constants once.
    for step in (1, 2):
        batches = next(loader).sub_batches
        with fetches(monkeypatch) as found:
            update(batches, step, 1e-3)
        assert found == {"tolist": 1}


def test_gradients_are_scaled_to_the_norm_where_theirs_is_greater():
    task, batches = rows_of("clip")
    torch.manual_seed(0)
    module = task.build()

    def gradients(most):
        mine = copy.deepcopy(module)
        parallel = Parallel(mine, task, settings().train, WORLD)
        optimizer = make_optimizer(mine, task, settings().optimizer)
        found = []
        optimizer.step = lambda: found.extend(p.grad.clone() for p in mine.parameters())
        norm = Updater(task, parallel, optimizer, 0, most)([[batches["pairs"]]], 0, 1e-3)
        return norm.gradient_norm, torch.cat([x.flatten() for x in found])

    norm, whole = gradients(None)
    assert whole.norm().item() == pytest.approx(norm, rel=1e-5)
    assert torch.equal(gradients(1.01 * norm)[1], whole)
    told, scaled = gradients(norm / 3)
    assert told == norm  # as it was before
    torch.testing.assert_close(scaled, whole / 3, rtol=1e-5, atol=0)


def cut_short(task, kind):
    made = task.example(kind, 4)
    made.data["target"][1:, 5:] = 0
    return replace(made, places=None)


def rows_of(model: str):
    """A small task and a batch of each of its kinds."""
    if model == "clip":
        task = settings().task()
        return task, {"pairs": task.example("pairs", 4)}
    if model == "ernie_vil":
        task = ernie_vil.task(ernie_vil.SMALL.model_copy(update={"dropout": 0.1}))
        return task, {"pairs": ernie_vil.batch(task, 4)}
    if model in ("flava", "beit3"):
        small = {"flava": flava, "beit3": beit3}[model]
        task = small.task()
        return task, {kind: small.batch(kind, rows=4) for kind in task.kinds}
    if model == "ofa":
        changes = {"blanks": False, "patches": 9, "dropout": 0.1, "drop_path": 0.1}
        task = OfaTask(ofa.SMALL.model_copy(update=changes), 8)
        batches = {kind: ofa.batch(task, kind, 4) for kind in task.kinds}
        batches["plain"].data["seen"][1] = False
        return task, batches
    task = override(PALI["debug"], ["model.frozen=nothing"]).task()
    if model == "m6":
        task = M6Task(m6.SMALL.model_copy(update={"dropout": 0.1}), 4)
    return task, {kind: cut_short(task, kind) for kind in task.kinds}


@pytest.mark.parametrize("model", MODELS)
def test_a_models_step_asks_its_device_once(model, monkeypatch):
    """Which places are predicted is found by the loader, so two micro-batches of every kind go
    forward and backward without a word; losses are those without that help."""
    task, batches = rows_of(model)
    torch.manual_seed(0)
    module = task.build()
    found = {}
    for way in ("placed", "looked for"):
        mine = copy.deepcopy(module)
        parallel = Parallel(mine, task, TrainSettings(steps=1, global_batch=8), WORLD)
        update = Updater(task, parallel, make_optimizer(mine, task, OPTIMIZER), 0, 1.0)
        step = [
            [replace(b, places=task.places(b)) if way == "placed" else b] * 2
            for b in batches.values()
        ]
        update(step, 0, 1e-3)  # Copies constants once.
        with fetches(monkeypatch) as waits:
            done = update(step, 1, 1e-3)
        if way == "placed":
            assert waits == {"tolist": 1}
        found[way] = done.losses, done.gradient_norm
    assert found["placed"] == found["looked for"] and len(found["placed"][0]) > 0


def test_the_loader_gives_the_places_of_masks(scenes):
    """On the host, after rows have exchanged what they exchange."""
    task = flava.task(rows=16)
    source = Source("pairs", task, [(Corpus(str(scenes)), 1.0)], 0, 500, Health(0.0))
    task.plan = lambda seed, step: [SubBatch.of("pairs", 16)]
    loader = Loader(task, {"pairs": source}, seed=0, progress=Progress(), micro_batch=8, workers=0)
    for batch in next(loader).sub_batches[0]:
        assert batch.places.keys() == {"mmm_image", "mmm_text"}
        for name, of in (("mmm_image", "patch_places"), ("mmm_text", "word_places")):
            mask = batch.data[of]
            assert batch.places[name].tolist() == [
                row * mask.shape[1] + place for row, place in torch.argwhere(mask).tolist()
            ]


def changed(name: str, function):
    preset = settings("train.steps=2")
    task = preset.task()
    setattr(task, name, function(getattr(task, name)))
    object.__setattr__(preset, "task", lambda: task)
    return preset


def test_a_loss_without_a_count_does_not_train_in_silence(scenes, tmp_path):
    uncounted = changed("counts", lambda counts: lambda batch: {})
    with pytest.raises(ContractError, match=r"'contrastive' and no count of it; .* gave none"):
        train(uncounted, scenes, tmp_path / "a")

    def extra(losses):
        return lambda o, b, g: {**losses(o, b, g), "extra": o["image"].sum()}

    with pytest.raises(ContractError, match="there is a loss 'extra' and no count"):
        train(changed("pooled_losses", extra), scenes, tmp_path / "b")

    def more(counts):
        return lambda batch: {**counts(batch), "extra": 3}

    with pytest.raises(ContractError, match="`counts` gave extra, which has no weight"):
        train(changed("counts", more), scenes, tmp_path / "c")


def line_update(task):
    """An update of a slope of 2 by the numbers 1, 2, 3 and 5."""
    parallel = Parallel(task.build(), task, TrainSettings(steps=1, global_batch=4), WORLD)
    update = Updater(task, parallel, make_optimizer(parallel.raw, task, OPTIMIZER), 0, None)
    batches = [Batch("numbers", {"number": torch.tensor(x)}) for x in ([1.0, 2.0], [3.0, 5.0])]
    return update([batches], 0, 1e-3)


def test_an_update_tells_its_losses_and_the_norm_of_its_gradient():
    """Half the mean of (slope * x)^2 has the derivative slope * mean of x^2."""
    done = line_update(Line())
    assert done.losses == {"square": pytest.approx(4 * 39 / 4)}
    assert done.total == pytest.approx(0.5 * 39)
    assert done.gradient_norm == pytest.approx(2 * 39 / 4)
    assert (done.rate, done.asked) == (1e-3, False)


@pytest.mark.parametrize(("changes", "message"), [
    ({"counts": lambda batch: {"square": 2, "more": 2}},
     "Line: `counts` gave more, which has no weight; `loss_weights` has square"),
    ({"counts": lambda batch: {}}, "Line: there is a loss 'square' and no count of it; .* none"),
    ({"losses": lambda outputs, batch: {"more": outputs["told"].sum()}},
     "Line: there is a loss 'more' and no count of it; `counts` gave square"),
])  # fmt: skip
def test_names_of_losses_and_counts_go_together(monkeypatch, changes, message):
    task = Line()
    for name, function in changes.items():
        monkeypatch.setattr(task, name, function)
    with pytest.raises(ContractError, match=message):
        line_update(task)


@pytest.mark.parametrize("share", [0.25, 3.0])
def test_denominators_may_be_real_numbers(scenes, tmp_path, share):
    """Sums and counts of rows of a fractional weight give the mean over that weight."""
    from tests.trainers.runs import figures

    preset = settings("train.steps=3")
    task = preset.task()
    losses, counts = task.pooled_losses, task.counts
    rows = preset.train.global_batch
    task.pooled_losses = lambda o, b, g: {n: x * share / rows for n, x in losses(o, b, g).items()}
    task.counts = lambda batch: {n: c * share / rows for n, c in counts(batch).items()}
    object.__setattr__(preset, "task", lambda: task)
    assert train(preset, scenes, tmp_path / "share") == 0
    assert train(settings("train.steps=3"), scenes, tmp_path / "whole") == 0
    mine, theirs = figures(tmp_path / "share"), figures(tmp_path / "whole")
    assert mine == {step: pytest.approx(loss, rel=1e-4) for step, loss in theirs.items()}
