"""Ranks that hold experts together write by themselves, as long as each needs."""

from typing import Any

import pytest
import torch

from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.world import world
from septet.trainers.generate.write import unsharded
from septet.trainers.m6.answers import texts
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.samples import model_inputs
from septet.trainers.measures.generation import Generation
from septet.trainers.settings.overrides import override
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ranks import run_ranks
from tests.trainers.updates import over_ranks

TINY = (
    "model.width=32", "model.inner=48", "model.heads=2", "model.layers=2", "model.stem=4",
    "model.features=64", "model.experts.experts=4", "model.experts.inner=24",
    "model.experts.chosen=2", "model.experts.std=0.5", "model.experts.group_rows=1", "model.hidden_tokens=12",
    "model.text_tokens=12", "model.codes=0", "model.mixture={image_denoising: 1}",
    "train.global_batch=8",
)  # fmt: skip


def ready(ranks: Any, spread: int, shard: int) -> tuple[Any, Parallel]:
    changes = f"train.expert_parallel={spread}", f"train.shard={shard}"
    preset = override(PRESETS["debug-experts"], [*TINY, *changes])
    task = preset.task()
    return task, over_ranks(task, preset.train, ranks)


def evaluated(corpus: str, layouts: list[tuple[int, int]]) -> list[Any]:
    """How likely what is written of held-out samples is, by how many there are, in batches of 4; what passes
    through the experts of the layers, in other orders on other ranks, give; and whether experts
    stay in turns."""
    results = []
    with world() as ranks:
        for spread, shard in layouts:
            task, parallel = ready(ranks, spread, shard)
            told: dict[int, list[float]] = {}

            def write(module, batch, s=task.settings):
                return [score for _, score in texts(s, module, model_inputs(batch))]

            def score(written, expected, told=told):
                told[len(expected)] = list(written)
                return {}

            # Of 4 samples the second rank has no batch, of 10 it has one and the first has two.
            measures = [
                Generation(task, "image_denoising", Corpus(corpus), write, len, score, most, 4)
                for most in (4, 10)
            ]
            with parallel.evaluating() as module:
                for measure in measures:
                    measure(module, ranks.device)
                nets = [block.feed.networks for block in module.blocks]
                rows = torch.linspace(-1, 1, 8 * 32).view(8, 32)
                counts = torch.tensor([3, 0, 4, 1])
                with unsharded(module):
                    for layer in [0, 1, 1] if ranks.rank else [1, 0]:
                        given = rows * (layer + 1)
                        made = nets[layer](given, counts)
                        told[-1 - layer] = made.tolist()
            results.append((told, [net.turn is None for net in nets]))
    return results


@pytest.mark.slow
def test_each_rank_writes_as_long_as_it_needs(tmp_path):
    corpus = str(scenes_corpus(tmp_path / "corpus", seed=2, count=10, languages=("zh",)))
    ((expected, _),) = evaluated(corpus, [(1, 1)])
    assert len(expected[4]) == 4 and len(expected[10]) == 10
    assert len(set(expected[10])) > 5
    layers = expected.pop(-1), expected.pop(-2)
    for rank in run_ranks(2, evaluated, corpus, [(2, 1), (2, 2)], timeout=60):
        for told, free in rank:
            for expected_layer, layer in zip(layers, (-1, -2), strict=True):
                found = torch.tensor(told.pop(layer))
                torch.testing.assert_close(found, torch.tensor(expected_layer))
            assert free == [True, True]
            for many, written in told.items():
                # Batches are gathered by rank.
                assert sorted(written) == pytest.approx(sorted(expected[many]), rel=1e-4)
