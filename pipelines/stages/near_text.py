"""The passes of curate that find near-duplicate captions, over all shards.

Captions meet in buckets of MinHash bands; which of those are near is verified with their tokens;
what hangs together is labelled in rounds; and each group is judged in one place. What is shuffled
is hashes. Each step's task is a slab (the captions of some neighbouring shards, cut into tokens
once) or a bucket, so memory is that of a slab of 125,000 captions, a bucket of about
a million records, or the captions of one group, of which a slab sends 1,024 at most.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.curate import CurateTask, compared
from septet.pipelines.stages.earlier import EarlierShard, sample_name
from septet.pipelines.stages.graphs import Regroup, Split, shuffle_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage, read_counts
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.dedup import rank_of_earlier
from septet.preprocess.near_duplicates import spread
from septet.preprocess.near_duplicates.captions import Limits
from septet.preprocess.near_duplicates.spread import (
    EDGE,
    GONE,
    LABEL,
    MEMBER,
    RECORD,
    VERDICT,
    Buckets,
    Captions,
    Labels,
    by_slab,
)
from septet.preprocess.near_duplicates.tokens import SLOTS, slots_of, weights_of
from septet.preprocess.text.ids import bucket_of, by_bucket
from septet.schemas import tables

_SMALLEST_SLAB, _LARGEST_SLAB, _SLABS = 16_384, 125_000, 32
_CAPTIONS_A_BUCKET = 500_000
_CAPTIONS_COUNTED = 500_000
_ROUNDS = 6
_CACHED = 2

_KEPT = pa.schema([("id", pa.string())])
_WEIGHTS = pa.schema([("weight", pa.float32())])
_SLOT_COUNT = np.dtype([("slot", "<u4"), ("count", "<u4")])


def near_passes(
    stage: Stage, before: CurateTask, rows: Mapping[Key, int], earlier: Sequence[EarlierShard]
) -> Iterator[Pass]:
    """The passes of curate that follow when `before` has written what is left of each shard,
    `tables.COMPARED`, and the rejects so far; `rows` says how many samples those are."""
    task = NearTask(
        stage.parts("kept"),
        stage.rejects,
        before.output,
        before.rejects,
        stage.input("plans"),
        before.against,
    )
    limits = Limits.of(stage.recipe.curate.near_text_similarity)
    slabs = Slabs.of(
        before.output, stage.parts("near_words"), rows, earlier, before.settings.near_text
    )
    yield from passes_over(task, slabs, limits)


def passes_over(task: "NearTask", slabs: "Slabs", limits: Limits) -> Iterator[Pass]:
    """The passes over all shards: the weights of words, then everything else.

    Args:
        task: The last step.
        slabs: The captions.
        limits: How near is near.
    """
    count, shards = slabs.captions, slabs.own_shards
    weigh = WeightsTask(slabs.cut)
    numbers = range(len(slabs.shards))
    cut = CutCaptions(slabs, max(1, count // _CAPTIONS_COUNTED))
    yield Pass(
        "curate: words",
        weigh.outputs([0]),
        lambda todo: shuffle_tasks(cut, numbers, weigh, todo),
    )
    weights, buckets = weigh.path(0), Buckets(count)
    steps: list[Split | Regroup] = [
        SplitBands(slabs, buckets),
        FindStars(buckets),
        SendTokens(slabs),
        Verify(slabs, weights, limits),
        *(LowerLabels() for _ in range(_ROUNDS)),
        SendMembers(slabs, max(1, -(-count // _CAPTIONS_A_BUCKET))),
        JudgeGroups(weights, limits),
        TellShards(slabs),
    ]
    yield Pass(
        "curate: near text",
        task.outputs(shards),
        lambda todo: shuffle_tasks(steps, numbers, task, todo),
    )


@dataclass(frozen=True)
class Slabs:
    """The slabs of a build: the shards of each, with those of earlier corpora in slabs of their
    own. The captions of a slab are cut into tokens once, and kept. Plain data, shipped to workers.

    Args:
        compared: The samples of the build's shards, `tables.COMPARED`.
        cut: Where the captions of slabs go, and the weights of words.
        shards: By slab.
        captions: How many there are at most.
        near_text: Of the recipe's `curate`: which captions of earlier corpora are compared.
    """

    compared: Parts
    cut: Parts
    shards: tuple[tuple[Key | EarlierShard, ...], ...]
    captions: int
    near_text: str

    @classmethod
    def of(
        cls, compared: Parts, cut: Parts, rows: Mapping[Key, int], earlier: Sequence[EarlierShard],
        near_text: str,
    ) -> "Slabs":  # fmt: skip
        """Slabs of neighbouring shards; `rows` says how many samples there are of each."""
        theirs = {shard: shard.samples for shard in earlier}
        captions = sum(rows.values()) + sum(theirs.values())
        most = min(max(captions // _SLABS, _SMALLEST_SLAB), _LARGEST_SLAB)
        slabs: list[list[Key | EarlierShard]] = []
        for some in (rows, theirs):
            room = 0
            for shard, count in some.items():
                if count > room or not room:
                    slabs.append([])
                    room = most
                slabs[-1].append(shard)
                room = max(0, room - count)
        return cls(compared, cut, tuple(map(tuple, slabs)), captions, near_text)

    @property
    def own_shards(self) -> list[Key]:
        """The build's own shards."""
        return [one for some in self.shards for one in some if not isinstance(one, EarlierShard)]

    def is_earlier(self, slab: int) -> bool:
        """Whether a slab's captions are of earlier corpora."""
        return isinstance(self.shards[slab][0], EarlierShard)

    def path(self, slab: int) -> str:
        """The file of a slab's captions."""
        return self.cut.path(f"slab {slab}").removesuffix(".parquet") + ".captions"

    def read(self, slab: int) -> Captions:
        """The captions of a slab."""
        return _read_slab(self, slab)

    def write(self, slab: int) -> Captions:
        """Cut the captions of a slab into tokens, and keep them."""
        shards = self.shards[slab]
        captions = Captions.of(slab, [self._samples(shard) for shard in shards])
        files.write_bytes(self.path(slab), captions.to_bytes())
        return captions

    def _samples(self, shard: Key | EarlierShard) -> tuple[int, pa.Table]:
        if not isinstance(shard, EarlierShard):
            return int(shard), files.read_table(self.compared.path(shard))
        rows = compared(shard.read(), self.near_text)
        better = pa.array(np.full(len(rows), rank_of_earlier(shard.corpus)))
        return 0, rows.set_column(rows.column_names.index("better"), "better", better)


@lru_cache(_CACHED)
def _read_slab(slabs: Slabs, slab: int) -> Captions:
    path = slabs.path(slab)
    if not files.exists(path):  # removed between two builds, of which the first was killed
        return slabs.write(slab)
    return Captions.from_bytes(slab, files.read_bytes(path))


@lru_cache(_CACHED)
def _read_weights(path: str) -> np.ndarray:
    return files.read_table(path)["weight"].to_numpy()


def _joined(parts: Iterable[bytes], kind: np.dtype) -> np.ndarray:
    return np.frombuffer(b"".join(parts), kind)


def _of_kind(parts: list[bytes], kind: bytes, dtype: np.dtype) -> np.ndarray:
    return _joined((part[1:] for part in parts if part[:1] == kind), dtype)


class CutCaptions(Split):
    """The step that cuts a slab's captions into tokens, and counts those of a sample of them."""

    stage = "words"

    def __init__(self, slabs: Slabs, every: int):
        self.slabs, self.every = slabs, np.uint64(every)

    def split(self, slab: int) -> Iterable[tuple[int, bytes]]:
        """Yield (0, number of captions and `_SLOT_COUNT` records)."""
        captions = self.slabs.write(slab)
        some = np.flatnonzero(captions.rests % self.every == 0)
        counts = np.bincount(slots_of(captions.tokens.take(some).tokens), minlength=SLOTS)
        slots = np.flatnonzero(counts)
        found = np.empty(len(slots), _SLOT_COUNT)
        found["slot"], found["count"] = slots, counts[slots]
        yield 0, np.array([len(some)], "<u8").tobytes() + found.tobytes()


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
    """The step that sends a slab's captions to the buckets of their bands' keys."""

    stage = "bands"

    def __init__(self, slabs: Slabs, buckets: Buckets):
        self.slabs, self.buckets = slabs, buckets

    def split(self, slab: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `RECORD`s), and (number of buckets + slab, `EDGE`s within the slab)."""
        for bucket, found in spread.met(self.slabs.read(slab), self.buckets):
            yield bucket if bucket >= 0 else len(self.buckets) + slab, found.tobytes()


class FindStars(Regroup):
    """The step that links the captions under a key to the first near one."""

    stage = "stars"

    def __init__(self, buckets: Buckets):
        self.buckets = buckets

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (slab of the member, `EDGE`s)."""
        if bucket >= len(self.buckets):  # found within the slab
            yield from ((bucket - len(self.buckets), part) for part in parts)
            return
        edges = spread.stars(_joined(parts, RECORD))
        for slab, found in by_slab(edges, edges["member"]):
            yield slab, found.tobytes()


class SendTokens(Regroup):
    """The step that sends the members' tokens to the slabs of the heads."""

    stage = "tokens"

    def __init__(self, slabs: Slabs):
        self.slabs = slabs

    def regroup(self, slab: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (slab of the head, `EDGE`s with the members' tokens)."""
        edges, captions = spread.distinct(_joined(parts, EDGE)), self.slabs.read(slab)
        for head, found in by_slab(edges, edges["head"]):
            tokens = captions.tokens.take(spread.rows_of(found["member"])).sorted()
            yield head, spread.packed(found, tokens)


class Verify(Regroup):
    """The step that keeps the edges whose ends are near, and tells both ends."""

    stage = "verify"

    def __init__(self, slabs: Slabs, weights: str, limits: Limits):
        self.slabs, self.weights, self.limits = slabs, weights, limits

    def regroup(self, slab: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (slab of the member, `EDGE`s), each edge once for either end."""
        edges, members = spread.unpacked(parts, EDGE)
        captions, weights = self.slabs.read(slab), _read_weights(self.weights)
        near = spread.both_ends(spread.verified(edges, members, captions, weights, self.limits))
        for to, found in by_slab(near, near["member"]):
            yield to, _EDGES + found.tobytes()


_EDGES, _KNOWN, _TOLD = b"E", b"K", b"T"


def _labels(parts: list[bytes]) -> Labels:
    """The labels of a slab after a round more."""
    return Labels.lowered(
        _of_kind(parts, _EDGES, EDGE), _of_kind(parts, _KNOWN, LABEL), _of_kind(parts, _TOLD, LABEL)
    )


class LowerLabels(Regroup):
    """A round in which each caption takes the least label of those that it hangs together with in
    its slab, and of their neighbours elsewhere."""

    stage = "labels"

    def regroup(self, slab: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (slab, edges), (slab, labels), and (slab of a neighbour, labels)."""
        lowered = _labels(parts)
        yield slab, _EDGES + lowered.edges.tobytes()
        yield slab, _KNOWN + lowered.labels.tobytes()
        for to, found in by_slab(lowered.told, lowered.told["node"]):
            yield to, _TOLD + found.tobytes()


class SendMembers(Regroup):
    """The step that brings the captions of a group together."""

    stage = "members"

    def __init__(self, slabs: Slabs, buckets: int):
        self.slabs, self.buckets = slabs, buckets

    def regroup(self, slab: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, `MEMBER`s with their tokens)."""
        members, tokens = spread.sent(_labels(parts).labels, self.slabs.read(slab))
        hashed = members["label"] * np.uint64(0x9E3779B97F4A7C15)
        for bucket, rows in by_bucket(bucket_of(hashed, self.buckets)):
            yield bucket, spread.packed(members[rows], tokens.take(rows))


class JudgeGroups(Regroup):
    """The step that decides, within each group, who is kept in whose stead."""

    stage = "judge"

    def __init__(self, weights: str, limits: Limits):
        self.weights, self.limits = weights, limits

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (slab, `VERDICT`s)."""
        members, tokens = spread.unpacked(parts, MEMBER)
        verdicts = spread.judged(members, tokens, _read_weights(self.weights), self.limits)
        for slab, found in by_slab(verdicts, verdicts["node"]):
            yield slab, found.tobytes()


class TellShards(Regroup):
    """The step that tells shards which of their samples go."""

    stage = "told"

    def __init__(self, slabs: Slabs):
        self.slabs = slabs

    def regroup(self, slab: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, `GONE` records)."""
        if not self.slabs.is_earlier(slab):
            captions = self.slabs.read(slab)
            for shard, found in spread.gone(captions, _joined(parts, VERDICT)):
                yield shard, found.tobytes()


class NearTask(Task):
    """The task that drops a shard's near-duplicates.

    Args:
        output: The ids of the samples that stay.
        rejects: All rejects of the shard.
        compared: The samples that are left, `tables.COMPARED`.
        lost: The rejects so far.
        plans: The shards' plans, for what a reject row says.
        against: Names of the earlier corpora.
    """

    stage = "curate"

    def __init__(
        self, output: Parts, rejects: Parts, compared: Parts, lost: Parts, plans: Parts,
        against: tuple[str, ...] = (),
    ):  # fmt: skip
        self.output, self.rejects = output, rejects
        self.compared, self.lost, self.plans, self.against = compared, lost, plans, against

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the ids of the samples that stay, and the rejects."""
        table = files.read_table(self.compared.path(shard), ["id"])
        before = files.read_table(self.lost.path(shard))
        lost = _joined(parts, GONE)
        lost = lost[np.argsort(lost["row"])]
        with self.results(shard, _KEPT) as results:
            results.counts.rows_in = len(table) + len(before)
            results.counts.tally.add(next(read_counts([self.compared.path(shard)])).tally)
            results.reject(before)
            if len(lost):
                results.reject(self._rejects(shard, table, lost))
            stays = np.ones(len(table), bool)
            stays[lost["row"]] = False
            results.keep(table.filter(pa.array(stays)))
        return results.counts

    def _rejects(self, shard: int, table: pa.Table, lost: np.ndarray) -> pa.Table:
        """The reject rows of samples that go, `GONE` records by ascending row."""
        plan = files.read_table(
            self.plans.path(shard), [name for name in tables.REJECTS.names if name in _TOLD_OF]
        )
        gone = table["id"].take(lost["row"])
        rows = plan.take(pc.index_in(gone, value_set=plan["id"].combine_chunks()))
        rows = rows.append_column("value", pa.array(_values(lost, self.against), pa.string()))
        return rows.append_column("reason", pa.repeat("near_duplicate_text", len(rows)))


_TOLD_OF = frozenset({"id", "image_url", "caption", "page_url", "source", "extra", "annotations"})


def _values(lost: np.ndarray, names: Sequence[str]) -> list[str]:
    """What is said of each sample that goes."""
    columns = (lost[name].tolist() for name in ("anchor", "rest", "corpus", "near", "first",
                                                "second"))  # fmt: skip
    return [
        f"{sample_name(anchor, rest, corpus, names)}, similarity {near:.2f}, "
        f"group {first:016x}{second:016x}"
        for anchor, rest, corpus, near, first, second in zip(*columns, strict=True)
    ]
