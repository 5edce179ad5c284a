"""Keys that stand twice in a corpus."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess import files
from septet.preprocess.shards import keys
from septet.preprocess.shards.keys import repeated_keys
from septet.schemas import tables


def write(folder: Path, sidecars: list[list[str]]) -> list[str]:
    paths = []
    for number, names in enumerate(sidecars):
        paths.append(str(folder / f"{number}.parquet"))
        rows = [{"key": name, "members": []} for name in names]
        files.write_table(paths[-1], pa.Table.from_pylist(rows, tables.SHARD_INDEX))
    return paths


@pytest.mark.parametrize("flush", [1, 3, 10**6])
def test_keys_that_stand_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: int) -> None:
    monkeypatch.setattr(keys, "_FLUSH_ROWS", flush)
    many = [f"key {number}" for number in range(600)]  # in all buckets, more than one in each
    paths = write(tmp_path, [many[:300], many[300:], ["key 7", "new", "key 599"], ["new", "new"]])
    assert sorted(repeated_keys(paths)) == [
        ("key 599", 1, 2), ("key 7", 0, 2), ("new", 2, 3), ("new", 2, 3),
    ]  # fmt: skip
    assert list(repeated_keys(paths[:2])) == list(repeated_keys([])) == []


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5), max_size=4))
def test_two_keys_with_one_digest_are_two_keys(sidecars: list[list[str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        digests = keys._digests
        patch.setattr(
            keys, "_digests", lambda names: digests([n if n in "ab" else "x" for n in names])
        )
        found = list(repeated_keys(write(Path(folder), sidecars)))
    owners: dict[str, int] = {}
    wanted = []
    for number, names in enumerate(sidecars):
        for name in names:
            if name in owners:
                wanted.append((name, owners[name], number))
            else:
                owners[name] = number
    assert found == wanted
