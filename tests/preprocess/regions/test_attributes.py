from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from septet.preprocess.columns.base import Item, Value
from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.columns.registry import make_column
from septet.preprocess.regions.attributes import AttributeHead
from tests.corpora import random_image
from tests.preprocess.regions import reference as plain

AIR = ("roi_heads.box_predictor.", "cls_embedding", "fc_attr", 1)
MIL = ("roi_heads.attribute_predictor.", "obj_embed", "fc.0", 0)
ATTRIBUTES = 7


def head(names: tuple, seed: int = 3) -> plain.State:
    """A random attribute head as a checkpoint has it."""
    prefix, embedding, hidden, none = names
    g = torch.Generator().manual_seed(seed)
    shapes = {
        f"{embedding}.weight": (plain.CLASSES + 1, 16),
        f"{hidden}.weight": (24, 2048 + 16),
        f"{hidden}.bias": (24,),
        "attr_score.weight": (ATTRIBUTES + none, 24),
        "attr_score.bias": (ATTRIBUTES + none,),
    }
    return {f"{prefix}{n}": torch.randn(s, generator=g) * 0.3 for n, s in shapes.items()}


def by_hand(state: plain.State, names: tuple, vector: torch.Tensor, probs: torch.Tensor):
    """Attribute and probability of one region, from the formula."""
    prefix, embedding, hidden, none = names
    background_last = torch.cat([probs[1:], probs[:1]])
    row = state[f"{prefix}{embedding}.weight"][background_last.argmax()]
    weight, bias = state[f"{prefix}{hidden}.weight"], state[f"{prefix}{hidden}.bias"]
    x = (weight @ torch.cat([vector, row]) + bias).clamp(min=0)
    scores = state[f"{prefix}attr_score.weight"] @ x + state[f"{prefix}attr_score.bias"]
    shares = scores[: len(scores) - none].softmax(0)
    return int(shares.argmax()), float(shares.max())


@pytest.mark.parametrize("names", [AIR, MIL])
def test_attributes_of_regions(names: tuple) -> None:
    state = head(names)
    g = torch.Generator().manual_seed(5)
    vectors = torch.rand(9, 2048, generator=g)
    probs = (2 * torch.randn(9, plain.CLASSES + 1, generator=g)).softmax(1)
    probs[4] = torch.eye(plain.CLASSES + 1)[0]  # background has an embedding, too
    found, sure = AttributeHead(state, 2048, plain.CLASSES)(vectors, probs)
    for row in range(9):
        attribute, share = by_hand(state, names, vectors[row], probs[row])
        assert int(found[row]) == attribute
        assert abs(float(sure[row]) - share) < 1e-5
    assert len(set(found.tolist())) > 2 and max(found.tolist()) < ATTRIBUTES


def test_a_column_with_attributes(state: plain.State, weights: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({**state, **head(AIR)}, whole)
    few = {"proposals": 6, "shortest": 64, "longest": 96, "attributes": True}
    column = make_column("regions", {**few, "weights": str(whole)})
    column.setup()
    (value,) = column.annotate([Item("a", {"jpg": random_image(1)}, {})])
    assert isinstance(value, Value)
    column.check(value.data)
    arrays = unpack_arrays(value.data)
    names = AIR
    for row in range(len(arrays["boxes"])):
        vector = torch.from_numpy(arrays["features"][row]).float()
        probs = torch.from_numpy(arrays["probs"][row]).float()
        attribute, share = by_hand(head(names), names, vector, probs)
        assert arrays["attributes"][row] == attribute
        assert abs(float(arrays["attribute_scores"][row]) - share) < 0.02  # of float16 features

    without = make_column("regions", {**few, "weights": weights})
    with pytest.raises(ValueError, match="no attribute head"):
        without.setup()


def test_a_head_of_another_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 19 classes"):
        AttributeHead(head(MIL), 2048, plain.CLASSES - 1)
