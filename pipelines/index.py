"""`septet index`: writes sidecars and a head for a folder of WebDataset shards that another tool
made."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.report.readable import one_line
from septet.preprocess import files
from septet.preprocess.shards.heads import read_head, write_corpus
from septet.preprocess.shards.keys import repeated_keys
from septet.preprocess.shards.removed import list_again
from septet.preprocess.shards.tar import Member, TarError, index_tar
from septet.schemas import tables
from septet.schemas.layout import COLUMNS, INDEX, MANIFEST, index_sidecar, inside, is_image
from septet.schemas.manifest import Manifest, Shard

_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".tar.lz4")
_ROWS_AT_ONCE = 8192
_NAMED = 3
_OTHER_NAMES = {"TEXT": "caption", "text": "caption", "URL": "url", "image_url": "url"}
"""Names of columns in lists that img2dataset's users start from, and img2dataset's own name for
each: a Parquet file without the second has its column under that."""


@dataclass
class Indexed:
    """The result of indexing a folder."""

    manifest: Manifest
    left_out: list[str] = field(default_factory=list)
    """Tars that could not be read to their end, each with why; the corpus is without them."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what the folder holds and the corpus does not."""


@dataclass
class _Tar:
    """The result of indexing one tar."""

    name: str
    shard: Shard | None = None
    fault: str = ""
    ascends: bool = True
    unusable: Counter[str] = field(default_factory=Counter)
    """Samples that no reader can use, by why."""
    examples: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Members of the tar that belong to no sample, by why."""
    unmatched: Counter[str] = field(default_factory=Counter)
    """Rows of the Parquet file beside it that no sample has, by status."""


def index_folder(folder: str, name: str | None, console: Console) -> Indexed:
    """Index every tar of a folder, in order of their names.

    All sidecars are written anew, since a tar may have been replaced. A tar that is cut short or
    damaged is left out, and named.

    Args:
        folder: Holds `*.tar`; img2dataset's `*.parquet` beside them are joined in by key.
        name: Name of the corpus.
        console: The console for a progress bar.

    Raises:
        ValueError: no tar, none that can be read, or a key that stands in two.
    """
    names = files.list_folder(folder)
    tars = [entry for entry in names if entry.endswith(".tar")]
    if not tars:
        packed = [entry for entry in names if entry.endswith(_PACKED)]
        hint = f"; {packed[0]} is packed: unpack it first (gunzip)" if packed else ""
        raise ValueError(f"{folder} holds no .tar files: expected shards such as 00000.tar{hint}")
    if files.exists(files.join(folder, MANIFEST)) and read_head(folder).recipe:
        raise ValueError(f"{folder} is a built corpus: it has its sidecars already")
    found: list[_Tar] = []
    work = map_ahead(partial(_index_tar, folder), tars)
    for one in track(work, "index", len(tars), console=console, transient=True):
        found.append(one)
    shards = [one.shard for one in found if one.shard is not None]
    left_out = [one_line(f"{one.name}: {one.fault}", 600) for one in found if one.fault]
    if not shards:
        raise ValueError("\n".join([f"{folder} holds no tar that can be indexed", *left_out[:20]]))
    ascends = all(one.ascends for one in found) and all(
        a.last_key < b.first_key for a, b in pairwise(shards)
    )
    if not ascends:
        _refuse_repeated(folder, shards)
    unmatched = sum((one.unmatched for one in found), Counter[str]())
    unusable = sum((one.unusable for one in found), Counter[str]())
    manifest = write_corpus(
        folder,
        shards,
        name=name or folder.rstrip("/").rsplit("/", 1)[-1],
        septet=version("septet"),
        sorted_keys=ascends,
        counts={
            "samples": sum(shard.samples for shard in shards),
            "samples_without_image_and_text": unusable.total(),
            "rows_without_sample": unmatched.total(),
            "tars_left_out": len(left_out),
        },
        indexed=True,
        removed=list_again(folder, shards),
    )
    return Indexed(manifest, left_out, list(_notes(folder, names, found)))


def _refuse_repeated(folder: str, shards: list[Shard]) -> None:
    sidecars = [files.join(folder, shard.sidecar) for shard in shards]
    for key, first, second in repeated_keys(sidecars):
        raise ValueError(f"key {key!r} stands in {shards[first].tar} and in {shards[second].tar}")


def _index_tar(folder: str, tar: str) -> _Tar:
    found = _Tar(tar)
    try:
        inside(tar, folder)
        table = _read_tar(folder, found)
        if not len(table):
            found.fault = "holds no sample"
            return found
        table = _join(folder, found, table)
        found.shard = _write_sidecar(folder, tar, table)
    except (TarError, OSError, ValueError, pa.ArrowException) as error:
        found.fault = str(error).removeprefix(f"{tar}: ")
    return found


def _read_tar(folder: str, found: _Tar) -> pa.Table:
    """Read the keys and members of a tar's samples."""
    batches, rows, last = [], [], None
    with files.open_read(files.join(folder, found.name)) as file:
        for key, members in index_tar(file, found.name, found.passed_over):
            if last is not None and key <= last:
                found.ascends = False
            last = key
            if why := _why_unusable(members):
                found.unusable[why] += 1
                found.examples.setdefault(why, f"{key}.{members[0]['ext']}")
            rows.append({"key": key, "members": members})
            if len(rows) == _ROWS_AT_ONCE:
                batches.append(pa.RecordBatch.from_pylist(rows, tables.SHARD_INDEX))
                rows = []
    batches.append(pa.RecordBatch.from_pylist(rows, tables.SHARD_INDEX))
    return pa.Table.from_batches(batches, tables.SHARD_INDEX)


def _why_unusable(members: list[Member]) -> str | None:
    """The reason why a sample is of no use, having neither an image nor text that readers find;
    None where it has one."""
    exts = [member["ext"] for member in members]
    if any((is_image(ext) and ext == ext.lower()) or ext == "txt" for ext in exts):
        return None
    if any(is_image(ext) or ext.lower() == "txt" for ext in exts):
        return "extension in upper case"
    if any(is_image(ext.rpartition(".")[2]) for ext in exts):
        return "dot in the key"
    return "neither image nor text"


def _join(folder: str, found: _Tar, table: pa.Table) -> pa.Table:
    """Join the columns of img2dataset's Parquet file beside the tar, where there is one. That file
    lists pairs that failed as well, in an order of its own."""
    stem = found.name.removesuffix(".tar")
    # One that a compaction wrote has the file of the tar whose place it took.
    first = files.join(folder, re.sub(r"-r\d+$", "", stem) + ".parquet")
    beside = files.join(folder, f"{stem}.parquet")
    beside = beside if files.exists(beside) else first
    if not files.exists(beside):
        return table
    known = files.read_table(beside)
    if "key" not in known.column_names:
        return table
    known = known.drop_columns([name for name in known.column_names if name == "members"])
    keys = known["key"].cast(pa.string())
    places = pc.index_in(table["key"], value_set=keys)
    taken = pc.is_in(keys, value_set=table["key"])
    rest = known.filter(pc.invert(taken))
    if len(rest):
        has_status = "status" in rest.column_names
        states = rest["status"].cast(pa.string()).to_pylist() if has_status else []
        found.unmatched.update([str(state) for state in states] or {"no status": len(rest)})
    known = known.take(places)
    names = set(known.column_names)
    for name in known.column_names:
        if name != "key":
            other = _OTHER_NAMES.get(name, name)
            shown = name if other in names else other
            names.add(shown)
            table = table.append_column(shown, known[name])
    return table


def _write_sidecar(folder: str, tar: str, table: pa.Table) -> Shard:
    sidecar = index_sidecar(tar)
    path, where = files.join(folder, tar), files.join(folder, sidecar)
    files.write_table(where, table)
    ends = pc.min_max(table["key"]).as_py()
    return Shard(
        tar=tar,
        sidecar=sidecar,
        samples=len(table),
        bytes=files.size(path),
        tar_sha256=files.sha256(path),
        sidecar_sha256=files.sha256(where),
        first_key=ends["min"],
        last_key=ends["max"],
    )


def _notes(folder: str, names: list[str], found: list[_Tar]) -> Iterator[str]:
    """Describe in words what the folder holds that the corpus does not."""
    packed = [name for name in names if name.endswith(_PACKED)]
    if packed:
        yield f"{len(packed):,} packed tars are left out, unpack them first: {_list(packed)}"
    own = (INDEX, COLUMNS)
    folders = [
        name
        for name in names
        if name not in own and "." not in name and _holds_tars(files.join(folder, name))
    ]
    if folders:
        yield f"{len(folders):,} subfolders hold tars of their own, index each: {_list(folders)}"
    for why in sorted({why for one in found for why in one.unusable}):
        count = sum(one.unusable[why] for one in found)
        examples = [one.examples[why] for one in found if why in one.examples]
        yield f"{count:,} samples have no image and no text that is found, {why}: {_list(examples)}"
    for why in sorted({why for one in found for why in one.passed_over}):
        count = sum(one.passed_over[why] for one in found)
        tars = [one.name for one in found if one.passed_over[why]]
        yield f"{count:,} members of tars belong to no sample, {why}: {_list(tars)}"
    unmatched = sum((one.unmatched for one in found), Counter[str]())
    if unmatched:
        states = ", ".join(f"{status} {count:,}" for status, count in unmatched.most_common(6))
        count = unmatched.total()
        yield f"{count:,} rows of the Parquet files have no sample in their tar: {states}"


def _holds_tars(folder: str) -> bool:
    return any(name.endswith((".tar", *_PACKED)) for name in files.list_folder(folder))


def _list(names: Iterable[str]) -> str:
    named = list(names)
    rest = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    return one_line(", ".join(named[:_NAMED]), 300) + rest
