"""From a sample's caption, scene graph and regions to the arrays that ERNIE-ViL sees. Everything
random comes from a generator that is a pure function of (seed, stream, key, epoch)."""

import json
import math

import numpy as np
import torch
from numpy.typing import NDArray

from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.shards.reader import Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.ernie_vil.masks import NONE, Parts, hide, hide_regions, parts_of, replaced
from septet.trainers.ernie_vil.model import KINDS
from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.inputs.members import text
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.task import Batch, Row, SampleError

REGIONS = ("features", "locations", "region_mask")
"""What a row has of its image."""
CAPTION = ("ids", "ids_masked", "kinds")
"""What it has of its caption."""

NODE_SHARE = 0.05
"""Share of tokens that are reckoned masked for each kind of node, where nobody knows."""

_WHOLE = np.array([0, 0, 1, 1, 1], np.float32)
"""The location of [IMG]: the whole image."""


def text_row(sample: Sample, s: ErnieVilSettings, draw: np.random.Generator | None) -> Row:
    """`ids` int64 [T]: [CLS], pieces, [SEP], pads; and with `draw` `ids_masked` int64 [T] and
    `kinds` int8 [T], see `model.KINDS`, NONE where nothing is predicted.

    Longer texts keep their first pieces and [SEP]. A caption without a graph has single pieces
    masked and no nodes.

    Raises:
        SampleError: the text is not UTF-8, or the graph is none.
    """
    words = tokenizer(s.vocabulary, s.words)
    pieces = words.encode(text(sample), s.text_tokens - 2)
    count = len(pieces.ids)
    ids = np.full(s.text_tokens, words.pad, np.int64)
    ids[: count + 2] = [words.start, *pieces.ids, words.end]
    if draw is None:
        return {"ids": ids}
    hidden = hide(draw, nodes(sample, s), count, s.masked_nodes, s.masked_words)
    masked, kinds = ids.copy(), np.full(s.text_tokens, NONE, np.int8)
    inside = slice(1, count + 1)
    masked[inside] = replaced(draw, ids[inside], hidden, words.mask, len(words), s.shown_words)
    kinds[inside] = hidden.kinds
    return {"ids": ids, "ids_masked": masked, "kinds": kinds}


def nodes(sample: Sample, s: ErnieVilSettings) -> Parts:
    """The nodes of a sample's graph that its row can mask; none where it has no graph.

    Raises:
        SampleError: see `text_row`.
    """
    data = sample.get(s.graphs, b"") if s.graphs else b""
    if not data:
        return Parts()
    try:
        graph = SceneGraph.from_json(json.loads(data))
    except ValueError as error:
        raise SampleError(f"column {s.graphs}: {error}", "no_value") from error
    offsets = tokenizer(s.vocabulary, s.words).offsets(text(sample))
    return parts_of(graph, offsets, s.text_tokens - 2)


def region_row(sample: Sample, s: ErnieVilSettings, draw: np.random.Generator | None) -> Row:
    """`features` float16 [1 + R, F], `locations` float32 [1 + R, 5] and `region_mask` bool
    [1 + R], [IMG] first; and with `draw` `region_places` bool [R], what to predict, and `probs`
    float16 [R, classes], the detector's distributions.

    Masked regions have no feature; [IMG] is the mean after that, over all regions, so that it
    tells nothing of them.

    Raises:
        SampleError: the column's value is none.
        ValueError: its sizes are not the settings'.
    """
    try:
        arrays = unpack_arrays(sample[s.regions])
        found, places = arrays["features"], arrays["locations"]
    except (ValueError, KeyError) as error:
        raise SampleError(f"column {s.regions}: {error}", "no_value") from error
    n = min(len(found), s.most_regions)
    if not n:
        raise SampleError(f"column {s.regions}: no region", "no_box")
    if found.shape[1] != s.features:
        raise ValueError(_unlike(s, "features", found.shape[1], s.features))
    features = np.zeros((1 + s.most_regions, s.features), np.float16)
    locations = np.zeros((1 + s.most_regions, 5), np.float32)
    mask = np.zeros(1 + s.most_regions, np.bool_)
    features[1 : n + 1], locations[1 : n + 1], mask[: n + 1] = found[:n], places[:n], True
    locations[0] = _WHOLE
    row: Row = {"features": features, "locations": locations, "region_mask": mask}
    if draw is not None:
        chosen, gone = hide_regions(draw, n, s.masked_regions, s.kept_regions)
        features[1 : n + 1][gone] = 0
        row["region_places"] = np.zeros(s.most_regions, np.bool_)
        row["region_places"][:n] = chosen
        if s.masked_regions:
            row["probs"] = _probs(arrays, n, s)
    features[0] = features[1 : n + 1].mean(0, np.float32)
    return row


def _probs(
    arrays: dict[str, NDArray[np.generic]], n: int, s: ErnieVilSettings
) -> NDArray[np.float16]:
    found = arrays.get("probs")
    if found is None or found.shape[1] != s.classes:
        raise ValueError(
            _unlike(s, "classes", found.shape[1] if found is not None else 0, s.classes)
        )
    probs = np.zeros((s.most_regions, s.classes), np.float16)
    probs[:n] = found[:n]
    return probs


def _unlike(s: ErnieVilSettings, what: str, found: int, expected: int) -> str:
    more = ", or mask no regions with --set model.masked_regions=0" if what == "classes" else ""
    return (
        f"column {s.regions!r} has regions with {found or 'no'} {what}, but model.{what} is "
        f"{expected}: set it, or name another column with --set model.regions=NAME{more}"
    )


def check_column(name: str, manifest: ColumnManifest, s: ErnieVilSettings) -> None:
    """See `septet.trainers.task.Task.check_column`."""
    if name == s.regions:
        arrays = manifest.member.arrays
        width = arrays["features"].shape[1] if "features" in arrays else 0
        if isinstance(width, int) and width != s.features:
            raise ValueError(_unlike(s, "features", width, s.features))
        if s.masked_regions and "probs" not in arrays:
            raise ValueError(_unlike(s, "classes", 0, s.classes))
    if name == s.graphs:
        made_with = manifest.member.notes.get("tokenizer")
        own = tokenizer(s.vocabulary, s.words).name
        if made_with not in (None, own):
            raise ValueError(
                f"column {name!r} was made with the tokenizer {made_with}, the model reads {own}: "
                "annotate anew with --set tokenizer= the model's vocabulary, or without any"
            )


def read(sample: Sample, s: ErnieVilSettings, draw: np.random.Generator | None) -> Row:
    """A sample as model inputs: `text_row`, `region_row`, and with `draw` `swap` bool [], see
    `negatives`."""
    row = text_row(sample, s, draw) | region_row(sample, s, draw)
    if draw is not None:
        row["swap"] = np.asarray(draw.random() < s.mismatched)
    return row


def exchange(batch: Batch, s: ErnieVilSettings) -> Batch:
    """Rows with `swap` have the regions (or the caption, with settings `replace: caption`) of
    their neighbour, the other one of 2k and 2k + 1, in place of their own.

    What is masked stays masked, so that masks tell nothing, but nothing of such rows is
    predicted but that they do not match. Rows whose captions are equal match all the same.

    Returns:
        The batch without `swap`, with `match` bool [B].

    Raises:
        ValueError: a row has no neighbour.
    """
    if len(batch) % 2:
        raise ValueError(
            "pairs take their neighbours' images, so each rank's micro-batch must be even; "
            f"found {len(batch)} rows: choose other train.global_batch or train.micro_batch"
        )
    data = dict(batch.data)
    mine = torch.arange(len(batch))
    swap = data.pop("swap") & (data["ids"] != data["ids"][mine ^ 1]).any(1)
    source = torch.where(swap, mine ^ 1, mine)
    for name in REGIONS if s.replace == "regions" else CAPTION:
        data[name] = data[name][source]
    data["kinds"] = data["kinds"].masked_fill(swap[:, None], NONE)
    data["region_places"] = data["region_places"] & ~swap[:, None]
    return Batch(batch.kind, {**data, "match": ~swap})


def example(rows: int, s: ErnieVilSettings) -> Batch:
    """An empty batch of the shapes and types that `read` and `exchange` give, as much masked as
    is."""
    ids = torch.zeros(rows, s.text_tokens).long()
    regions = torch.zeros(rows, s.most_regions).bool()
    data = {
        "ids": ids,
        "ids_masked": ids,
        "kinds": torch.full_like(ids, NONE, dtype=torch.int8),
        "features": torch.zeros(rows, 1 + s.most_regions, s.features, dtype=torch.float16),
        "locations": torch.zeros(rows, 1 + s.most_regions, 5),
        "region_mask": torch.ones(rows, 1 + s.most_regions).bool(),
        "region_places": regions,
        "match": torch.ones(rows).bool(),
    }
    if s.masked_regions:
        data["probs"] = torch.zeros(rows, s.most_regions, s.classes, dtype=torch.float16)
    shares = {"mlm": s.masked_words, **dict.fromkeys(KINDS[1:], NODE_SHARE)}
    counts = {name: math.ceil(share * ids.numel()) for name, share in shares.items()}
    counts["region"] = math.ceil(s.masked_regions * regions.numel())
    return Batch("pairs", data, places={n: torch.zeros(c).long() for n, c in counts.items()})
