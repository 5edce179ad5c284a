"""The bytes of removed images in a corpus's fetch store, which are overwritten with zeros.

Their rows stay, so that nothing is asked of a server again; no build reads the bytes, since it
drops such an image by its digest.
"""

import re
from collections import defaultdict

import numpy as np
import pyarrow.compute as pc

from septet.pipelines.ahead import map_ahead
from septet.pipelines.stages.barred import Barred, barred_lists, read_barred
from septet.pipelines.store.store import FILE_OF_A_TASK, read_stored
from septet.preprocess import files
from septet.preprocess.domains import domains_among
from septet.preprocess.text.ids import url_hash
from septet.schemas.layout import STORE

_TABLE = re.compile(rf"[0-9a-f]{{16}}/{FILE_OF_A_TASK}\.parquet")
_COLUMNS = ["image_url", "sha256", "file", "offset", "size"]


def purge_store(corpus: str) -> int:
    """Overwrite the bytes of removed images in all stores of a corpus; returns how many had any
    left."""
    barred = read_barred(barred_lists(corpus))
    root = files.join(corpus, STORE)
    tables = [path for path, _ in files.walk(root) if _TABLE.fullmatch(path)]
    known = (barred.digests, barred.urls, barred.domains)
    if not any(map(len, known)) or not tables:
        return 0
    return sum(map_ahead(lambda path: _purge(corpus, files.join(root, path), barred), tables))


def _purge(corpus: str, table: str, barred: Barred) -> int:
    rows = read_stored(table, _COLUMNS)
    rows = rows.filter(pc.is_valid(rows["file"]))
    urls = np.array([url_hash(url) for url in rows["image_url"].to_pylist()], np.uint64)
    hit = pc.is_in(rows["sha256"], value_set=barred.digests).to_numpy() | np.isin(urls, barred.urls)
    there = domains_among(rows["image_url"].combine_chunks(), barred.domains)
    hit |= there.is_valid().to_numpy(zero_copy_only=False)
    places: dict[str, list[slice]] = defaultdict(list)
    for row in rows.take(np.flatnonzero(hit)).to_pylist():
        places[row["file"]].append(slice(row["offset"], row["offset"] + row["size"]))
    count = 0
    for file, slices in places.items():
        path = files.join(corpus, file)
        if not files.exists(path):
            continue  # cleaned, and its table not yet
        data = bytearray(files.read_bytes(path))
        left = [part for part in slices if any(data[part])]
        for part in left:
            data[part] = bytes(len(data[part]))
        if left:
            files.write_bytes(path, bytes(data))
        count += len(left)
    return count
