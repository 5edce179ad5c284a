"""A BEiT-3 of a few thousand weights, and batches for it."""

import torch

from septet.preprocess.codes.vqkd import Vqkd, VqkdSettings
from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.beit3.task import Beit3Task
from septet.trainers.task import Batch
from tests.trainers.test_clip import randomised

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


def task(settings: Beit3Settings = SMALL, rows: int = 12) -> Beit3Task:
    return Beit3Task(settings, rows)


def batch(kind: str, settings: Beit3Settings = SMALL, rows: int = 4) -> Batch:
    """Rows as the loader gives them, texts of several lengths."""
    s, draw = settings, torch.Generator().manual_seed(7)
    length = s.pair_tokens if kind == "pairs" else s.text_tokens
    count = length - 2 - 2 * torch.arange(rows)[:, None]
    place = torch.arange(length)
    ids = torch.randint(4, s.words - 1, (rows, length), generator=draw)
    inner = (place > 0) & (place <= count)
    ids = torch.where(inner, ids, torch.where(place == count + 1, 2, 1))
    ids[:, 0] = 0
    places = (torch.rand(rows, length, generator=draw) < 0.4) & inner
    size = (rows, s.image_size, s.image_size, 3)
    rank = torch.rand(rows, s.grid**2, generator=draw).argsort(1).argsort(1)
    image = {
        "pixels": torch.randint(0, 256, size, generator=draw, dtype=torch.uint8),
        "codes": torch.randint(0, s.codes, (rows, s.grid**2), generator=draw),
        "patch_mask": rank < s.masked_patches,
    }
    words = {"ids": ids, "ids_masked": ids.masked_fill(places, s.words - 1), "word_places": places}
    data = {"images": image, "texts": words, "pairs": {**image, **words}}
    return Batch(kind, data[kind])


def vqkd(**changes: int) -> Vqkd:
    """A tokenizer of a few thousand weights whose codes differ from patch to patch."""
    torch.manual_seed(0)
    settings = {"width": 64, "depth": 1, "heads": 1, "mlp": 64, "grid": 4, "codes": 512}
    found = Vqkd(VqkdSettings(**{**settings, **changes}))
    for x in found.parameters():
        torch.nn.init.normal_(x, std=0.3)
    return found.eval()
