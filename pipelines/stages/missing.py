"""Images that the shard plans want and the fetch store lacks: found by a shuffle of text rows.

Plans and tables of the store meet by the hash of the image. What is missing is then brought
together by registered domain, so that one task asks a domain for all that is wanted of it; images
that inputs hold, by input, so that one task reads on in one archive. A group of domains is read
piece by piece, so a domain may have any number of images.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split, StreamsParts
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.store import Known
from septet.preprocess import files
from septet.preprocess.domains import registered_domain
from septet.preprocess.http.addresses import check_address, is_allowed, parse_url
from septet.preprocess.text.ids import bucket_of, by_bucket, hash64
from septet.schemas import tables
from septet.schemas.reasons import RejectedError
from septet.schemas.recipe import Fetch

_KEY_BYTES = 16
_SLICES = 4
_URLS_A_SLICE = 1000
_HELD_A_SLICE = 100
"""The fewest images of inputs that are a task of their own: their decoding takes most of a second,
and a task costs some hundredth of one."""
_URLS_AT_ONCE = 20_000
"""The number of URLs of a slice that are held while they are fetched."""
_ARCHIVE_BYTES = 2**26
"""The number of bytes of an archive whose images one task reads."""
_WANTED, _KNOWN = b"W", b"K"
_HELD = 0
"""Who is asked for what inputs hold; a domain's hash is it once in 2^64."""

WANTED = pa.schema([pa.field(field.name, field.type) for field in tables.IMAGE_LOCATIONS])
"""An image that a plan wants, with its location; all but `image_url` are null for one that is to be
fetched."""
MISSING = pa.schema([*WANTED, ("owner", pa.uint64())])
"""An image that the store lacks, with a hash of who is asked for it (`owner_of`)."""
_CUT = pa.schema([*WANTED, ("slice", pa.int32())])
"""An image that the store lacks, with the number of the slice of its group that fetches it."""


def store_key(image_url: str, digest: str | None) -> bytes:
    """The key of an image and the input that holds it, 16 bytes."""
    text = f"{digest or ''}\0{image_url}".encode()
    return hashlib.blake2b(text, digest_size=_KEY_BYTES, person=b"septet.store").digest()


def store_keys(rows: pa.Table) -> np.ndarray:
    """The `store_key` of each row, big-endian uint64 [n, 2]."""
    columns = (rows[name].to_pylist() for name in ("image_url", "digest"))
    data = b"".join(store_key(*row) for row in zip(*columns, strict=True))
    return np.frombuffer(data, ">u8").reshape(-1, 2)


def binary_keys(keys: np.ndarray) -> pa.Array:
    """Keys [n, 2] as an Arrow array of 16 bytes each."""
    data = pa.py_buffer(np.ascontiguousarray(keys, ">u8").tobytes())
    return pa.Array.from_buffers(pa.binary(_KEY_BYTES), len(keys), [None, data])


def wanted_images(plans: Parts, shard: int, roots: dict[str, str]) -> pa.Table:
    """The images of a plan, each once, with its location where an input holds it.

    Args:
        plans: The plans.
        shard: The number of the shard.
        roots: Digest of each folder of images, by its label.
    """
    names = tables.IMAGE_LOCATIONS.names
    plan = files.read_table(
        plans.path(shard), [names[0], *(f"image_{name}" for name in names[1:])]
    ).rename_columns(names)
    plan = plan.filter(pc.is_valid(plan["image_url"]))
    urls = pa.array(plan["image_url"].to_pylist(), pa.string())
    codes = urls.dictionary_encode().indices.to_numpy()
    plan = plan.take(np.unique(codes, return_index=True)[1])
    digests = [
        roots[label] if name is not None else digest
        for label, name, digest in zip(
            *(plan[name].to_pylist() for name in ("input", "name", "digest")), strict=True
        )
    ]
    return plan.set_column(names.index("digest"), "digest", pa.array(digests, pa.string())).cast(
        WANTED
    )


class SplitWanted(Split):
    """The step that sends images of a plan, or keys of a table of the store, to the buckets of
    their hashes.

    Args:
        plans: The plans.
        known: The store.
        roots: See `wanted_images`.
        buckets: The number of ranges.
    """

    stage = "wanted"

    def __init__(self, plans: Parts, known: Known, roots: dict[str, str], buckets: int):
        self.plans, self.known, self.roots, self.buckets = plans, known, roots, buckets

    def split(self, task: int | str) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, kind and rows); the task is a shard or a path of a table."""
        if isinstance(task, int):
            wanted = wanted_images(self.plans, task, self.roots)
            keys = store_keys(wanted)
            for bucket, rows in self._by_bucket(keys):
                yield bucket, _WANTED + to_ipc(wanted.take(rows), WANTED)
        else:
            columns = ["image_url", "digest", "reason", "value", "original_bytes"]
            keys = store_keys(self.known.rows(task, columns))
            for bucket, rows in self._by_bucket(keys):
                yield bucket, _KNOWN + keys[rows].tobytes()

    def _by_bucket(self, keys: np.ndarray) -> list[tuple[int, np.ndarray]]:
        return by_bucket(bucket_of(keys[:, 0].astype(np.uint64), self.buckets))


class Subtract(Regroup):
    """The step that keeps the images of a bucket that are wanted and not known, and sends them to
    their group of domains or inputs."""

    stage = "missing"

    def __init__(self, groups: int):
        self.groups = groups

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (group, rows of `MISSING`), a group's rows in pieces of `_URLS_AT_ONCE`."""
        known = np.frombuffer(b"".join(p[1:] for p in parts if p[:1] == _KNOWN), ">u8")
        wanted = [from_ipc(part[1:], WANTED) for part in parts if part[:1] == _WANTED]
        rows = pa.concat_tables([WANTED.empty_table(), *wanted])
        there = pc.is_in(binary_keys(store_keys(rows)), binary_keys(known.reshape(-1, 2)))
        rows = rows.filter(pc.invert(there)).combine_chunks()  # `take` is slow over many chunks
        names = ("image_url", "input", "name", "offset")
        columns = (rows[name].to_pylist() for name in names)
        owners = np.array(
            [hash64(owner_of(*row), b"septet.owner") for row in zip(*columns, strict=True)],
            np.uint64,
        )
        rows = rows.append_column("owner", pa.array(owners))
        for group, mine in by_bucket(bucket_of(owners, self.groups)):
            for start in range(0, len(mine), _URLS_AT_ONCE):
                yield group, to_ipc(rows.take(mine[start : start + _URLS_AT_ONCE]), MISSING)


def owner_of(url: str, label: str | None, name: str | None, offset: int | None) -> str:
    """The owner of an image, who is asked for it: a registered domain, a part of an archive or of a
    folder."""
    if label is None:
        return registered_domain((urlsplit(url).hostname or "").lower())
    if name is None:
        return f"{label}#{(offset or 0) // _ARCHIVE_BYTES}"
    return f"{label}#{hash64(name, b'septet.name') % 64}"


class Most(NamedTuple):
    """The greatest numbers of slices in which a group's images are cut."""

    asked: int
    """Of one domain's: each asks for at least one URL at a time, and with more than there are tasks
    at once some of the domain's connections would have no work."""
    held: int
    """Of those that inputs hold: nobody is asked for them."""


def most_slices(per_host: int, workers: int | None) -> Most:
    """The greatest numbers of slices of a build.

    Args:
        per_host: Requests in flight a host.
        workers: How many tasks run at once; None where a cluster decides.
    """
    at_once = _SLICES if workers is None else workers
    return Most(min(per_host, at_once), at_once)


class MissingTask(Task, StreamsParts):
    """The task that writes the list of images that one group of domains is to be asked for.

    A domain of many URLs is cut into a few slices, which share its connections: a task of its own
    each, and together they ask it no more at once than one would. What inputs hold is cut
    likewise, so that few images that take long are work for many. The group's images are gone
    through twice, first to count those of each domain; only images of archives are held, to be
    sorted.

    Args:
        output: The files that are written.
        most: See `most_slices`.
        fetch: Section of the recipe. Where it has no contact, images on public hosts are counted
            (`public`). `slices` says how many tasks there are, `sharing` how many of them ask one
            domain at most.
    """

    stage = "fetch"

    def __init__(self, output: Parts, most: Most, fetch: Fetch):
        self.output, self.most, self.fetch = output, most, fetch

    def run(self, group: int, parts: Iterable[bytes]) -> Counts:
        """Write the group's images: those of archives by place, then others as they come."""
        sizes: Counter[int] = Counter()
        archived, total = [MISSING.empty_table()], 0
        for part in parts:
            rows = from_ipc(part, MISSING)
            total += len(rows)
            archived.append(rows.filter(_in_archive(rows)))
            for owner, mine in _groups_of(_owners(rows)):
                sizes[owner] += len(mine)
        held = max(1, min(self.most.held, sizes[_HELD] // _HELD_A_SLICE))
        asked = {
            owner: max(1, min(self.most.asked, size // _URLS_A_SLICE))
            for owner, size in sizes.items()
            if owner != _HELD
        }
        cuts = {**asked, _HELD: held}
        counts = Counts(rows_in=total, rows_out=total)
        counts.other["slices"] = max(cuts.values()) if total else 0
        counts.other["sharing"] = max(asked.values(), default=1)
        seen: Counter[int] = Counter()

        def cut(rows: pa.Table) -> pa.Table:
            if not self.fetch.has_contact:
                urls = rows["image_url"].filter(pc.is_null(rows["input"])).to_pylist()
                counts.other["public"] += sum(_is_public(url, self.fetch) for url in urls)
            slices = np.zeros(len(rows), np.int32)
            for owner, mine in _groups_of(_owners(rows)):
                rank = seen[owner] + np.arange(len(mine))
                slices[mine] = rank * cuts[owner] // sizes[owner]
                seen[owner] += len(mine)
            return rows.drop_columns(["owner"]).append_column("slice", pa.array(slices))

        first = pa.concat_tables(archived).sort_by(
            [(name, "ascending") for name in ("input", "offset", "row", "image_url")]
        )
        with files.open_atomic(self.path(group)) as out, files.TableSink(out, _CUT) as sink:
            for rows in _gathered([first], parts):
                sink.write(cut(rows))
            sink.close(counts.to_metadata())
        return counts


def _owners(rows: pa.Table) -> np.ndarray:
    """The owner of each image, `_HELD` of those that an input holds."""
    return np.where(rows["input"].is_valid(), np.uint64(_HELD), rows["owner"])


def _is_public(url: str, fetch: Fetch) -> bool:
    """Whether a public host would be asked for a URL."""
    try:
        parsed = parse_url(url)
        check_address(parsed, fetch.allowed_hosts)
    except RejectedError:
        return False
    return not is_allowed(parsed.raw_host or "", parsed.port, fetch.allowed_hosts)


def _in_archive(rows: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.is_valid(rows["input"]), pc.is_null(rows["name"]))


def _gathered(first: list[pa.Table], parts: Iterable[bytes]) -> Iterator[pa.Table]:
    """`first`, then the rows of all parts that lie in no archive, `_URLS_AT_ONCE` or more at a
    time: row groups of a few rows would cost more than what is in them."""
    waiting, count = first, sum(map(len, first))
    for part in parts:
        rows = from_ipc(part, MISSING)
        waiting.append(rows.filter(pc.invert(_in_archive(rows))))
        count += len(waiting[-1])
        if count >= _URLS_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting, count = [], 0
    if count:
        yield pa.concat_tables(waiting)


def _groups_of(owners: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each owner with the numbers of its rows, in their order."""
    found, codes = np.unique(owners, return_inverse=True)
    for code, rows in by_bucket(codes.astype(np.int64)):
        yield int(found[code]), rows


def missing_of(parts: Parts, key: Key) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of one slice, some thousand at a time; its key is `GROUP.SLICE`."""
    group, number = str(key).split(".")
    waiting: list[dict[str, Any]] = []
    with files.open_read(parts.path(int(group))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_URLS_AT_ONCE):
            waiting += batch.filter(pc.equal(batch["slice"], int(number))).to_pylist()
            while len(waiting) >= _URLS_AT_ONCE:
                yield waiting[:_URLS_AT_ONCE]
                waiting = waiting[_URLS_AT_ONCE:]
    if waiting:
        yield waiting
