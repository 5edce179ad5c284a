"""What the fetch store lacks of the images that the shard plans want; shuffles rows of text.

Plans and tables of the store meet by the hash of the image. What is missing is then brought
together by registered domain, so that one task asks a domain for all that is wanted of it; images
that inputs hold, by input, so that one task reads on in one archive.
"""

import hashlib
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.store import Known
from septet.preprocess import files
from septet.preprocess.domains import registered_domain
from septet.preprocess.text.ids import bucket_of, by_bucket, hash64
from septet.schemas import tables

_KEY_BYTES = 16
_SLICES = 4
_URLS_A_SLICE = 1000
_URLS_AT_ONCE = 20_000
"""So many at most are held while they are fetched."""
_ARCHIVE_BYTES = 2**26
"""Images of so many bytes of an archive are read by one task."""
_WANTED, _KNOWN = b"W", b"K"

WANTED = pa.schema([pa.field(field.name, field.type) for field in tables.IMAGE_LOCATIONS])
"""An image that a plan wants, with its location; all but `image_url` are null for one that is to be
fetched."""
_MISSING = pa.schema([*WANTED, ("slice", pa.int32())])
"""One that the store lacks, and by which slice of its group it is fetched."""


def store_key(image_url: str, digest: str | None) -> bytes:
    """16 bytes that stand for an image and the input that holds it."""
    text = f"{digest or ''}\0{image_url}".encode()
    return hashlib.blake2b(text, digest_size=_KEY_BYTES, person=b"septet.store").digest()


def store_keys(rows: pa.Table) -> np.ndarray:
    """`store_key` of each row, big-endian uint64 [n, 2]."""
    columns = (rows[name].to_pylist() for name in ("image_url", "digest"))
    data = b"".join(store_key(*row) for row in zip(*columns, strict=True))
    return np.frombuffer(data, ">u8").reshape(-1, 2)


def wanted_images(plans: Parts, shard: int, roots: dict[str, str]) -> pa.Table:
    """Each image of a plan once, with its location where an input holds it.

    Args:
        plans: The plans.
        shard: Which.
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
    """Images of a plan, or of a table of the store, by range of their hash.

    Args:
        plans: The plans.
        known: The store.
        roots: See `wanted_images`.
        buckets: How many ranges.
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
    """What is wanted and not known, by group of domains or inputs."""

    stage = "missing"

    def __init__(self, groups: int):
        self.groups = groups

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (group, rows)."""
        known = {
            part[at : at + _KEY_BYTES]
            for part in parts
            if part[:1] == _KNOWN
            for at in range(1, len(part), _KEY_BYTES)
        }
        for part in parts:
            if part[:1] != _WANTED:
                continue
            rows = from_ipc(part[1:], WANTED)
            keys = store_keys(rows)
            fresh = [i for i in range(len(rows)) if keys[i].tobytes() not in known]
            rows = rows.take(pa.array(fresh, pa.int64()))
            names = ("image_url", "input", "name", "offset")
            columns = (rows[name].to_pylist() for name in names)
            hashes = [hash64(owner_of(*row), b"septet.owner") for row in zip(*columns, strict=True)]
            for group, mine in by_bucket(bucket_of(np.array(hashes, np.uint64), self.groups)):
                yield group, to_ipc(rows.take(mine), WANTED)


def owner_of(url: str, label: str | None, name: str | None, offset: int | None) -> str:
    """Who is asked for an image: a registered domain, a part of an archive or of a folder."""
    if label is None:
        return registered_domain((urlsplit(url).hostname or "").lower())
    if name is None:
        return f"{label}#{(offset or 0) // _ARCHIVE_BYTES}"
    return f"{label}#{hash64(name, b'septet.name') % 64}"


def most_slices(per_host: int, workers: int | None) -> int:
    """In how many slices a domain is cut at most: each asks at least one URL at a time, and more
    than there are tasks at once would leave some of the domain's connections without work.

    Args:
        per_host: Requests in flight a host.
        workers: How many tasks run at once; None where a cluster decides.
    """
    return min(per_host, _SLICES if workers is None else workers)


class MissingTask(Task):
    """Writes down what one group of domains is to be asked for.

    A domain of many URLs is cut into a few slices, which share its connections: a task of its own
    each, and together they ask it no more at once than one would.

    Args:
        output: Where it is written.
        most: See `most_slices`.
    """

    stage = "fetch"

    def __init__(self, output: Parts, most: int):
        self.output, self.most = output, most

    def run(self, group: int, parts: list[bytes]) -> Counts:
        """Write the group's images by place: those that inputs hold, then others by URL."""
        received = [from_ipc(part, WANTED) for part in parts]
        rows = pa.concat_tables([WANTED.empty_table(), *received])
        rows = rows.sort_by([(n, "ascending") for n in ("input", "offset", "name", "image_url")])
        slices = np.zeros(len(rows), np.int32)
        owners = [
            owner_of(row["image_url"], row["input"], row["name"], row["offset"])
            for row in rows.select(["image_url", "input", "name", "offset"]).to_pylist()
        ]
        for mine in _groups_of(owners):
            if rows["input"][int(mine[0])].as_py() is None:
                cut = max(1, min(self.most, len(mine) // _URLS_A_SLICE))
                slices[mine] = np.arange(len(mine)) * cut // len(mine)
        counts = Counts(rows_in=len(rows), rows_out=len(rows))
        counts.other["slices"] = int(slices.max(initial=-1)) + 1
        rows = rows.append_column("slice", pa.array(slices, pa.int32()))
        files.write_table(self.path(group), rows, _MISSING, counts.to_metadata())
        return counts


def _groups_of(names: list[str]) -> Iterator[np.ndarray]:
    """Row numbers of each name."""
    _, codes = np.unique(np.array(names, object).astype(str), return_inverse=True)
    for _, rows in by_bucket(codes.astype(np.int64)):
        yield rows


def missing_of(parts: Parts, key: Key) -> Iterator[list[dict[str, object]]]:
    """The rows of one slice, some thousand at a time; its key is `GROUP.SLICE`."""
    group, number = str(key).split(".")
    with files.open_read(parts.path(int(group))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_URLS_AT_ONCE):
            found = batch.filter(pc.equal(batch["slice"], int(number))).to_pylist()
            if found:
                yield found
