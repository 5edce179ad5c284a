"""Numbers in the settings of every run and of shared nets: what they are unless given, and their
bounds."""

from typing import Any

import pytest
from pydantic import ValidationError

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.nets.t5 import T5Settings

SMALL = 1e-9
NUMBERS: dict[type, dict[str, tuple[Any, list[float], list[float]]]] = {
    # Default (None: needed), values at the bounds, values beyond.
    OptimizerSettings: {
        "lr": (None, [SMALL], [0]),
        "eps": (1e-6, [], []),
        "weight_decay": (0.2, [], []),
        "warmup_steps": (2000, [0], [-1]),
        "power": (1.0, [], []),
        "final_lr_ratio": (0.0, [0, 1], [-SMALL, 1 + SMALL]),
        "clip_norm": (None, [SMALL], [0]),
        "layer_decay": (None, [SMALL, 1], [0, 1 + SMALL]),
    },
    TrainSettings: {
        "steps": (None, [1], [0]),
        "global_batch": (None, [1], [0]),
        "micro_batch": (None, [1], [0]),
        "seed": (0, [0], [-1]),
        "shard": (1, [1], [0]),
        "expert_parallel": (1, [1], [0]),
        "ema": (None, [SMALL, 1 - SMALL], [0, 1]),
        "workers": (2, [0], [-1]),
        "prefetch": (2, [1], [0]),
        "cache_bytes": (64 * 2**30, [1], [0]),
        "readahead": (16, [0], [-1]),
        "shuffle_window": (131_072, [1], [0]),
        "max_bad_samples": (0.01, [0, 1 - SMALL], [-SMALL, 1]),
        "log_every": (10, [1], [0]),
        "save_every": (1000, [1], [0]),
        "keep": (3, [1], [0]),
        "eval_every": (1000, [1], [0]),
    },
    ExpertSettings: {
        "experts": (None, [1], [0]),
        "inner": (None, [1], [0]),
        "chosen": (1, [1], [0]),
        "prototypes": (1, [1], [0]),
        "capacity_factor": (1.25, [SMALL], [0]),
        "group_rows": (1, [1], [0]),
        "balance": (0.0, [0], [-SMALL]),
        "std": (0.02, [SMALL], [0]),
    },
    T5Settings: {
        "width": (1024, [1], [0]),
        "inner": (2816, [1], [0]),
        "heads": (16, [1], [0]),
        "head_width": (64, [1], [0]),
        "layers": (24, [1], [0]),
        "words": (250_112, [3], [2]),
        "buckets": (32, [4], [2, 3, 6]),
        "reach": (128, [1], [0]),
        "dropout": (0.0, [0, 1 - SMALL], [-SMALL, 1]),
    },
}
NEEDED: dict[type, dict[str, Any]] = {
    OptimizerSettings: {"lr": 1e-3},
    TrainSettings: {"steps": 9, "global_batch": 8},
    ExpertSettings: {"experts": 4, "inner": 8},
    T5Settings: {},
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_number_stands_here_with_its_default(kind: Any) -> None:
    found = kind(**NEEDED[kind])
    for name, (default, _, _) in NUMBERS[kind].items():
        if name not in NEEDED[kind]:
            assert getattr(found, name) == default, name
    for name in kind.model_fields.keys() - NUMBERS[kind].keys():
        assert isinstance(getattr(found, name), bool | str | tuple | None), name
    for name in NEEDED[kind]:
        with pytest.raises(ValidationError, match=name):
            kind(**{key: value for key, value in NEEDED[kind].items() if key != name})


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in NUMBERS.items() for name in names]
)
def test_numbers_within_their_bounds_and_none_beyond(kind: Any, name: str) -> None:
    _, taken, refused = NUMBERS[kind][name]
    for value in taken:
        assert getattr(kind(**NEEDED[kind] | {name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            kind(**NEEDED[kind] | {name: value})


def test_micro_batches_are_whole_parts_of_a_batch() -> None:
    assert TrainSettings(steps=1, global_batch=12, micro_batch=4).micro_batch == 4
    with pytest.raises(ValidationError, match="global_batch 12 is no multiple of micro_batch 5"):
        TrainSettings(steps=1, global_batch=12, micro_batch=5)
