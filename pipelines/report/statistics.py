"""Statistics of a corpus, counted from its sidecars; no image is opened."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from septet.pipelines.ahead import map_ahead
from septet.pipelines.derived import DERIVED
from septet.pipelines.report import funnel, rejects
from septet.pipelines.report.figures import Category, ColumnFigures, Histogram, Members, Statistics
from septet.pipelines.report.frequent import Frequent
from septet.pipelines.report.measures import MEASURES, Distribution, tally
from septet.preprocess import files
from septet.preprocess.columns.counts import shown_counts
from septet.preprocess.columns.reader import column_names, is_stale, read_manifest
from septet.preprocess.shards.heads import read_head
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import open_sidecar, read_batches
from septet.preprocess.shards.views import split_view
from septet.schemas.layout import IMAGE_EXTENSIONS, STATISTICS

_FORMATS = {"jpg": "jpeg", "tif": "tiff"}
_BATCHES_AT_ONCE = 64
"""Batches of a sidecar, of 1,024 rows, that are counted together."""
_MOST_CHUNKS = 1024
_SHARDS_A_RUN = 4
_CATEGORIES = ("language", "language_from", "caption_from", "format", "reencoded", "status")
_NUMBERS = ("width", "height", "original_width", "original_height", "original_bytes")
_COLUMNS = ["url", "page_url", "caption", *_CATEGORIES, *_NUMBERS, "members"]


@dataclass
class ShardStatistics:
    """The figures of some samples, which can be added to those of others.

    Bounded whatever the number of samples. Sums of equal samples are equal where they are grouped
    and ordered alike (see `Frequent`), as `chunks` does.
    """

    samples: int = 0
    members: Counter[str] = field(default_factory=Counter)
    """Members by extension."""
    member_bytes: Counter[str] = field(default_factory=Counter)
    categories: dict[str, Frequent] = field(default_factory=dict)
    measures: dict[str, Distribution] = field(default_factory=dict)

    def __iadd__(self, other: "ShardStatistics") -> "ShardStatistics":
        self.samples += other.samples
        self.members.update(other.members)
        self.member_bytes.update(other.member_bytes)
        for name, counts in other.categories.items():
            self.categories.setdefault(name, Frequent())
            self.categories[name] += counts
        for name, found in other.measures.items():
            self.measures[name] = self.measures.get(name, Distribution()) + found
        return self

    def could_have(self, category: str) -> int:
        """How many samples could have had a value of a category: of `chinese` those with a caption
        in Chinese, which all have one."""
        return self.categories[category].total if category == "chinese" else self.samples


def shard_statistics(sidecar: pa.Table) -> ShardStatistics:
    """Count the figures of a sidecar's rows.

    Args:
        sidecar: A table of `schemas.tables.SAMPLES`, or of an indexed foreign shard: every column
            but `key` may be missing, and columns of an unfit type count as missing.
    """
    columns = {name: sidecar[name] for name in _COLUMNS if name in sidecar.column_names}
    members = _members(columns.get("members"))
    counts: dict[str, int] = dict(zip(members["ext"], members["count"], strict=True))
    categories: dict[str, Counter[str]] = {
        name: tally(pc.value_counts(text.drop_null()))
        for name in _CATEGORIES
        if (text := _text(columns.get(name))) is not None
    }
    if "format" not in categories:
        formats = categories.setdefault("format", Counter())
        for ext in counts:
            if ext in IMAGE_EXTENSIONS:
                formats[_FORMATS.get(ext, ext)] += counts[ext]
    told = _told(columns)
    for name in DERIVED:
        if name in told and pa.types.is_string(told[name].type):
            categories[name] = tally(pc.value_counts(told[name].drop_null()))
    return ShardStatistics(
        samples=len(sidecar),
        members=Counter(counts),
        member_bytes=Counter(dict(zip(members["ext"], members["bytes"], strict=True))),
        categories={name: Frequent.of(found) for name, found in categories.items() if found},
        measures={
            name: Distribution.of(values)
            for name, values in _measured(told)
            if bool((values >= 0).any())
        },
    )


def _text(column: pa.ChunkedArray | None) -> pa.ChunkedArray | None:
    """A column as strings; None where it is missing or does not hold scalars."""
    if column is None or pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    return pc.cast(column, pa.string())


def _numbers(column: pa.ChunkedArray | None) -> pa.Array | None:
    """A numeric column as int64 [n]; None where it is missing or does not hold numbers."""
    if column is None:
        return None
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    elif not pa.types.is_integer(column.type):
        return None
    return pc.cast(column, pa.int64(), safe=False).combine_chunks()


def _members(column: pa.ChunkedArray | None) -> dict[str, list]:
    """Count the members of each extension, and their bytes."""
    if column is None:
        return {"ext": [], "count": [], "bytes": []}
    flat = pc.list_flatten(column)
    table = pa.table([pc.struct_field(flat, "ext"), pc.struct_field(flat, "size")], ["ext", "size"])
    grouped = table.group_by("ext").aggregate([("size", "count"), ("size", "sum")])
    return {
        "ext": grouped["ext"].to_pylist(),
        "count": grouped["size_count"].to_pylist(),
        "bytes": grouped["size_sum"].to_pylist(),
    }


def _told(columns: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.Array]:
    """Sides, sizes, and the fields that can be worked out from the columns, by name."""
    known: dict[str, pa.ChunkedArray | pa.Array] = {}
    for name, column in columns.items():
        fit = _numbers(column) if name in _NUMBERS else _text(column)
        if fit is not None or name == "members":
            known[name] = column if fit is None else fit
    rows = max(map(len, columns.values()), default=0)
    types = {name: column.type for name, column in known.items()}
    told = {name: known[name] for name in _NUMBERS if name in known}
    return told | {name: one.of(known, rows) for name, one in DERIVED.items() if one.fits(types)}


def _measured(told: Mapping[str, pa.Array]) -> Iterator[tuple[str, np.ndarray]]:
    """The values times its scale (int64, -1 for missing) of each measure that is told, by name."""
    for name, measure in MEASURES.items():
        if name in told:
            values = told[name]
            if measure.scale != 1:
                values = pc.cast(pc.round(pc.multiply(values, float(measure.scale))), pa.int64())
            yield name, pc.fill_null(values, -1).to_numpy()


def sidecar_statistics(path: str, chosen: NDArray[np.int64] | None = None) -> ShardStatistics:
    """Count the figures of a sidecar file, read in batches of rows.

    Args:
        path: The file.
        chosen: Rising numbers of the rows that count; None for all.

    Raises:
        SidecarError: it is no sidecar.
    """
    total, begin = ShardStatistics(), 0
    with open_sidecar(path, ["key"]) as parquet:
        known = [name for name in _COLUMNS if name in parquet.schema_arrow.names]
        batches = read_batches(parquet, path, known or ["key"])
        while part := list(islice(batches, _BATCHES_AT_ONCE)):
            table = pa.Table.from_batches(part)
            end = begin + len(table)
            if chosen is not None:
                first, last = np.searchsorted(chosen, [begin, end])
                table = table.take(chosen[first:last] - begin)
            total += shard_statistics(table)
            begin = end
    return total


def column_figures(path: str) -> list[ColumnFigures]:
    """The figures of a corpus's columns, by name, from their manifests."""
    corpus = Corpus(path)
    names = column_names(corpus.path)
    manifests = [shown_counts(corpus, read_manifest(corpus.path, name)) for name in names]
    return [
        ColumnFigures(
            name=m.name, kind=m.kind, samples=m.samples, values=m.values, bytes=m.bytes,
            without=dict(m.reasons), languages=m.languages, rows=m.rows, stale=is_stale(corpus, m),
        )
        for m in manifests
    ]  # fmt: skip


def chunks(shards: int, least: int = 1) -> list[range]:
    """Cut a number of shards into at most 1,024 runs, whose figures are counted apart and then
    added in order. Every reader of a corpus cuts alike, so that all come to equal figures.

    Args:
        shards: The number of shards.
        least: Fewest of them in a run.
    """
    size = max(least, -(-shards // _MOST_CHUNKS))
    return [range(start, min(start + size, shards)) for start in range(0, shards, size)]


def shard_runs(shards: int) -> list[range]:
    """Cut a corpus's shards into runs whose figures are counted apart: of several shards each,
    since adding the figures of a run takes half as long as counting those of a shard."""
    return chunks(shards, _SHARDS_A_RUN)


def shards_statistics(path: str, sidecars: Iterable[str]) -> ShardStatistics:
    """Count the figures of some shards of a corpus, given by their sidecars' paths in it."""
    total = ShardStatistics()
    for sidecar in sidecars:
        total += sidecar_statistics(files.join(path, sidecar))
    return total


def _statistics_of(corpus: Corpus, shards: Iterable[int]) -> ShardStatistics:
    """Count the figures of the samples of some shards, without those that were removed."""
    total = ShardStatistics()
    for number in shards:
        sidecar, rows = corpus.shards[number].sidecar, corpus.rows(number)
        whole = len(rows) == corpus.counts[number]
        total += sidecar_statistics(files.join(corpus.path, sidecar), None if whole else rows)
    return total


def corpus_statistics(
    path: str,
    progress: Callable[[int, int], None] | None = None,
    found: Iterable[ShardStatistics] | None = None,
) -> Statistics:
    """Count all figures of a corpus.

    Args:
        path: The corpus folder.
        progress: Called with (shards read, shards in all) now and then.
        found: Figures of each of `shard_runs`, where they were counted already.

    Raises:
        septet.schemas.versioned.ManifestError: no corpus there, or one that cannot be read.
        ValueError: a sidecar, reject file or the funnel is damaged.
    """
    corpus = Corpus(path)
    if found is None:
        found = map_ahead(
            lambda chunk: _statistics_of(corpus, chunk), shard_runs(len(corpus.shards))
        )
    total, read = ShardStatistics(), 0
    for chunk, part in zip(shard_runs(len(corpus.shards)), found, strict=True):
        total += part
        read += len(chunk)
        if progress:
            progress(read, len(corpus.shards))
    stages = funnel.read_funnel(corpus.path)
    lost = rejects.count_rejects(corpus.path)
    return Statistics(
        name=corpus.manifest.name,
        samples=total.samples,
        shards=len(corpus.shards),
        bytes=corpus.manifest.bytes,
        shard_list=corpus.manifest.shard_list.sha256,
        removed_list=corpus.removed.list_sha256,
        members=[
            Members(ext=ext, count=count, bytes=total.member_bytes[ext])
            for ext, count in sorted(total.members.items())
        ],
        funnel=stages,
        rejects=lost.reasons(),
        duplicates=[
            reason
            for reason in lost.reasons()
            if reason.stage in ("dedup", "curate") and reason.reason.startswith("duplicate")
        ],
        evaluation=lost.evaluation_sets(),
        fetch_failures=rejects.failure_classes(lost),
        failed_domains=Category.of(lost.failed_domains, lost.failed),
        categories={
            name: Category.of(total.categories[name], total.could_have(name))
            for name in (*_CATEGORIES, "chinese", "image_domain", "page_domain")
            if name in total.categories
        },
        measures={
            name: histogram
            for name in MEASURES
            if name in total.measures
            and (histogram := Histogram.of(name, total.measures[name], total.samples))
        },
        notes=_notes(corpus, total) + funnel.contradictions(stages, lost, corpus.manifest.samples),
    )


def known_statistics(path: str, progress: Callable[[int, int], None] | None = None) -> Statistics:
    """All figures of a corpus, columns included: those that its build counted, where they can be
    read and are of the corpus's shards; else counted anew.

    Args:
        path: The corpus folder.
        progress: As for `corpus_statistics`.

    Raises:
        As `corpus_statistics`.
    """
    return with_columns(path, stored_statistics(path) or corpus_statistics(path, progress))


def stored_statistics(path: str) -> Statistics | None:
    """The figures that a corpus's build counted; None where they are missing, damaged, of another
    version's form, or of other samples, for they can always be counted again."""
    if split_view(path)[1] is not None:
        return None
    head, where = read_head(path), files.join(path, STATISTICS)
    if not head.shard_list.sha256 or not files.exists(where):
        return None
    try:
        found = Statistics.from_json(files.read_bytes(where), where)
    except ValueError:
        return None
    removed = head.removed.sha256 if head.removed else ""
    of_these = (found.shard_list, found.removed_list) == (head.shard_list.sha256, removed)
    return found if of_these and (removed or found.samples == head.samples) else None


def with_columns(path: str, statistics: Statistics) -> Statistics:
    """Add the figures of a corpus's columns."""
    return statistics.model_copy(update={"columns": column_figures(path) or None})


def _notes(corpus: Corpus, total: ShardStatistics) -> list[str]:
    notes = []
    if corpus.view is not None:
        notes.append(f"samples of the view {corpus.view.name}; the build's figures are of all")
    if gone := sum(map(len, corpus.removed.rows.values())):
        notes.append(f"{gone:,} samples were removed: no other figure counts them")
    if len(corpus) == total.samples:
        return notes
    return [
        *notes,
        f"corpus.json counts {len(corpus):,} samples, the sidecars hold {total.samples:,}: "
        "run `septet check`",
    ]
