"""Sidecars and a manifest for shards that others wrote."""

import itertools
from importlib.metadata import version

import fsspec
import pyarrow as pa
from rich.console import Console
from rich.progress import track

from septet.preprocess import files
from septet.preprocess.shards.heads import read_head, write_corpus
from septet.preprocess.shards.tar import index_tar
from septet.schemas import tables
from septet.schemas.layout import MANIFEST, index_sidecar
from septet.schemas.manifest import Manifest, Shard


def index_folder(folder: str, name: str | None, console: Console) -> Manifest:
    """Index every tar of a folder, in order of their names.

    All sidecars are written anew, since a tar may have been replaced.

    Args:
        folder: Holds `*.tar`; img2dataset's `*.parquet` beside them are joined in by key.
        name: Name of the corpus.
        console: For a progress bar.

    Raises:
        ValueError: no tar, an empty one, a broken one, or a key that stands in two.
    """
    tars = [entry for entry in files.list_folder(folder) if entry.endswith(".tar")]
    if not tars:
        raise ValueError(f"{folder} holds no .tar files: expected shards such as 00000.tar")
    if files.exists(files.join(folder, MANIFEST)) and read_head(folder).recipe:
        raise ValueError(f"{folder} is a built corpus: it has its sidecars already")
    shards: list[Shard] = []
    owners: dict[str, str] = {}
    for tar in track(tars, description="index", console=console, transient=True):
        table = _index_shard(folder, tar)
        for key in table["key"].to_pylist():
            if key in owners:
                raise ValueError(f"key {key!r} stands in {owners[key]} and in {tar}")
            owners[key] = tar
        if len(table):
            shards.append(_write_sidecar(folder, tar, table))
        else:
            console.print(f"{tar} holds no sample: left out")
    keys = list(owners)
    return write_corpus(
        folder,
        shards,
        name=name or folder.rstrip("/").rsplit("/", 1)[-1],
        septet=version("septet"),
        sorted_keys=all(a < b for a, b in itertools.pairwise(keys)),
        counts={"samples": len(keys)},
        indexed=True,
    )


def _index_shard(folder: str, tar: str) -> pa.Table:
    with fsspec.open(files.join(folder, tar), "rb") as file:
        rows = [{"key": key, "members": members} for key, members in index_tar(file, tar)]
    table = pa.Table.from_pylist(rows, tables.SHARD_INDEX)
    beside = files.join(folder, tar.removesuffix(".tar") + ".parquet")
    if not files.exists(beside):
        return table
    known = files.read_table(beside)
    if "key" not in known.column_names:
        return table
    # img2dataset lists pairs that failed as well, in an order of its own, and its keys have gaps.
    known = known.drop_columns([n for n in known.column_names if n == "members"])
    keys = known["key"].cast(pa.string())
    rows_of = {key: row for row, key in enumerate(keys.to_pylist())}
    take = pa.array([rows_of.get(key) for key in table["key"].to_pylist()], pa.int64())
    known = known.take(take)
    for field in known.schema:
        if field.name != "key":
            table = table.append_column(field, known[field.name])
    return table


def _write_sidecar(folder: str, tar: str, table: pa.Table) -> Shard:
    sidecar = index_sidecar(tar)
    path, where = files.join(folder, tar), files.join(folder, sidecar)
    files.write_table(where, table)
    fs, plain = fsspec.url_to_fs(path)
    keys = table["key"].to_pylist()
    return Shard(
        tar=tar,
        sidecar=sidecar,
        samples=len(table),
        bytes=fs.size(plain),
        tar_sha256=files.sha256(path),
        sidecar_sha256=files.sha256(where),
        first_key=min(keys),
        last_key=max(keys),
    )
