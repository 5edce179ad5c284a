"""A FLAVA of a few thousand weights, the same one of `transformers`, and batches for both."""

from typing import Any

import torch
import transformers

from septet.trainers.flava.model import Flava
from septet.trainers.flava.negatives import exchange_texts
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.flava.task import FlavaTask
from septet.trainers.flava.weights import hugging_face_config, to_hugging_face
from septet.trainers.inputs.images import normalise
from septet.trainers.task import Batch
from tests.trainers.test_clip import randomised

_ENCODER = EncoderSettings(width=48, layers=2, heads=4, inner=96)
SMALL = FlavaSettings(
    image=_ENCODER, text=_ENCODER.model_copy(update={"layers": 3}), fusion=_ENCODER, embed=24,
    image_size=32, patch=8, codes=512, words=256, positions=32, vocabulary="scenes",
    pair_tokens=12, text_tokens=20, column=None, tokenizer="colours", masked_patches=6,
    least_block=2,
)  # fmt: skip


def task(settings: FlavaSettings = SMALL, rows: int = 8) -> FlavaTask:
    return FlavaTask(settings, rows)


def module(settings: FlavaSettings = SMALL, seed: int = 1) -> Flava:
    torch.manual_seed(seed)
    return randomised(Flava(settings), seed)  # type: ignore[return-value]


def reference(settings: FlavaSettings, state: dict[str, torch.Tensor]) -> Any:
    config = hugging_face_config(settings)
    config = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
    theirs = transformers.FlavaForPreTraining(transformers.FlavaConfig(**config))
    theirs.load_state_dict(to_hugging_face(state))  # Strict: no name is missing or too many.
    return theirs.eval()


def batch(kind: str, settings: FlavaSettings = SMALL, rows: int = 8) -> Batch:
    """Rows as the loader gives them, texts of several lengths, some pairs exchanged."""
    draw = torch.Generator().manual_seed(7)
    length = settings.pair_tokens if kind == "pairs" else settings.text_tokens
    ids = torch.randint(5, settings.words, (rows, length), generator=draw)
    ids *= torch.arange(length) < length - torch.arange(rows)[:, None]
    places = (torch.rand(rows, length, generator=draw) < 0.3) & (ids != 0)
    size = (rows, settings.image_size, settings.image_size, 3)
    image = {
        "pixels": torch.randint(0, 256, size, generator=draw, dtype=torch.uint8),
        "codes": torch.randint(0, settings.codes, (rows, settings.grid**2), generator=draw),
        "patch_mask": torch.rand(rows, settings.grid**2, generator=draw) < 0.35,
    }
    text = {"ids": ids, "ids_masked": ids.masked_fill(places, 4), "word_places": places}
    if kind == "pairs":
        swap = torch.arange(rows) % 4 == 2
        return exchange_texts(Batch(kind, {**image, **text, "swap": swap}))
    return Batch(kind, image if kind == "images" else text)


def theirs_of(theirs: Any, data: Batch, places: torch.Tensor | None = None) -> Any:
    """What `transformers` says of a batch; `places` as they were before pairs were exchanged."""
    given: dict[str, torch.Tensor] = {}
    x = data.data
    if "pixels" in x:
        given["pixel_values"] = normalise(x["pixels"])
        given["bool_masked_pos"] = x["patch_mask"].clone()
        given["mim_labels"] = x["codes"].clone()  # Theirs is changed in place.
    if "ids" in x:
        where = x["word_places"] if places is None else places
        given["input_ids"], given["input_ids_masked"] = x["ids"], x["ids_masked"]
        given["attention_mask"] = (x["ids"] != 0).long()
        given["mlm_labels"] = torch.where(where, x["ids"], -100)
    if "match" in x:
        given["itm_labels"] = x["match"]
    return theirs(**given)
