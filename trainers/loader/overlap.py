"""Whether a held-out corpus overlaps those that are trained on."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.shards.reader import Corpus

LOOKED_UP = 64
"""Keys of the held-out corpus that are looked up: where a tenth of it is trained on, that is missed
once in 800 times."""
MOST_SHARDS = 1000
"""Shards of a corpus without order that are looked through."""


def refuse_overlap(held_out: Corpus, trained: Iterable[Corpus]) -> None:
    """Look up some samples of a held-out corpus in those that are trained on.

    Raises:
        ValueError: one is there.
    """
    if not len(held_out):
        return
    chosen = np.unique(np.linspace(0, len(held_out) - 1, LOOKED_UP).astype(int))
    keys = sorted(held_out.key(int(i)) for i in chosen)
    wanted = pa.array(keys)
    for corpus in trained:
        by_order = corpus.manifest.sorted_keys
        looked = 0
        for number, shard in enumerate(corpus.shards):
            if by_order and not any(shard.first_key <= key <= shard.last_key for key in keys):
                continue
            looked += 1
            if looked > MOST_SHARDS:
                break
            have = corpus.metadata(number, ["key"])["key"].cast(pa.string())
            have = have.take(corpus.rows(number))
            found = have.filter(pc.is_in(have, wanted))
            if len(found):
                raise ValueError(
                    f"--held-out {held_out.label} overlaps {corpus.label}, which is trained on: "
                    f"both have sample {found[0].as_py()}. Build one corpus for each, of other "
                    "inputs, or hold a share out with `septet curate --split`"
                )
