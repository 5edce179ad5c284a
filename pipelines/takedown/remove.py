"""`septet remove`: samples that no reader gives any more, from the moment that the head is written.

Whoever names a sample of an image means the image: all samples with the same URL or the same bytes
go with it. What was asked for is kept, so that later builds drop it too, whether or not a sample
had it. A sample that was removed already costs nothing, so a list can be given again.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.stages.barred import text_keys
from septet.pipelines.takedown.log import Entry, append
from septet.pipelines.takedown.looks import LOOKS, read_looks, shard_looks
from septet.pipelines.takedown.wanted import COLUMNS, How, Wanted, read_wanted, texts
from septet.pipelines.up_to_date import forget
from septet.preprocess import files
from septet.preprocess.locks import locked
from septet.preprocess.shards.barred import bar
from septet.preprocess.shards.heads import read_head, removed_keys
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.removed import forget_older, read_newest, write_next
from septet.preprocess.shards.sidecar import open_sidecar, read_batches, read_sidecar
from septet.preprocess.shards.views import require_whole
from septet.preprocess.text.ids import url_hash
from septet.schemas.layout import MANIFEST, REPORT, STATISTICS
from septet.schemas.manifest import BARRED_LIST, REMOVED_LIST
from septet.schemas.recipe import Image
from septet.schemas.versioned import ManifestError


@dataclass(frozen=True)
class Taken:
    """The result of a removal."""

    removed: int
    """Samples that were there before, and are no more."""
    with_others: int
    """Those of them that were not named, and have the image of one that was."""
    before: int
    """Lines that name only samples which were removed before."""
    unknown: tuple[str, ...]
    """Lines that name no sample."""
    left: int
    """Samples that the corpus still has."""


@dataclass(frozen=True)
class _Named:
    """What one shard holds of what is wanted."""

    hits: NDArray[np.bool_]
    answered: dict[str, bool]
    """Lines that name a sample of it, and whether one of these was there."""
    urls: set[str]
    digests: set[str]


def read_asked(path: str, how: How, file: str) -> Wanted:
    """Read what is to be removed from a corpus.

    Args:
        path: The corpus folder.
        how: What the file holds.
        file: As of `wanted.read_wanted` or `looks.read_looks`.

    Raises:
        ManifestError: no corpus.
        ValueError: the file cannot be used; says why.
    """
    require_whole(
        path,
        "samples are removed from the corpus, and leave all of its views; to remove all that this "
        "view has, `septet remove {corpus} --ids {ids}`",
    )
    recipe = read_head(path).recipe
    if how != "phash":
        return read_wanted(how, file)
    return read_looks(file, Image(**recipe["image"]) if recipe else Image(resize_mode="no"))


def remove(path: str, wanted: Wanted, who: str, note: str, console: Console) -> Taken:
    """Remove samples from a corpus.

    Args:
        path: The corpus folder.
        wanted: What is to be removed.
        who: Who asks for it, for the log.
        note: Why, for the log.
        console: The console for progress bars.

    Raises:
        ManifestError: no corpus, or one whose format has no list of removed samples.
        FolderBusyError: a build or an annotation is at work in the folder.
    """
    read_head(path)  # a lock would make the folder where there is none
    with locked(path, alone=True, busy=f"a build or annotation is at work in {path}"):
        corpus = Corpus(path, open_shards=2)
        if corpus.manifest.format_version == 1:
            raise ManifestError(
                f"{path} has format version 1, which cannot say that samples were removed: build "
                "(or index) it anew, then remove them"
            )
        known = read_newest(path)
        rows, taken, gone_texts = _find(corpus, wanted, known, console)
        barred = [{"what": "text", "value": key} for key in sorted(gone_texts)]
        # First, so that a removal which is killed has it too.
        asked = pa.concat_tables([wanted.barred, pa.Table.from_pylist(barred, BARRED_LIST)])
        if bar(path, asked):
            forget(path)
        table = pa.concat_tables([known, rows]).sort_by(
            [("shard", "ascending"), ("row", "ascending"), ("key", "ascending")]
        )
        head = corpus.manifest
        if len(table) and (len(rows) or head.removed is None or head.removed.rows != len(known)):
            told = write_next(path, table.combine_chunks())
            files.remove(files.join(path, REPORT))  # it may show what goes
            head = head.model_copy(update=removed_keys(told))
            files.write_bytes(files.join(path, MANIFEST), head.to_json().encode())
            forget_older(path, told.path)
        append(path, Entry.now(who, note, wanted, taken))
    refresh(path)
    return taken


def refresh(path: str) -> None:
    """Count and draw anew what a corpus's folder shows of it, where that is not as it should be."""
    from septet.pipelines.report.current import is_current
    from septet.pipelines.report.page import refresh_report  # only here: plotting and templates
    from septet.pipelines.report.statistics import known_statistics

    if is_current(path):
        return
    found = known_statistics(path).model_copy(update={"columns": None})
    files.write_bytes(files.join(path, STATISTICS), found.to_json().encode())
    refresh_report(path, {})


def _find(
    corpus: Corpus, wanted: Wanted, known: pa.Table, console: Console
) -> tuple[pa.Table, Taken, set[str]]:
    """The rows that the list of removed samples gains, and the keys of texts without images among
    them."""
    numbers = range(len(corpus.shards))
    named = list(
        track(
            map_ahead(lambda number: _named(corpus, number, wanted), numbers),
            "looking up", len(numbers), console=console, transient=True,
        )
    )  # fmt: skip
    urls = set().union(*(one.urls for one in named))
    digests = set().union(*(one.digests for one in named))

    def gained(number: int) -> tuple[pa.Table, int, set[str]]:
        table = _read(corpus, number)
        hits = named[number].hits.copy()
        for name, values in (("url", urls), ("sha256", digests)):
            same = pc.is_in(texts(table, name), value_set=pa.array(sorted(values), pa.string()))
            hits |= same.to_numpy(zero_copy_only=False)
        hits[corpus.removed.of(number)] = False
        rows = np.flatnonzero(hits)
        tar = corpus.removed.origins.get(number, corpus.shards[number].tar_sha256)
        found = pa.table(
            [
                texts(table, "key").take(rows),
                texts(table, "sha256").take(rows).fill_null(""),
                pa.array(np.full(len(rows), number)),
                pa.array(rows),
                pa.repeat(tar, len(rows)),
            ],
            schema=REMOVED_LIST,
        )
        return found, int((~named[number].hits[rows]).sum()), _texts_alone(corpus, number, rows)

    parts = list(map_ahead(gained, numbers if urls or digests else _with_hits(named)))
    rows = pa.concat_tables([REMOVED_LIST.empty_table(), *(table for table, _, _ in parts)])
    # A removal that was killed before its head was written has rows in the list already.
    fresh = rows.filter(pc.invert(pc.is_in(rows["key"], value_set=known["key"].combine_chunks())))
    answered: dict[str, bool] = {}
    for one in named:
        for line, there in one.answered.items():
            answered[line] = answered.get(line, False) or there
    gone = _known_before(wanted, known, answered)
    taken = Taken(
        removed=len(rows),
        with_others=sum(others for _, others, _ in parts),
        before=sum(not there for there in answered.values()) + len(gone),
        unknown=tuple(v for v in wanted.values if v not in answered and v not in gone),
        left=len(corpus) - len(rows),
    )
    return fresh, taken, set().union(*(keys for _, _, keys in parts))


def _texts_alone(corpus: Corpus, number: int, rows: NDArray[np.int64]) -> set[str]:
    """The keys by which those of some rows are barred that are texts without an image."""
    shard = corpus.shards[number]
    if not len(rows) or corpus.manifest.recipe is None:
        return set()
    where = files.join(corpus.path, shard.sidecar)
    table = read_sidecar(where, ["url", "caption", "extra"], shard.samples).take(rows)
    alone = table.filter(pc.is_null(table["url"]))
    pairs = zip(alone["caption"].to_pylist(), alone["extra"].to_pylist(), strict=True)
    return set().union(*(text_keys(caption, extra) for caption, extra in pairs))


def _with_hits(named: Collection[_Named]) -> Iterator[int]:
    return (number for number, one in enumerate(named) if one.hits.any())


def _known_before(wanted: Wanted, known: pa.Table, answered: Collection[str]) -> set[str]:
    """Lines whose samples are in no shard any more, and in the list: by key, or by the hash of the
    image's URL with which a key begins."""
    keys = set(known["key"].to_pylist())
    anchors = {key[:16] for key in keys}
    found = set()
    for spelling, line in wanted.spelled.items():
        if line not in answered:
            is_url = wanted.how == "urls" and f"{url_hash(spelling):016x}" in anchors
            if is_url or (wanted.how == "ids" and spelling in keys):
                found.add(line)
    return found


def _read(corpus: Corpus, number: int) -> pa.Table:
    """Those of `COLUMNS` that a shard's sidecar has, also of rows that were removed: they are still
    asked for."""
    path = files.join(corpus.path, corpus.shards[number].sidecar)
    with open_sidecar(path, ["key"]) as parquet:
        batches = list(read_batches(parquet, path, COLUMNS))
    if not batches:
        return pa.table({"key": pa.array([], pa.string())})
    return pa.Table.from_batches(batches)


def _named(corpus: Corpus, number: int, wanted: Wanted) -> _Named:
    table = _read(corpus, number)
    if wanted.how == "phash":
        for name, column in zip(LOOKS, shard_looks(corpus, number).columns, strict=True):
            table = table.append_column(name, column)
    hits, lines = wanted.rows(table)
    gone = np.zeros(len(table), bool)
    gone[corpus.removed.of(number)] = True
    there = wanted.rows(table.filter(pa.array(~gone)))[1] if gone.any() else lines
    mask = pa.array(hits)
    urls, digests = (
        set(texts(table, name).filter(mask).drop_null().unique().to_pylist()) - {""}
        for name in ("url", "sha256")
    )
    return _Named(hits, {line: line in there for line in lines}, urls, digests)
