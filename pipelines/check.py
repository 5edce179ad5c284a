"""`septet check`: compares a corpus with its manifest, its sidecars and its tars.

A corpus may come from a stranger: no code that it names is run, no path leaves it, and no size
that a file claims is believed before it was compared with the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.report.readable import one_line
from septet.preprocess import files
from septet.preprocess.columns.members import strict_json
from septet.preprocess.images.decode import decode_rgb
from septet.preprocess.shards.keys import repeated_keys
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.removed import NO_ROWS
from septet.preprocess.shards.sidecar import open_sidecar, read_batches
from septet.preprocess.shards.tar import index_tar
from septet.preprocess.shards.views import Chosen, view_names
from septet.schemas.layout import VIEWS, is_image
from septet.schemas.manifest import ListFile, ShardFile
from septet.schemas.reasons import RejectedError
from septet.schemas.versioned import ManifestError

MOST_A_SHARD = 20
MOST = 10_000
"""Faults that are told, of a shard and in all; the others are counted."""
MAX_MEMBER_BYTES = 2**28
"""Most bytes of a member that is looked into."""

Inspect = Callable[[Mapping[str, Any], dict[str, bytes] | None], Iterable[str]]
"""What is wrong with a row of a sidecar and the contents of its members; None of a sample that was
removed, whose content nobody looks into."""


class Faults:
    """A list of faults as lines that are safe to print. It holds at most `MOST`; the others are
    counted."""

    def __init__(self, most: int = MOST, of: str = ""):
        self._lines: list[str] = []
        self._most, self._of, self._more = most, of, 0

    def add(self, fault: str) -> None:
        """Add a fault."""
        if len(self._lines) < self._most:
            self._lines.append(one_line(fault, 600))
        else:
            self._more += 1

    def lines(self) -> list[str]:
        """The faults as lines, then how many more there are."""
        more = [f"{self._of}and {self._more:,} faults more"] if self._more else []
        return [*self._lines, *more]


def check_corpus(path: str, decode: bool, console: Console) -> list[str]:
    """Check a corpus; returns a line for each fault.

    Checked are: digests of the lists, digests and sizes of tars and sidecars, that each tar read by
    itself gives the sidecar's keys and members with their checksums, that text is UTF-8 and JSON is
    JSON, and that no key stands twice. Memory does not grow with the corpus.

    Args:
        path: The corpus folder; PATH@VIEW for the shards that hold samples of a view.
        decode: Decode every image member, too.
        console: The console for a progress bar.
    """
    corpus = Corpus(path)
    faults = Faults()
    lists = (corpus.manifest.shard_list, corpus.manifest.input_list, corpus.manifest.removed)
    for told in filter(None, lists):
        for fault in _check_list(corpus.path, told):
            faults.add(fault)
    for fault in _view_faults(corpus):
        faults.add(fault)
    numbers = shards_to_check(corpus)
    checked, total = map_ahead(lambda n: _check_shard(corpus, n, decode), numbers), len(numbers)
    for found in track(checked, "check", total, console=console, transient=True):
        for fault in found:
            faults.add(fault)
    if not corpus.manifest.sorted_keys:
        for fault in _repeated(corpus):
            faults.add(fault)
    return faults.lines()


def _check_list(path: str, told: ListFile) -> Iterator[str]:
    if told.sha256 and (found := files.sha256(files.join(path, told.path))) != told.sha256:
        yield f"{told.path}: sha256 is {found}, the manifest says {told.sha256}"


def shards_to_check(corpus: Corpus) -> list[int]:
    """The numbers of all shards, or of those that hold samples of the view."""
    numbers = range(len(corpus.shards))
    return [n for n in numbers if corpus.view is None or len(corpus.rows(n))]


def _view_faults(corpus: Corpus) -> Iterator[str]:
    """What is wrong with the view that is checked, or with the views that lie in the corpus."""
    for name in view_names(corpus.path) if corpus.view is None else ():
        try:
            Chosen.read(corpus.path, name)
        except (ManifestError, OSError) as error:
            yield f"{VIEWS}/{name}: {error}"
    if corpus.view is not None:
        chosen = (corpus.chosen(number) for number in range(len(corpus.shards)))
        missing = len(corpus.view) - sum(len(rows) for rows in chosen if rows is not None)
        if missing:
            yield f"view {corpus.view.name}: {missing:,} of its ids are of no sample of the corpus"


def _repeated(corpus: Corpus) -> Iterator[str]:
    names = [name.as_py() for name in corpus.shards.column("sidecar")]
    try:
        for key, first, second in repeated_keys([files.join(corpus.path, name) for name in names]):
            yield f"{names[second]}: key {key!r} stands in {names[first]} as well"
    except (OSError, ValueError, pa.ArrowException) as error:
        yield f"keys cannot be compared: {error}"


def _check_shard(corpus: Corpus, number: int, decode: bool) -> list[str]:
    shard = corpus.shards[number]
    before = corpus.shards[number - 1].last_key if number else None
    faults = Faults(MOST_A_SHARD, f"{shard.tar}: ")
    for fault in guarded(shard, _shard_faults(corpus, number, before, decode)):
        faults.add(fault)
    return faults.lines()


def guarded(shard: ShardFile, faults: Iterable[str]) -> Iterator[str]:
    """Check one shard; whatever keeps it from being read further is a fault itself."""
    try:
        yield from faults
    except (OSError, ValueError, pa.ArrowException) as error:
        yield f"{shard.tar}: {error}"


def _shard_faults(corpus: Corpus, number: int, before: str | None, decode: bool) -> Iterator[str]:
    shard = corpus.shards[number]
    if fault := size_fault(corpus.path, shard):
        yield fault
        return
    yield from check_digests(corpus.path, shard)
    is_sorted = corpus.manifest.sorted_keys
    last, least, greatest = before, None, None
    keys_ascend = True

    def inspect(row: Mapping[str, Any], members: dict[str, bytes] | None) -> Iterator[str]:
        nonlocal last, least, greatest, keys_ascend
        key = row["key"]
        if last is not None and key <= last:
            keys_ascend = False
        last = key
        least = key if least is None else min(least, key)
        greatest = key if greatest is None else max(greatest, key)
        for ext, data in (members or {}).items():
            if fault := content_fault(ext, data):
                yield f"{ext} {fault}"

    def wanted(ext: str) -> bool:
        return ext in ("txt", "json") or (decode and is_image(ext))

    removed = corpus.removed.of(number)
    yield from check_files(corpus.path, shard, wanted, inspect, removed=removed)
    if is_sorted and not keys_ascend:
        yield f"{shard.sidecar}: keys do not ascend, or not from the shard before"
    if (least, greatest) != (shard.first_key, shard.last_key):
        yield (
            f"{shard.sidecar}: keys go from {least} to {greatest}, the list of shards says from "
            f"{shard.first_key} to {shard.last_key}"
        )


def check_digests(path: str, shard: ShardFile) -> Iterator[str]:
    """Compare the digests of a shard's files with those in the list of shards."""
    for name, expected in ((shard.tar, shard.tar_sha256), (shard.sidecar, shard.sidecar_sha256)):
        found = files.sha256(files.join(path, name))
        if found != expected:
            yield f"{name}: sha256 is {found}, the manifest says {expected}"


def size_fault(path: str, shard: ShardFile) -> str | None:
    """The fault of a tar whose size is not that in the list of shards; such a tar is not read at
    all."""
    size = files.size(files.join(path, shard.tar))
    same = size == shard.bytes
    return None if same else f"{shard.tar}: {size:,} bytes, the manifest says {shard.bytes:,}"


def check_files(
    path: str,
    shard: ShardFile,
    wanted: Callable[[str], bool],
    inspect: Inspect,
    columns: tuple[str, ...] = (),
    removed: NDArray[np.int64] = NO_ROWS,
) -> Iterator[str]:
    """Compare the keys and members that a tar holds with its sidecar's rows.

    Args:
        path: The corpus folder.
        shard: Tar and sidecar.
        wanted: Whether members of an extension are to be looked into.
        inspect: Called for each row, with the contents of the members wanted.
        columns: Further columns of the sidecar that `inspect` needs.
        removed: Rows of samples that were removed: of them the tar may hold nothing, and what it
            still holds is not looked into.
    """
    sidecar, tar = files.join(path, shard.sidecar), files.join(path, shard.tar)
    names = ("key", "members", *columns)
    rows = samples = 0
    with open_sidecar(sidecar, names) as parquet, files.open_read(tar) as file:
        if parquet.metadata.num_rows != shard.samples:
            yield (
                f"{shard.sidecar}: {parquet.metadata.num_rows:,} rows, the manifest says "
                f"{shard.samples:,}"
            )
        gone = frozenset(removed.tolist())
        listed = (
            row for batch in read_batches(parquet, sidecar, names) for row in batch.to_pylist()
        )
        held = index_tar(file, shard.tar)
        for number, here in enumerate(listed):
            where = f"{shard.tar}: row {number}"
            if number in gone and not here["members"]:
                yield from (f"{where}: {fault}" for fault in inspect(here, None))
                continue
            rows += 1
            if (there := next(held, None)) is None:
                continue
            samples += 1
            if fault := _difference(here, *there):
                yield f"{where}: {fault}"
                continue
            if number in gone:
                yield from (f"{where}: {fault}" for fault in inspect(here, None))
                continue
            members, too_large = {}, []
            for member in there[1]:
                if member["size"] > MAX_MEMBER_BYTES:
                    too_large.append(member)
                elif wanted(member["ext"]):
                    file.seek(member["offset"])
                    members[member["ext"]] = file.read(member["size"])
            for member in too_large:
                yield f"{where}: {member['ext']} has {member['size']:,} bytes: not looked into"
            yield from (f"{where}: {fault}" for fault in inspect(here, members))
        samples += sum(1 for _ in held)
    if rows != samples:
        yield f"{shard.tar}: {samples:,} samples, its sidecar has {rows:,}"


def _difference(row: Mapping[str, Any], key: str, members: list[dict[str, Any]]) -> str | None:
    """The difference between a sidecar's row and the tar's sample; None where there is none."""
    if row["key"] != key:
        return f"the tar's key is {key!r}, its sidecar says {row['key']!r}"
    listed = row["members"] or []
    if listed == members:
        return None
    places = [[(m["ext"], m["offset"], m["size"]) for m in one] for one in (listed, members)]
    if places[0] == places[1]:
        wrong = next(a["ext"] for a, b in zip(listed, members, strict=True) if a != b)
        return f"{wrong} has another CRC-32 than its sidecar says"
    return f"its members are not where its sidecar says ({key!r})"


def content_fault(ext: str, data: bytes) -> str | None:
    """The fault of a member's content: text that is not UTF-8, JSON that cannot be parsed (NaN
    cannot), an image that cannot be decoded. None for any other extension."""
    if ext in ("txt", "json"):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            return f"is not UTF-8: {error}"
        if ext == "json":
            try:
                strict_json(text)
            except (ValueError, RecursionError) as error:
                return f"is not JSON: {error}"
    elif is_image(ext):
        try:
            decode_rgb(data)
        except (RejectedError, OSError, ValueError) as error:
            return f"does not decode: {error}"
    return None
