"""The attribute head of bottom-up attention (Anderson et al. 2018, section 3.1): it predicts which
of 400 attributes a region has from its feature and an embedding of its likeliest class.

Two sets of names are known: `roi_heads.box_predictor.{cls_embedding, fc_attr, attr_score}` of
airsplay/py-bottom-up-attention, whose last score means "none", and
`roi_heads.attribute_predictor.{obj_embed, fc.0, attr_score}` of MILVLG/bottom-up-attention.pytorch
(d2), which has no such score.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.regions.checkpoint import State

_NAMES = (
    ("roi_heads.box_predictor.", "cls_embedding", "fc_attr", 1),
    ("roi_heads.attribute_predictor.", "obj_embed", "fc.0", 0),
)
"""Prefix, embedding, hidden layer, how many of the last scores mean none."""


class AttributeHead(nn.Module):
    """The attribute head, built for a checkpoint.

    Args:
        state: The tensors by detectron2's names.
        width: The width of a region's feature.
        classes: The number of the detector's classes, without background.

    Raises:
        ValueError: the checkpoint has no such head, or one of another shape.
    """

    def __init__(self, state: State, width: int, classes: int):
        super().__init__()
        for prefix, embedding, hidden, none in _NAMES:
            names = (f"{prefix}{embedding}", f"{prefix}{hidden}", f"{prefix}attr_score")
            if all(f"{name}.weight" in state for name in names):
                self._none = none
                break
        else:
            raise ValueError(
                "weights: no attribute head (cls_embedding, fc_attr and attr_score, or obj_embed, "
                "fc.0 and attr_score); leave `attributes` out"
            )
        parts: tuple[nn.Module, ...] = tuple(_like(state, name, name is names[0]) for name in names)
        self.embedding, self.hidden, self.score = parts
        told = {name: tuple(state[f"{name}.weight"].shape) for name in names}
        into = width + told[names[0]][1]
        if told[names[0]][0] != classes + 1 or told[names[1]][1] != into:
            raise ValueError(
                f"weights: the attribute head {told} does not fit {classes} classes and regions of "
                f"{width} numbers"
            )

    def forward(self, vectors: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the likeliest attribute of each region.

        Args:
            vectors: Features [n, 2048].
            probs: Class distribution [n, 1 + classes], background first.

        Returns:
            int64 [n], and its probability among the attributes, float32 [n].
        """
        count = probs.shape[1]
        classes = (probs.argmax(dim=1) - 1) % count  # the checkpoint has background last
        x = F.relu(self.hidden(torch.cat([vectors, self.embedding(classes)], dim=1)))
        scores = self.score(x).float()
        shares = scores[:, : scores.shape[1] - self._none].softmax(dim=1)
        best = shares.max(dim=1)
        return best.indices, best.values


def _like(state: State, name: str, embedding: bool) -> nn.Module:
    weight = state[f"{name}.weight"]
    if embedding:
        return nn.Embedding.from_pretrained(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
    return layer.requires_grad_(False)
