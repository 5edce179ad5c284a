"""Pairs that do not match, for image-text matching (paper, section 3.2)."""

import torch

from septet.trainers.task import Batch


def exchange_texts(batch: Batch) -> Batch:
    """Neighbours, rows 2k and 2k + 1, exchange their texts where `swap` of row 2k says so.

    So every text stays in the batch once, and no text becomes right for two images, which the
    contrastive loss would take for an error.

    Returns:
        The batch without `swap`, with `match` int64 [B], 1 where image and text belong together
        (texts that are equal do), and `patch_places` bool [B, N], the masked patches of those;
        `word_places` is emptied for the others.

    Raises:
        ValueError: a row has no neighbour.
    """
    data = dict(batch.data)
    mine = torch.arange(len(batch))
    if len(batch) % 2:
        raise ValueError(
            "pairs exchange texts with their neighbours, so each rank's micro-batch must be even; "
            f"found {len(batch)} rows: choose other train.global_batch or train.micro_batch"
        )
    swap = data.pop("swap")[mine - mine % 2]
    source = torch.where(swap, mine ^ 1, mine)
    match = (data["ids"] == data["ids"][source]).all(1)
    for name in ("ids", "ids_masked", "word_places"):
        data[name] = data[name][source]
    data["word_places"] = data["word_places"] & match[:, None]
    data["patch_places"] = data["patch_mask"] & match[:, None]
    return Batch(batch.kind, {**data, "match": match.long()})
