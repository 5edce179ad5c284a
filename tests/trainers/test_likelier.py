import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.generate.cache import Cache
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.samples import model_inputs
from septet.trainers.m6.settings import PAD, START
from septet.trainers.measures.likelier import Likelier, log_likelihoods
from septet.trainers.measures.parts import parts
from tests.trainers.corpora import scenes_corpus
from tests.trainers.m6.small import SMALL

TASK = PRESETS["debug"].task()


class Begun(nn.Module):
    """A model to which any target is the less likely the greater the sum of the source's ids."""

    def encode(self, source: Tensor) -> Cache:
        """The sum is a row's memory."""
        memory = source.sum(1).double()[:, None, None]
        return Cache.of(memory, torch.zeros(len(source), 1).bool(), 0)

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """The sum for each token."""
        return cache.memory.expand(-1, ids.shape[1], -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """One score for all words but the pad, whose own falls with it."""
        rest = hidden.new_zeros(*hidden.shape[:2], TASK.settings.vocabulary_size - 1)
        return torch.cat([hidden / 100, rest], 2)


def test_log_likelihoods_equal_those_of_each_token_alone():
    torch.manual_seed(0)
    module = TASK.build().eval()
    source = torch.randint(104, 300, (3, 6))
    target = torch.randint(104, 300, (3, 5))
    target[1, 2:] = PAD
    with torch.no_grad():
        found = log_likelihoods(module, {"source": source}, target, START, PAD)
        for row, length in enumerate((5, 2, 5)):
            ids, expected = target[row : row + 1, :length], 0.0
            for place in range(length):
                before = torch.cat([torch.tensor([[START]]), ids[:, :place]], 1)
                cache = module.encode(source=source[row : row + 1])
                chances = module.logits(module.decode(before, cache))[0, -1].log_softmax(0)
                expected += float(chances[ids[0, place]])
            assert float(found[row]) == pytest.approx(expected, abs=1e-3)


def test_own_source_is_compared_with_the_neighbours_and_that_with_the_next_ones(tmp_path):
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 22, things=(1, 1), languages=("zh",))))
    measure = Likelier(TASK, ["drawing"], corpus, model_inputs, START, PAD, 20, batch=8)
    expected = {"drawing": 0.0, "drawing_other_image": 0.0}
    for part in parts(TASK, "drawing", corpus, 20, 8):
        sums = part.batch.data["source"].sum(1).numpy()
        own, first, second = (np.roll(sums, places) for places in range(3))
        for view, a, b in (("", own, first), ("_other_image", first, second)):
            expected[f"drawing{view}"] += float((a < b).sum() + (a == b).sum() / 2) / 20
    found = measure(Begun(), torch.device("cpu"))
    assert found == pytest.approx(expected) and 0.2 < found["drawing"] < 0.8


def test_m6_measures_what_it_draws_so_and_no_other_task(tmp_path):
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 4, languages=("zh",))))
    names = [each.name for each in TASK.evaluators(corpus)]
    assert names.count("likelier") == 1
    told = type(TASK)(SMALL.model_copy(update={"mixture": {"denoising": 1.0}}), 4)
    assert "likelier" not in [each.name for each in told.evaluators(corpus)]
