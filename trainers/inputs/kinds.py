"""Pairs, images alone and texts alone: what models of masked patches and words read alike."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from septet.preprocess.shards.reader import Sample
from septet.trainers.inputs.codes import CodeGrid, Targets
from septet.trainers.inputs.members import text
from septet.trainers.nets.layers import at
from septet.trainers.task import Row, SampleError


def words_of(stream: str, sample: Sample) -> str:
    """The text of a sample of the streams `pairs` or `texts`.

    Raises:
        SampleError: it is not UTF-8, or a text alone is empty.
    """
    words = text(sample)
    if stream == "texts" and not words.strip():
        raise SampleError("text is empty", "empty_text")
    return words


def stored_view(
    image: bytes,
    sample: Sample,
    column: str | None,
    codes: CodeGrid,
    side: int,
    draw: np.random.Generator | None,
) -> Row | None:
    """A view of the column of codes, see `CodeGrid.stored_view`; None where a view is to be made:
    without a column, and for evaluation where the sample has no value.

    Raises:
        SampleError: see `CodeGrid.stored_view`; or a training sample has no value.
    """
    if not column:
        return None
    if value := sample.get(column, b""):
        return codes.stored_view(image, value, column, side, draw)
    if draw:
        raise SampleError(f"column {column} has no value", "no_value")
    return None


def stacked(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Rows as a batch's data."""
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def masked_labels(
    data: Mapping[str, Tensor],
    places: Mapping[str, Tensor],
    codes: Targets,
    of_patches: Collection[str],
) -> dict[str, Tensor]:
    """What stood at the places that each loss predicts, int64 [n]: codes, of those losses that are
    `of_patches`, and `ids` of the others."""
    return {
        name: at(codes(data) if name in of_patches else data["ids"], where)
        for name, where in places.items()
    }


def cross_entropies(outputs: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sum of each loss whose output [n, classes] is to tell labels int64 [n], in fp32."""
    return {
        name: F.cross_entropy(outputs[name].float(), of, reduction="sum")
        for name, of in labels.items()
    }
