"""One update: what it asks of a task, and how often the host waits for the device."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import ContractError, Updater
from septet.trainers.engine.world import World
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from tests.trainers.conftest import settings, train

WORLD = World(0, 1, torch.device("cpu"))


class Fetches(TorchDispatchMode):
    """Operations for which a host waits for its device: values that Python looks at, and shapes
    that values decide."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, given=(), options=None):
        name = function._schema.name.removeprefix("aten::")
        masks = name == "index" and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in given[1]
        )
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal") or masks:
            self.found[name] += 1
        return function(*given, **(options or {}))


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
    whole_fetches = []
    tolist = torch.Tensor.tolist  # Reads a CPU tensor without an operation that a mode would see.
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda x: whole_fetches.append(x.shape) or tolist(x)
    )
    for step in range(3):
        batches = next(loader).sub_batches
        whole_fetches.clear()
        with Fetches() as fetches:
            update(batches, step, 1e-3)
        assert sum(fetches.found.values()) + len(whole_fetches) <= 1, fetches.found


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
