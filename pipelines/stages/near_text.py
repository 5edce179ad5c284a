"""The passes of curate that find near-duplicate captions, over all shards.

Captions meet in buckets of MinHash bands; which of those are near is verified with their tokens;
what hangs together is labelled in rounds; and each group is judged in one place. What is shuffled
is hashes. A shard is work for one task in each step, so memory is that of a shard, a bucket of
about a million records, or the captions of one group, of which a shard sends 1,024 at most.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split, shuffle_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.dedup import ANNOTATED
from septet.preprocess.near_duplicates import spread
from septet.preprocess.near_duplicates.captions import Limits
from septet.preprocess.near_duplicates.minhash import BANDS
from septet.preprocess.near_duplicates.spread import (
    EDGE,
    LABEL,
    MEMBER,
    RECORD,
    VERDICT,
    Captions,
    shard_of,
)
from septet.preprocess.near_duplicates.tokens import SLOTS, slots_of, tokens_of, weights_of
from septet.preprocess.text.ids import bucket_of, by_bucket, split_ids
from septet.schemas import tables

_RECORDS_A_BUCKET = 1_000_000
_CAPTIONS_A_BUCKET = 500_000
_CAPTIONS_COUNTED = 500_000
_PIECE = 65_536
_ROUNDS = 6
_CACHED = 2

_KEPT = pa.schema([("id", pa.string())])
_WEIGHTS = pa.schema([("weight", pa.float32())])
_SLOT_COUNT = np.dtype([("slot", "<u4"), ("count", "<u4")])


def near_passes(stage: Stage, before: Task, rows: int) -> Iterator[Pass]:
    """The passes of curate that follow when `before` has written what is left of each shard,
    `tables.COMPARED`, and the rejects so far; `rows` samples in all."""
    task = NearTask(
        stage.parts("kept"),
        stage.rejects,
        before.output,
        before.rejects,
        stage.input("plans"),
        Limits.of(stage.recipe.curate.near_text_similarity),
    )
    return passes_over(task, stage.parts("near_words"), stage.keys(), rows)


def passes_over(task: "NearTask", words: Parts, shards: Sequence[Key], rows: int) -> Iterator[Pass]:
    """The passes over all shards: the weights of words, then everything else.

    Args:
        task: The last step.
        words: Where the weights go.
        shards: Numbers of the shards.
        rows: How many samples there are in all.
    """
    compared, limits = task.compared, task.limits
    weigh = WeightsTask(words)
    every = max(1, rows // _CAPTIONS_COUNTED)
    yield Pass(
        "curate: words",
        weigh.outputs([0]),
        lambda todo: shuffle_tasks(CountWords(compared, every), shards, weigh, todo),
    )
    read = Reader(compared, weigh.path(0))
    buckets = max(1, -(-rows * BANDS // _RECORDS_A_BUCKET))
    steps: list[Split | Regroup] = [
        SplitBands(read, buckets),
        FindStars(),
        SendTokens(read),
        Verify(read, limits),
        *(LowerLabels(round_) for round_ in range(_ROUNDS)),
        SendMembers(read, max(1, -(-rows // _CAPTIONS_A_BUCKET))),
        JudgeGroups(read, limits),
    ]
    yield Pass(
        "curate: near text",
        task.outputs(shards),
        lambda todo: shuffle_tasks(steps, shards, task, todo),
    )


class Reader:
    """A reader of what each step needs: a shard's captions, and the weights of words."""

    def __init__(self, compared: Parts, weights: str):
        self.compared, self._weights = compared, weights

    def captions(self, shard: int) -> Captions:
        """The captions of a shard."""
        return _captions(self.compared.path(shard), shard)

    def weights(self) -> np.ndarray:
        """Of tokens, float32."""
        return _read_weights(self._weights)


@lru_cache(_CACHED)
def _captions(path: str, shard: int) -> Captions:
    return Captions.of(shard, files.read_table(path))


@lru_cache(_CACHED)
def _read_weights(path: str) -> np.ndarray:
    return files.read_table(path)["weight"].to_numpy()


def _by_shard(records: np.ndarray, nodes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Records by the shard of the node of each, in pieces."""
    for shard, rows in by_bucket(shard_of(nodes)):
        for start in range(0, len(rows), _PIECE):
            yield shard, records[rows[start : start + _PIECE]]


def _joined(parts: list[bytes], kind: np.dtype) -> np.ndarray:
    return np.frombuffer(b"".join(parts), kind)


class CountWords(Split):
    """The step that counts the words of a sample of a shard's captions."""

    stage = "words"

    def __init__(self, compared: Parts, every: int):
        self.compared, self.every = compared, np.uint64(every)

    def split(self, shard: int) -> Iterable[tuple[int, bytes]]:
        """Yield (0, number of captions and `_SLOT_COUNT` records)."""
        table = files.read_table(self.compared.path(shard), ["id", "caption"])
        if not len(table):
            return
        chosen = split_ids(table["id"])[1] % self.every == 0
        captions = table["caption"].filter(pa.array(chosen)).drop_null()
        slots, counts = np.unique(slots_of(tokens_of(captions).tokens), return_counts=True)
        found = np.empty(len(slots), _SLOT_COUNT)
        found["slot"], found["count"] = slots, counts
        yield 0, np.array([len(captions)], "<u8").tobytes() + found.tobytes()


class WeightsTask(Task):
    """The task that makes weights of counts."""

    stage = "words"

    def __init__(self, output: Parts):
        self.output = output

    def run(self, key: int, parts: list[bytes]) -> Counts:
        """Write the weight of each slot."""
        counts, captions = np.zeros(SLOTS, np.int64), 0
        for part in parts:
            captions += int(np.frombuffer(part, "<u8", 1)[0])
            found = np.frombuffer(part, _SLOT_COUNT, offset=8)
            counts[found["slot"]] += found["count"]
        table = pa.table({"weight": weights_of(counts, captions)}, schema=_WEIGHTS)
        figures = Counts(rows_in=captions, rows_out=captions)
        files.write_table(self.path(key), table, metadata=figures.to_metadata())
        return figures


class SplitBands(Split):
    """The step that sends a shard's captions to the buckets of their bands' keys."""

    stage = "bands"

    def __init__(self, read: Reader, buckets: int):
        self.read, self.buckets = read, buckets

    def split(self, shard: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `RECORD`s)."""
        for found in self.read.captions(shard).records():
            for bucket, rows in by_bucket(bucket_of(found["key"], self.buckets)):
                yield bucket, found[rows].tobytes()


class FindStars(Regroup):
    """The step that finds the first near caption of each one under a key."""

    stage = "stars"

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard of the member, `EDGE`s)."""
        edges = spread.stars(_joined(parts, RECORD))
        for shard, found in _by_shard(edges, edges["member"]):
            yield shard, found.tobytes()


class SendTokens(Regroup):
    """The step that sends the members' tokens to the shards of the heads."""

    stage = "tokens"

    def __init__(self, read: Reader):
        self.read = read

    def regroup(self, shard: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard of the head, `EDGE`s with the members' tokens)."""
        edges, captions = np.unique(_joined(parts, EDGE)), self.read.captions(shard)
        for head, found in _by_shard(edges, edges["head"]):
            tokens = captions.tokens.take(captions.at(found["member"])).sorted()
            yield head, spread.packed(found, tokens)


class Verify(Regroup):
    """The step that keeps the edges whose ends are near, and tells both ends."""

    stage = "verify"

    def __init__(self, read: Reader, limits: Limits):
        self.read, self.limits = read, limits

    def regroup(self, shard: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard of the member, `EDGE`s), each edge once for either end."""
        edges, members = spread.unpacked(parts, EDGE)
        captions, weights = self.read.captions(shard), self.read.weights()
        near = spread.verified(edges, members, captions, weights, self.limits)
        for edges in (near, spread.edges_of(near["head"], near["member"])):
            for to, found in _by_shard(edges, edges["member"]):
                yield to, b"E" + found.tobytes()


def _edges_and_labels(parts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The edges of a shard's nodes, and their labels."""
    edges = np.unique(_joined([part[1:] for part in parts if part[:1] == b"E"], EDGE))
    told = _joined([part[1:] for part in parts if part[:1] == b"L"], LABEL)
    return edges, spread.lowered(edges, told)


class LowerLabels(Regroup):
    """A round in which each node takes the least label of its neighbours; there are so many rounds
    that what hangs together over twice as many edges has one label."""

    stage = "labels"

    def __init__(self, number: int):
        self.number = number

    def regroup(self, shard: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, edges), (shard, labels), and (shard of a neighbour, labels)."""
        edges, labels = _edges_and_labels(parts)
        yield shard, b"E" + edges.tobytes()
        yield shard, b"L" + labels.tobytes()
        told = np.empty(len(edges), LABEL)
        told["node"] = edges["head"]
        told["label"] = labels["label"][np.searchsorted(labels["node"], edges["member"])]
        for to, found in _by_shard(told, told["node"]):
            yield to, b"L" + found.tobytes()


class SendMembers(Regroup):
    """The step that brings the captions of a group together."""

    stage = "members"

    def __init__(self, read: Reader, buckets: int):
        self.read, self.buckets = read, buckets

    def regroup(self, shard: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `MEMBER`s with their tokens)."""
        _, labels = _edges_and_labels(parts)
        members, tokens = spread.sent(labels, self.read.captions(shard))
        hashed = members["label"] * np.uint64(0x9E3779B97F4A7C15)
        for bucket, rows in by_bucket(bucket_of(hashed, self.buckets)):
            yield bucket, spread.packed(members[rows], tokens.take(rows))


class JudgeGroups(Regroup):
    """The step that decides, within each group, who is kept in whose stead."""

    stage = "judge"

    def __init__(self, read: Reader, limits: Limits):
        self.read, self.limits = read, limits

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, `VERDICT`s)."""
        members, tokens = spread.unpacked(parts, MEMBER)
        verdicts = spread.judged(members, tokens, self.read.weights(), self.limits)
        for shard, found in _by_shard(verdicts, verdicts["node"]):
            yield shard, found.tobytes()


class NearTask(Task):
    """The task that drops a shard's near-duplicates.

    Args:
        output: The ids of the samples that stay.
        rejects: All rejects of the shard.
        compared: The samples that are left, `tables.COMPARED`.
        lost: The rejects so far.
        plans: The shards' plans, for what a reject row says.
        limits: How near is near.
    """

    stage = "curate"

    def __init__(
        self, output: Parts, rejects: Parts, compared: Parts, lost: Parts, plans: Parts,
        limits: Limits,
    ):  # fmt: skip
        self.output, self.rejects = output, rejects
        self.compared, self.lost, self.plans, self.limits = compared, lost, plans, limits

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the ids of the samples that stay, and the rejects."""
        table = files.read_table(self.compared.path(shard))
        before = files.read_table(self.lost.path(shard))
        values = _values(Captions.of(shard, table), _joined(parts, VERDICT), len(table))
        with self.results(shard, _KEPT) as results:
            results.counts.rows_in = len(table) + len(before)
            results.reject(before)
            stays = pc.is_null(values)
            gone = table["id"].filter(pc.invert(stays))
            plan = files.read_table(
                self.plans.path(shard), [name for name in tables.REJECTS.names if name in _TOLD]
            )
            rows = plan.take(pc.index_in(gone, value_set=plan["id"].combine_chunks()))
            rows = rows.append_column("value", values.drop_null())
            results.reject(
                rows.append_column("reason", pa.repeat("near_duplicate_text", len(rows)))
            )
            results.keep(table.filter(stays))
        return results.counts


_TOLD = frozenset({"id", "image_url", "caption", "page_url", "source", "extra", "annotations"})


def _values(captions: Captions, verdicts: np.ndarray, count: int) -> pa.Array:
    """What is said of each row of a shard that goes, null where it stays."""
    best, (anchors, rests) = captions.representatives(), captions.ids
    told = np.full(len(best), -1)  # the verdict on each caption that stands for others
    told[captions.at(verdicts["node"])] = np.arange(len(verdicts))
    of = told[best]
    names = ("anchor", "rest")
    kept, group = (
        [np.where(of >= 0, verdicts[name][of], half[best]) if len(verdicts) else half[best]
         for name, half in zip(pair, (anchors, rests), strict=True)]
        for pair in (names, ("first", "second"))
    )  # fmt: skip
    same = (kept[0] == anchors[best]) & (kept[1] == rests[best])
    goes = (kept[0] != anchors) | (kept[1] != rests)
    goes &= captions.better & ANNOTATED == 0
    said = np.full(count, None, object)
    for i in np.flatnonzero(goes):
        near = 1.0 if same[i] else float(verdicts["near"][of[i]])
        said[captions.rows[i]] = (
            f"{kept[0][i]:016x}{kept[1][i]:016x}, similarity {near:.2f}, "
            f"group {group[0][i]:016x}{group[1][i]:016x}"
        )
    return pa.array(said, pa.string())
