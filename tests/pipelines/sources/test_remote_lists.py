"""Lists on object stores: how much of them is transferred."""

import io
import os
from collections import Counter
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import Input
from septet.pipelines.sources.lists import UrlList
from septet.schemas.sources import ListSource


class CountedStore(AbstractFileSystem):
    """Objects that are read by ranges, with fsspec's own buffers before them."""

    protocol = "counted"
    objects: ClassVar[dict[str, bytes]] = {}
    transferred = 0

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name and size."""
        name = self._strip_protocol(path)
        return {"name": name, "size": len(self.objects[name]), "type": "file"}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> AbstractBufferedFile:
        options.pop("autocommit", None)
        return _Object(self, path, mode, **options)


class _Object(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        data = CountedStore.objects[self.path][start:end]
        CountedStore.transferred += len(data)
        return data


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[CountedStore]:
    fsspec.register_implementation("counted", CountedStore, clobber=True)
    monkeypatch.setattr(CountedStore, "objects", {})
    monkeypatch.setattr(CountedStore, "transferred", 0)
    return CountedStore


@pytest.mark.parametrize(("rows_a_group", "slices", "times"), [(48_000, 4, 3.5), (2400, 10, 1.1)])
def test_parquet_is_transferred_once_and_what_stands_before_a_part(
    store: type[CountedStore],
    monkeypatch: pytest.MonkeyPatch,
    rows_a_group: int,
    slices: int,
    times: float,
) -> None:
    rows = 48_000
    columns = {name: [os.urandom(87).hex() for _ in range(rows)] for name in ("url", "caption")}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=rows_a_group, compression="none")
    store.objects["a.parquet"] = data = out.getvalue()
    monkeypatch.setattr(cuts, "SLICE_BYTES", 2**20)
    source, settings = UrlList(), ListSource(kind="list", paths=["counted://a.parquet"])
    facts = source.describe("counted://a.parquet", len(data))
    assert len(facts.slices) == slices
    found = []
    for number, part in enumerate(facts.slices):
        path = "counted://a.parquet"
        one = Input(path, 0, path, len(data), "d", part, number, slices, "/")
        found += [row["url"] for row in source.records(settings, one, Counter())]
    assert found == columns["url"]
    assert store.transferred <= times * len(data)
