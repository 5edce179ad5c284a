"""`septet remove --compact`: the bytes of removed samples leave shards, columns and fetch store.

Only shards that hold some are written anew, under names of their own, and so are columns' files for
them; then the lists, then the heads, then the old files go. At every moment the folder is a whole
corpus, whoever kills this; the next run finishes it.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.takedown.log import Entry, append, timestamp, user
from septet.pipelines.takedown.purge import purge_store
from septet.pipelines.takedown.remove import refresh
from septet.preprocess import files
from septet.preprocess.columns.reader import column_names, column_shards, read_manifest
from septet.preprocess.locks import locked
from septet.preprocess.shards.heads import read_head
from septet.preprocess.shards.lists import open_list, write_list
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.preprocess.shards.removed import newest_list, without_removed
from septet.preprocess.shards.sidecar import read_sidecar
from septet.preprocess.shards.tar import ShardWriter
from septet.preprocess.shards.views import require_whole
from septet.schemas import layout
from septet.schemas.columns import COLUMN_SHARD_LIST, FORMAT_VERSION, ColumnShard
from septet.schemas.manifest import SHARD_LIST, Shard, ShardFile

_ARROW = b"ARROW:schema"


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction."""

    shards: int
    """Shards that were written anew."""
    samples: int
    """Samples whose bytes left them."""
    bytes: int
    """Bytes by which tars of corpus and columns became smaller."""
    stored: int
    """Images of the fetch store whose bytes were overwritten."""


def compact(path: str, who: str, note: str, console: Console) -> Compacted:
    """Take the bytes of removed samples out of a corpus's folder.

    Args:
        path: The corpus folder.
        who: Who asks for it, for the log.
        note: Why, for the log.
        console: The console for a progress bar.

    Raises:
        ManifestError: no corpus.
        FolderBusyError: a build or an annotation is at work in the folder.
        DamagedError: a shard is damaged; nothing of the corpus was changed.
    """
    require_whole(path, "shards belong to the corpus: `septet remove {corpus} --compact`")
    read_head(path)  # a lock would make the folder where there is none
    with locked(path, alone=True, busy=f"a build or annotation is at work in {path}"):
        corpus = Corpus(path, open_shards=1)
        if corpus.manifest.removed is None:
            return Compacted(0, 0, 0, 0)
        files.remove_temporaries(path)
        held = {n: rows for n in corpus.removed.rows if len(rows := _held(corpus, n))}
        newest = newest_list(path)
        assert newest is not None
        columns = files.list_folder(files.join(path, layout.COLUMNS))
        work = map_ahead(lambda n: _rewrite(corpus, n, newest[0], columns), held)
        done = list(track(work, "compacting", len(held), console=console, transient=True))
        new = dict(zip(held, (one.shard for one in done), strict=True))
        if new:
            shards = (new.get(n, shard) for n, shard in enumerate(corpus.shards))
            write_list(path, corpus.manifest.shard_list.path, SHARD_LIST, shards)
        _finish(path)
        stored = purge_store(path)
        found = Compacted(
            len(new), sum(map(len, held.values())), sum(one.freed for one in done), stored
        )
        if new or stored:
            figures = {"shards": found.shards, "samples": found.samples, "stored": stored}
            append(path, Entry(timestamp(), who or user(), note, "compact", figures))
    refresh(path)
    return found


def _held(corpus: Corpus, number: int) -> NDArray[np.int64]:
    """The removed rows of a shard whose members it still has."""
    shard, rows = corpus.shards[number], corpus.removed.of(number)
    where = files.join(corpus.path, shard.sidecar)
    members = read_sidecar(where, ["members"], shard.samples)["members"].take(rows)
    return rows[np.array([bool(one) for one in members.to_pylist()], bool)]


@dataclass(frozen=True)
class _Rewritten:
    shard: Shard
    freed: int


def _rewrite(corpus: Corpus, number: int, generation: int, columns: list[str]) -> _Rewritten:
    """Write a shard without its removed samples, and every column's file for it."""
    old, rows = corpus.shards[number], corpus.removed.of(number)
    tar = layout.compacted_tar(old.tar, generation)
    indexed = not old.sidecar.startswith(f"{layout.SHARDS}/")
    sidecar = layout.index_sidecar(tar) if indexed else tar.removesuffix("tar") + "parquet"
    new = _copy(corpus.path, old, ShardFile(**_names(old) | {"tar": tar, "sidecar": sidecar}), rows)
    freed = old.bytes - new.bytes
    for name in columns:
        where = layout.column_sidecar(name, old.tar)
        if not files.exists(files.join(corpus.path, where)):
            continue
        _, footer = files.read_table_metadata(files.join(corpus.path, where))
        made = json.loads(footer.get(layout.COLUMN_FOOTER.encode(), b"{}"))
        if made.get("base_sha256") == old.tar_sha256:
            made["base_sha256"] = new.tar_sha256
        own = _names(old) | {"tar": layout.column_tar(name, old.tar), "sidecar": where}
        to = {"tar": layout.column_tar(name, tar), "sidecar": layout.column_sidecar(name, tar)}
        column = _copy(
            corpus.path, ShardFile(**own), ShardFile(**own | to), rows,
            {layout.COLUMN_FOOTER: json.dumps(made)},
        )  # fmt: skip
        freed += files.size(files.join(corpus.path, own["tar"])) - column.bytes
    kept = {name: getattr(old, name) for name in ("first_key", "last_key")}
    return _Rewritten(Shard(**new.model_dump(), **kept), freed)


def _names(shard: ShardFile) -> dict[str, Any]:
    return {name: getattr(shard, name) for name in ShardFile.model_fields}


def _copy(
    corpus: str,
    old: ShardFile,
    new: ShardFile,
    rows: NDArray[np.int64],
    footer: dict[str, str] | None = None,
) -> ShardFile:
    """Copy a tar and its sidecar without the members of some rows, unless an earlier run has done
    so; returns what the list of shards says of the copy.

    Args:
        corpus: The corpus folder.
        old: The files to read.
        new: The names of the files to write.
        rows: Rows that keep nothing but what `without_removed` leaves.
        footer: Entries of the sidecar's footer that are other than in the old one.
    """
    where, to = (files.join(corpus, one.sidecar) for one in (old, new))
    changed = footer or {}
    if not files.exists(to) or not _has_footer(to, changed):
        table = without_removed(read_sidecar(where, None, old.samples), rows)
        _, before = files.read_table_metadata(where)
        gone, members = frozenset(rows.tolist()), []
        with (
            files.open_atomic(files.join(corpus, new.tar)) as out,
            ShardReader(files.join(corpus, old.tar), where, rows=old.samples) as reader,
        ):
            writer = ShardWriter(out)
            for row in range(len(reader)):
                content = {} if row in gone else reader.read(row, checksum=zlib.crc32)
                members.append(writer.add(reader.key(row), content))
            size, digest = writer.close()
        at = table.column_names.index("members")
        table = table.set_column(
            at, table.schema.field(at), pa.array(members, table.schema.field(at).type)
        )
        told = {k.decode(): v.decode() for k, v in before.items() if k != _ARROW}
        told |= {layout.TAR_FOOTER: json.dumps({"bytes": size, "sha256": digest})} | changed
        files.write_table(to, table.replace_schema_metadata(), metadata=told)
    return _listed(corpus, new.tar, new.sidecar)


def _has_footer(path: str, entries: dict[str, str]) -> bool:
    _, footer = files.read_table_metadata(path)
    return all(footer.get(name.encode()) == text.encode() for name, text in entries.items())


def _listed(corpus: str, tar: str, sidecar: str) -> ShardFile:
    """What the list of shards says of files that are there."""
    where = files.join(corpus, sidecar)
    count, footer = files.read_table_metadata(where)
    told = json.loads(footer[layout.TAR_FOOTER.encode()])
    return ShardFile(
        tar=tar,
        sidecar=sidecar,
        samples=count,
        bytes=told["bytes"],
        tar_sha256=told["sha256"],
        sidecar_sha256=files.sha256(where),
    )


def _finish(path: str) -> None:
    """Bring all that names shards in line with the list of shards, and delete what it replaced."""
    corpus = Corpus(path, open_shards=1)
    head = corpus.manifest
    digest = files.sha256(files.join(path, head.shard_list.path))
    for name in column_names(path):
        _finish_column(corpus, name, digest)
    if digest != head.shard_list.sha256:
        told = head.shard_list.model_copy(update={"sha256": digest})
        size = int(corpus.shards.numbers("bytes").sum())
        head = head.model_copy(update={"shard_list": told, "bytes": size})
        files.write_bytes(files.join(path, layout.MANIFEST), head.to_json().encode())
    _delete_replaced(corpus)


def _finish_column(corpus: Corpus, name: str, base_list: str) -> None:
    """Let a column's list and head name the files of compacted shards."""
    manifest, listed = read_manifest(corpus.path, name), column_shards(corpus.path, name)
    if len(listed) != len(corpus.shards):
        return  # made from other shards
    changed: dict[int, ColumnShard] = {}
    for number in corpus.removed.rows:
        base, old = corpus.shards[number], listed[number]
        tar, sidecar = layout.column_tar(name, base.tar), layout.column_sidecar(name, base.tar)
        if old.tar != tar and files.exists(files.join(corpus.path, sidecar)):
            found = _listed(corpus.path, tar, sidecar)
            _, footer = files.read_table_metadata(files.join(corpus.path, sidecar))
            made = json.loads(footer[layout.COLUMN_FOOTER.encode()])
            changed[number] = ColumnShard(**found.model_dump(), base_sha256=made["base_sha256"])
    if changed:
        rows = (changed.get(n, row) for n, row in enumerate(listed))
        path = layout.column_shard_list(name)
        told = write_list(corpus.path, path, COLUMN_SHARD_LIST, rows)
        listed = open_list(corpus.path, told, ColumnShard, COLUMN_SHARD_LIST, path)
    elif manifest.format_version == 1:
        return  # its list is in its head
    else:
        digest = files.sha256(files.join(corpus.path, manifest.shard_list.path))
        told = manifest.shard_list.model_copy(update={"sha256": digest})
    is_of_this = manifest.base_list == corpus.manifest.shard_list.sha256
    new = manifest.model_copy(
        update={
            "format_version": FORMAT_VERSION,
            "shard_list": told,
            "bytes": int(listed.numbers("bytes").sum()),
            "base_list": base_list if is_of_this else manifest.base_list,
        }
    )
    if new != manifest:
        where = files.join(corpus.path, layout.column_manifest(name))
        files.write_bytes(where, new.to_json().encode())


def _delete_replaced(corpus: Corpus) -> None:
    """Delete files of shards, and of columns for them, in whose places compacted ones are."""
    listed = {tar.as_py() for tar in corpus.shards.column("tar")}
    columns = files.list_folder(files.join(corpus.path, layout.COLUMNS))
    for number in corpus.removed.rows:
        shard = corpus.shards[number]
        for old in _earlier(corpus.path, shard.tar):
            if old in listed:
                continue
            own = shard.sidecar.startswith(f"{layout.SHARDS}/")
            names = [old, old.removesuffix("tar") + "parquet" if own else layout.index_sidecar(old)]
            for name in columns:
                names += [layout.column_sidecar(name, old), layout.column_tar(name, old)]
            for name in names:
                files.remove(files.join(corpus.path, name))


def _earlier(corpus: str, tar: str) -> Iterator[str]:
    """The tars that one took the place of: the first, and those of earlier or killed
    compactions."""
    folder, slash, name = tar.rpartition("/")
    stem = re.fullmatch(r"(.+)-r\d+\.tar", name)
    if stem is None:
        return
    pattern = re.compile(rf"{re.escape(stem[1])}(-r\d+)?\.tar")
    there = {f"{stem[1]}.tar", *files.list_folder(files.join(corpus, folder) if slash else corpus)}
    for found in sorted(there):
        if pattern.fullmatch(found) and found != name:
            yield f"{folder}{slash}{found}"
