from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.generate.cache import Cache
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.samples import model_inputs
from septet.trainers.m6.settings import PAD, START
from septet.trainers.measures import parts as measure_parts
from septet.trainers.measures.likelier import Likelier, log_likelihoods
from septet.trainers.measures.parts import Part, parts
from septet.trainers.measures.tokens import Tokens
from septet.trainers.task import Batch
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


def weighed(ids: Tensor) -> Tensor:
    """A number of each row that tells the order of its ids, too, int64 [B]."""
    return (ids * torch.arange(1, ids.shape[1] + 1)).sum(1)


def test_tokens_are_told_with_the_own_source_and_with_the_neighbours(tmp_path, monkeypatch):
    """The first of what may stand for an image that rows have is exchanged, row by row."""
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 22, things=(1, 1), languages=("zh",))))

    def right(source: Tensor, target: Tensor) -> Tensor:
        """How many of each row's tokens, a number that depends on both."""
        return ((weighed(source) * weighed(target)) % 17).minimum((target != PAD).sum(1))

    def forward(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"right": right(batch.data["source"], batch.data["target"]).sum()}

    task = PRESETS["debug"].task()
    monkeypatch.setattr(task, "forward", forward)
    image = ("pixels", "source", "target")
    measure = Tokens(task, ["drawing"], corpus, 20, batch=8, image=image)
    own = other = tokens = 0
    words = Counter()
    for part in parts(task, "drawing", corpus, 20, 8):
        assert "pixels" not in part.batch.data
        source, target = part.batch.data["source"], part.batch.data["target"]
        neighbours = torch.cat([source[-1:], source[:-1]])
        own += int(right(source, target).sum())
        other += int(right(neighbours, target).sum())
        tokens += int((target != PAD).sum())
        words.update(target[target != PAD].tolist())
    found = measure(nn.Identity(), torch.device("cpu"))
    assert found == {
        "drawing": own / tokens, "drawing_other_image": other / tokens,
        "drawing_commonest": words.most_common(1)[0][1] / tokens,
    }  # fmt: skip
    assert 0 < own < tokens and 0 < other < tokens and own != other


def test_a_batch_that_a_rank_repeats_for_the_others_does_not_count(tmp_path, monkeypatch):
    """Of three batches the second rank of two has one, and runs the first again."""
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 44, things=(1, 1), languages=("zh",))))
    with monkeypatch.context() as second:
        second.setattr(measure_parts, "rank_and_world", lambda: (1, 2))
        measure = Likelier(TASK, ["drawing"], corpus, model_inputs, START, PAD, 20, batch=8)

    def share(part: Part) -> float:
        sums = part.batch.data["source"].sum(1).numpy()
        first = np.roll(sums, 1)
        return float((sums < first).sum() + (sums == first).sum() / 2) / 8

    again, own, _ = map(share, parts(TASK, "drawing", corpus, 24, 8))
    assert measure(Begun(), torch.device("cpu"))["drawing"] == own != again


def test_m6_measures_what_it_draws_so_and_no_other_task(tmp_path):
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 4, languages=("zh",))))
    names = [each.name for each in TASK.evaluators(corpus)]
    assert names.count("likelier") == 1
    told = type(TASK)(SMALL.model_copy(update={"mixture": {"denoising": 1.0}}), 4)
    assert "likelier" not in [each.name for each in told.evaluators(corpus)]
