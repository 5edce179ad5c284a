"""A BEiT-3 of a few thousand weights, and batches for it."""

import torch

from tests.trainers.test_clip import randomised
from trainers.beit3.model import Beit3
from trainers.beit3.settings import Beit3Settings

SMALL = Beit3Settings(
    width=48, layers=2, heads=4, inner=96, image_size=64, patch=16, codes=512, words=256,
    text_positions=34, drop_path=0.0, vocabulary="scenes", pair_tokens=16, text_tokens=20,
    column=None, tokenizer="colours", masked_patches=6, least_block=2,
)  # fmt: skip
PAPER = SMALL.model_copy(
    update={"layers": 3, "attention": "shared", "sub_norm": False, "fusion_layers": 1}
)
"""Of the architecture of the paper's giant."""


def module(settings: Beit3Settings = SMALL, seed: int = 1) -> Beit3:
    torch.manual_seed(seed)
    return randomised(Beit3(settings), seed)  # type: ignore[return-value]
