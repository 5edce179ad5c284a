"""Which columns of the tables of a corpus are never null: readers rely on it."""

import pyarrow as pa
import pytest

from septet.schemas import columns, manifest, tables

SHARD = ["tar", "sidecar", "samples", "bytes", "tar_sha256", "sidecar_sha256"]


@pytest.mark.parametrize(("schema", "names"), [
    (tables.SHARD_INDEX, ["key"]),
    (tables.COLUMN_INDEX, ["key"]),
    (tables.SAMPLES, ["key"]),
    (tables.CANDIDATES, ["id", "source"]),
    (tables.FILTERED, ["id", "source"]),
    (tables.PLANNED, ["id", "source"]),
    (tables.FETCHED, ["image_url"]),
    (tables.STORED, ["image_url"]),
    (tables.IMAGE_LOCATIONS, ["image_url", "input"]),
    (tables.REJECTS, ["stage", "reason"]),
    (manifest.SHARD_LIST, [*SHARD, "first_key", "last_key"]),
    (manifest.INPUT_LIST, ["path", "bytes", "digest"]),
    (columns.COLUMN_SHARD_LIST, [*SHARD, "base_sha256"]),
])  # fmt: skip
def test_columns_that_are_never_null(schema: pa.Schema, names: list[str]) -> None:
    assert [field.name for field in schema if not field.nullable] == names


def test_all_is_known_of_a_member() -> None:
    assert [(field.name, field.nullable) for field in tables.MEMBERS.value_type] == [
        ("ext", False), ("offset", False), ("size", False), ("crc32", False),
    ]  # fmt: skip
