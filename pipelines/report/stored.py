"""Figures of some shards stored as a Parquet file: tasks count them, and a later step adds them."""

import json
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa

from septet.pipelines.report.frequent import Frequent
from septet.pipelines.report.measures import Distribution
from septet.pipelines.report.statistics import ShardStatistics
from septet.preprocess import files

SCHEMA = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""How often a value occurs. `group` is members, member_bytes, category or measure."""
_FOOTER = "septet.statistics"


def write_statistics(path: str, found: ShardStatistics, metadata: dict[str, str]) -> None:
    """Write the figures of some shards.

    Args:
        path: The file.
        found: The figures.
        metadata: Further entries of the footer.
    """
    rows: list[tuple[str, str, str, int]] = []
    for group, counts in (("members", found.members), ("member_bytes", found.member_bytes)):
        rows += [(group, "", value, count) for value, count in counts.items()]
    for name, frequent in found.categories.items():
        rows += [("category", name, value, count) for value, count in frequent.counts.items()]
    for name, measure in found.measures.items():
        rows += [("measure", name, str(value), count) for value, count in measure.counts.items()]
    rows.sort()
    footer = {
        "samples": found.samples,
        "categories": {
            name: [one.total, one.error, None if one.hashes is None else one.hashes.tolist()]
            for name, one in found.categories.items()
        },
        "measures": {
            name: [one.total, one.minimum, one.maximum] for name, one in found.measures.items()
        },
    }
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    table = pa.table(columns, schema=SCHEMA)
    files.write_table(path, table, metadata=metadata | {_FOOTER: json.dumps(footer)})


def read_statistics(path: str) -> ShardStatistics:
    """The inverse of `write_statistics`."""
    table = files.read_table(path)
    footer = json.loads(files.read_table_metadata(path)[1][_FOOTER.encode()])
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for group, name, value, count in zip(*(c.to_pylist() for c in table.columns), strict=True):
        counts[group, name][value] = count
    return ShardStatistics(
        samples=footer["samples"],
        members=counts["members", ""],
        member_bytes=counts["member_bytes", ""],
        categories={
            name: Frequent(
                counts["category", name],
                total,
                error,
                None if hashes is None else np.array(hashes, np.uint64),
            )
            for name, (total, error, hashes) in footer["categories"].items()
        },
        measures={
            name: Distribution(
                Counter({int(value): count for value, count in counts["measure", name].items()}),
                total,
                least,
                most,
            )
            for name, (total, least, most) in footer["measures"].items()
        },
    )
