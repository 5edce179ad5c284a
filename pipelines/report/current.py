"""Whether the report shows a corpus's columns as they are: the page says which ones it was drawn
from, so what was killed between a column and its report is made up by whoever comes next."""

import hashlib
import re

from septet.preprocess import files
from septet.preprocess.columns.reader import column_names
from septet.preprocess.shards.heads import read_head
from septet.schemas.layout import REPORT, STATISTICS, column_manifest

COLUMNS_META = "septet-columns"
"""The name of the page's `meta` element that holds `columns_digest`."""
_HEAD = 4096
"""Bytes of the page's start, in which that element stands."""


def columns_digest(corpus: str) -> str:
    """The digest of the manifests of a corpus's complete columns, and of its lists where samples
    were removed from it."""
    digest, head = hashlib.sha256(), read_head(corpus)
    if head.removed:
        digest.update(f"{head.removed.sha256} {head.shard_list.sha256}\n".encode())
    for name in column_names(corpus):
        found = files.read_bytes(files.join(corpus, column_manifest(name)))
        digest.update(f"{name}\0{hashlib.sha256(found).hexdigest()}\n".encode())
    return digest.hexdigest()


def is_current(corpus: str) -> bool:
    """Whether a corpus's report was drawn from the columns that are there; a corpus without
    statistics has no report and needs none."""
    if not files.exists(files.join(corpus, STATISTICS)):
        return True
    report = files.join(corpus, REPORT)
    if not files.exists(report):
        return False
    with files.open_read(report) as page:
        head = page.read(_HEAD)
    told = re.search(rb'<meta name="%b" content="(\w*)">' % COLUMNS_META.encode(), head)
    return told is not None and told[1].decode() == columns_digest(corpus)
