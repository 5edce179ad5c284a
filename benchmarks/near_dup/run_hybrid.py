"""Daft's signatures, bands by numpy, components by scipy. Runs in Daft's environment."""

import os
import sys

import daft
import numpy as np
from daft import col
from daft.functions import minhash, normalize, regexp_replace
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.near_dup.measured import Measured

BANDS, ROWS = 16, 8


def signed(path: str, language: str) -> daft.DataFrame:
    """The rows with their signatures."""
    text = normalize(col("caption"), remove_punct=True, lowercase=True, white_space=True)
    if language == "zh":
        text = regexp_replace(text, "(.)", "$1 ")
    sign = minhash(text, num_hashes=BANDS * ROWS, ngram_size=1, seed=1, hash_function="xxhash64")
    return daft.read_parquet(path).select(sign.alias("sign"))


def main() -> None:
    path, out, language = sys.argv[1:]
    measured = Measured()
    table = signed(path, language).to_arrow()
    parts = [
        chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, BANDS * ROWS)
        for chunk in table["sign"].chunks
    ]
    found = np.concatenate(parts)
    count = len(found)
    edges = []
    for band in range(BANDS):
        words = np.ascontiguousarray(found[:, band * ROWS : (band + 1) * ROWS]).view(np.uint64)
        key = np.zeros(count, np.uint64)
        for i in range(words.shape[1]):
            key = (key ^ words[:, i]) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(32)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        fresh = np.ones(count, bool)
        fresh[1:] = ordered[1:] != ordered[:-1]
        head = order[fresh][np.cumsum(fresh) - 1]
        edges.append(np.stack([order[~fresh], head[~fresh]]))
    members, heads = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(members), np.int8), (members, heads)), (count, count))
    _, labels = connected_components(graph, directed=False)
    first = np.zeros(count, bool)
    first[np.unique(labels, return_index=True)[1]] = True
    measured.stop()
    np.save(out, np.flatnonzero(~first))
    measured.show()
    sys.stdout.flush()
    os._exit(0)  # 0.7.26 may crash while Python ends


if __name__ == "__main__":
    main()
