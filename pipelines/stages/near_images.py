"""Near-duplicate images over all shards, as passes of the stage curate.

Members (one sample for each image, or image and caption) lie in buckets by their ids. Their hashes
meet in partitions, where pairs are found; the better one of a pair sends what it looks like to the
bucket of the worse one, where they are compared. Then it is decided who goes: in rounds, for
whether a member goes depends on whether better ones have gone. A round decides at least the best
member that is open, and nearly always all; with one bucket there is one round. What a worker holds
is one bucket or one partition.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.earlier import EarlierShard
from septet.pipelines.stages.graphs import Graph, Regroup, Split, StreamsParts, shuffle_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, digest_of
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.dedup import rank_of_earlier
from septet.preprocess.identical_images import (
    CANDIDATE,
    best,
    described,
    earlier_candidates,
    group_of,
)
from septet.preprocess.near_duplicates import images as near
from septet.preprocess.text.ids import bucket_of, by_bucket

MEMBERS_A_BUCKET = 80_000
HASHES_AT_ONCE = 1_000_000
"""The most hashes that are compared as a whole, and not in partitions."""
_RECORDS_A_PIECE = 65_536
_PAIRS_A_PIECE = 16_384

_DESCRIBED = np.dtype([*CANDIDATE.descr, ("member", near.MEMBER)])
Samples = Callable[[int], pa.Table]
"""The samples of a shard that take part, with `sha256`, `phash` and `thumbnail`."""


class NearImages:
    """The passes that find near-duplicate images.

    Args:
        parts: Gives the files of an artifact of the stage.
        samples: See `Samples`; shipped to workers.
        shards: Numbers of the shards, and shards of earlier corpora.
        images: The number of images at most.
        radius: See `hamming.near_pairs`.
        distinct_captions: Whether only images beside the same caption are compared.
    """

    def __init__(
        self,
        parts: Callable[[str], Parts],
        samples: Samples,
        shards: Sequence[Key | EarlierShard],
        images: int,
        radius: int,
        distinct_captions: bool,
    ):
        self._parts, self._samples, self._shards = parts, samples, shards
        self._radius, self._distinct_captions = radius, distinct_captions
        self.buckets = max(1, -(-images // MEMBERS_A_BUCKET))
        self._many = images > HASHES_AT_ONCE
        self.lost: Parts
        """`LOST` records by bucket, when the passes are complete."""

    def passes(self) -> Iterator[Pass]:
        """Members, pairs, who looks alike, and who goes."""
        buckets = range(self.buckets)
        members = MembersTask(self._parts("near_members"))
        steps = (
            SplitMembers(self._samples, self._distinct_captions, self.buckets),
            BestOfImages(self.buckets),
        )
        yield _pass("curate: images", members, steps, self._shards, buckets)

        pairs = PairsTask(self._parts("near_pairs"))
        compared = (
            SplitHashes(members.output, self._distinct_captions, self.buckets, self._many),
            FindPairs(self._radius, self._distinct_captions, self.buckets),
        )
        yield _pass("curate: pairs", pairs, compared, buckets, buckets)

        edges = EdgesTask(self._parts("near_edges"), members.output)
        shown = (ShowPairs(members.output, pairs.output, self.buckets),)
        yield _pass("curate: near", edges, shown, buckets, buckets)

        earlier: Parts | None = None
        for number in range(1, 1_000_000):
            folder = self._parts("near_fates")
            fates = Parts(folder.folder, digest_of(folder.identity, number))
            decide = DecideTask(
                Parts(self._parts("near_lost").folder, fates.identity), fates, edges.output
            )
            told = (TellFates(pairs.output, edges.output, earlier, self.buckets),)
            one = _pass(f"curate: who goes, round {number}", decide, told, buckets, buckets)
            yield one
            self.lost, earlier = decide.output, fates
            if not one.poll().other["undecided"]:
                return


def _pass(
    label: str,
    task: Any,
    steps: tuple[Split | Regroup, ...],
    tasks: Sequence[Key | EarlierShard],
    buckets: Sequence[int],
) -> Pass:
    def graph(todo: list[int]) -> Graph:
        return shuffle_tasks(steps, tasks, task, todo)

    return Pass(label, task.outputs(buckets), graph)


def write_records(path: str, records: np.ndarray, counts: Counts) -> None:
    """Write records as a table of one column, with figures."""
    data = pa.py_buffer(np.ascontiguousarray(records).tobytes())
    size = records.dtype.itemsize
    column = pa.Array.from_buffers(pa.binary(size), len(records), [None, data])
    files.write_table(path, pa.table({"record": column}), metadata=counts.to_metadata())


def read_records(path: str, dtype: np.dtype) -> np.ndarray:
    """The inverse of `write_records`."""
    column = files.read_table(path)["record"]
    return np.frombuffer(b"".join(column.to_pylist()), dtype)


def _pieces(
    records: np.ndarray, buckets: np.ndarray, most: int = _RECORDS_A_PIECE
) -> Iterator[tuple[int, bytes]]:
    for bucket, rows in by_bucket(buckets):
        for start in range(0, len(rows), most):
            yield bucket, records[rows[start : start + most]].tobytes()


class SplitMembers(Split):
    """The step that sends the best samples of a shard's images to the buckets of the images."""

    stage = "images"

    def __init__(self, samples: Samples, distinct_captions: bool, buckets: int):
        self.samples, self.distinct_captions, self.buckets = samples, distinct_captions, buckets

    def split(self, shard: int | EarlierShard) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, descriptions)."""
        if isinstance(shard, EarlierShard):
            rows = shard.read()
            looks = pc.and_(pc.is_valid(rows["phash"]), near.are_thumbnails(rows["thumbnail"]))
            rows = rows.filter(pc.and_(looks, pc.is_valid(rows["sha256"])))
            plain = earlier_candidates(rows, shard.corpus, self.distinct_captions)
            members = near.members(rows, plain["caption"], -1 - shard.corpus)
            members["rank"] = ~rank_of_earlier(shard.corpus)
        else:
            rows = self.samples(shard)
            plain = described(rows, shard, self.distinct_captions)
            members = near.members(rows, plain["caption"], shard)
        found = np.zeros(len(rows), _DESCRIBED)
        for name in CANDIDATE.names or ():
            found[name] = plain[name]
        found["member"] = members
        found = best(found)
        yield from _pieces(found, bucket_of(group_of(found), self.buckets), _PAIRS_A_PIECE)


class BestOfImages(Regroup):
    """The step that finds the best sample of each image, and sends it to the bucket of its id."""

    stage = "members"

    def __init__(self, buckets: int):
        self.buckets = buckets

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `MEMBER` records)."""
        found = best(np.frombuffer(b"".join(parts), _DESCRIBED))["member"]
        yield from _pieces(found, bucket_of(found["anchor"], self.buckets), _PAIRS_A_PIECE)


class MembersTask(Task):
    """The task that writes the members of one bucket."""

    stage = "curate"

    def __init__(self, output: Parts):
        self.output = output

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write `MEMBER` records, best first."""
        found = near.by_rank(np.frombuffer(b"".join(parts), near.MEMBER))
        counts = Counts(rows_in=len(found), rows_out=len(found))
        write_records(self.path(bucket), found, counts)
        return counts


class SplitHashes(Split):
    """The step that sends the hashes of a bucket's members to where they meet near ones: to
    partitions by their bits, or by the caption where only images beside the same one count."""

    stage = "hashes"

    def __init__(self, members: Parts, distinct_captions: bool, buckets: int, many: bool):
        self.members, self.distinct_captions = members, distinct_captions
        self.buckets, self.many = buckets, many

    def split(self, bucket: int) -> Iterable[tuple[int, bytes]]:
        """Yield (partition, `HASHED` records)."""
        found = read_records(self.members.path(bucket), near.MEMBER)
        if self.distinct_captions:
            some = near.hashed(found)
            yield from _pieces(some, bucket_of(some["caption"], self.buckets))
            return
        if not self.many:
            yield from _pieces(near.hashed(found), np.full(len(found), near.WHOLE))
            return
        for partition, some in near.spread(found):
            yield from _pieces(some, np.full(len(some), partition))


class FindPairs(Regroup):
    """The step that finds the pairs of a partition, and sends them to the bucket of the better
    one."""

    stage = "pairs"

    def __init__(self, radius: int, distinct_captions: bool, buckets: int):
        self.radius, self.distinct_captions, self.buckets = radius, distinct_captions, buckets

    def regroup(self, partition: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `PAIR` records)."""
        some = np.frombuffer(b"".join(parts), near.HASHED)
        if self.distinct_captions:
            found = near.pairs_beside_captions(some, self.radius)
        else:
            found = near.pairs_within(some, self.radius, partition)
        for pairs in found:
            yield from _pieces(pairs, bucket_of(pairs["better_anchor"], self.buckets))


class PairsTask(Task, StreamsParts):
    """The task that writes the pairs of one bucket's members with worse ones."""

    stage = "curate"

    def __init__(self, output: Parts):
        self.output = output

    def run(self, bucket: int, parts: Iterable[bytes]) -> Counts:
        """Write `PAIR` records, in order."""
        pairs = np.sort(np.concatenate(_arrays(parts, near.PAIR)))
        counts = Counts(rows_in=len(pairs), rows_out=len(pairs))
        write_records(self.path(bucket), pairs, counts)
        return counts


def _arrays(parts: Iterable[bytes], dtype: np.dtype) -> list[np.ndarray]:
    return [np.empty(0, dtype), *(np.frombuffer(part, dtype) for part in parts)]


class ShowPairs(Split):
    """The step that sends pairs, with what the better one looks like, to the bucket of the worse
    one."""

    stage = "shown"

    def __init__(self, members: Parts, pairs: Parts, buckets: int):
        self.members, self.pairs, self.buckets = members, pairs, buckets

    def split(self, bucket: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `SHOWN` records)."""
        found = read_records(self.members.path(bucket), near.MEMBER)
        pairs = read_records(self.pairs.path(bucket), near.PAIR)
        for start in range(0, len(pairs), _PAIRS_A_PIECE):
            shown = near.show(pairs[start : start + _PAIRS_A_PIECE], found)
            yield from _pieces(shown, bucket_of(shown["worse_anchor"], self.buckets))


class EdgesTask(Task, StreamsParts):
    """The task that compares the members of one bucket with the better ones of their pairs."""

    stage = "curate"

    def __init__(self, output: Parts, members: Parts):
        self.output, self.members = output, members

    def run(self, bucket: int, parts: Iterable[bytes]) -> Counts:
        """Write `EDGE` records, in order."""
        found = read_records(self.members.path(bucket), near.MEMBER)
        counts, edges = Counts(), [np.empty(0, near.EDGE)]
        for part in parts:
            shown = np.frombuffer(part, near.SHOWN)
            edges.append(near.verify(shown, found))
            counts.rows_in += len(shown)
            counts.rows_out += len(edges[-1])
        write_records(self.path(bucket), np.sort(np.concatenate(edges)), counts)
        return counts


class TellFates(Split):
    """The step that tells the buckets of worse members which better ones are decided, and how."""

    stage = "fates"

    def __init__(self, pairs: Parts, edges: Parts, earlier: Parts | None, buckets: int):
        self.pairs, self.edges, self.earlier, self.buckets = pairs, edges, earlier, buckets

    def split(self, bucket: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `FATE` records)."""
        pairs = read_records(self.pairs.path(bucket), near.PAIR)
        edges = read_records(self.edges.path(bucket), near.EDGE)
        fates = near.free_ones(pairs, edges)
        if self.earlier is not None:
            decided = read_records(self.earlier.path(bucket), near.FATE)
            fates = np.concatenate([fates, decided])
        for other, rows in by_bucket(bucket_of(pairs["worse_anchor"], self.buckets)):
            told = near.fates_of(fates, pairs[rows])
            yield from _pieces(told, np.full(len(told), other))


class DecideTask(Task):
    """The task that decides which members of one bucket go, as far as better ones are decided.

    Args:
        output: `LOST` records.
        fates: `FATE` records of the members that are decided.
        edges: See `EdgesTask`.
    """

    stage = "curate"

    def __init__(self, output: Parts, fates: Parts, edges: Parts):
        self.output, self.fates, self.edges = output, fates, edges

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write both; `undecided` counts those that are left."""
        edges = read_records(self.edges.path(bucket), near.EDGE)
        known = np.concatenate(_arrays(parts, near.FATE))
        fates, lost, undecided = near.decide(edges, known)
        counts = Counts(rows_in=len(edges), rows_out=len(lost))
        counts.other["undecided"] = undecided
        write_records(self.fates.path(bucket), fates, Counts())
        write_records(self.path(bucket), lost, counts)
        return counts
