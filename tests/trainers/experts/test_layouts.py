"""Which ranks can hold which experts."""

import pytest

from septet.trainers.engine.experts import check_spread
from septet.trainers.settings.overrides import override
from tests.trainers.experts.small import SmallPreset


def spread(ranks: int, parallel: int, shard: int, experts: int) -> list[str]:
    changes = f"train.expert_parallel={parallel}", f"train.shard={shard}"
    preset = override(SmallPreset(), [*changes, f"model.experts.experts={experts}"])
    return list(check_spread(preset.task().build(), preset.train, ranks))


@pytest.mark.parametrize(("ranks", "parallel", "shard", "experts"), [
    (2, 2, 1, 2), (4, 2, 1, 6), (4, 2, 2, 2), (4, 2, 4, 4), (4, 4, 2, 8), (8, 2, 4, 4), (6, 3, 1, 3),
])  # fmt: skip
def test_experts_that_come_out_even_are_spread(ranks, parallel, shard, experts):
    names = ["blocks.0.experts.networks", "blocks.1.experts.networks"]
    assert spread(ranks, parallel, shard, experts) == names


@pytest.mark.parametrize(("ranks", "parallel", "shard", "experts", "parts"), [
    (4, 2, 1, 3, 2), (4, 2, 4, 2, 4), (4, 2, 4, 6, 4), (8, 4, 1, 6, 4),
])  # fmt: skip
def test_experts_that_do_not_are_refused(ranks, parallel, shard, experts, parts):
    message = f"{experts} experts cannot be cut into {parts} equal parts"
    with pytest.raises(ValueError, match=message):
        spread(ranks, parallel, shard, experts)
