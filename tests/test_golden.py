"""What was written once can be read today."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.pipelines.check import check_corpus
from septet.pipelines.report.figures import Statistics
from septet.pipelines.report.page import report_page
from septet.pipelines.report.statistics import column_figures, corpus_statistics
from septet.pipelines.stages.barred import barred_lists, read_barred
from septet.pipelines.takedown.log import read_log
from septet.preprocess.columns.counts import shown_counts
from septet.preprocess.columns.reader import ColumnShardReader, is_stale, read_manifest
from septet.preprocess.shards.barred import text_key
from septet.preprocess.shards.heads import read_inputs
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.removed import RemovedError
from septet.schemas.layout import STATISTICS
from tests.corpora import rows

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*"))
QUIET = Console(quiet=True)


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_a_corpus_of_every_format_version_is_read(folder: Path) -> None:
    corpus, expected = Corpus(str(folder)), EXPECTED[folder.name]
    assert check_corpus(str(folder), True, QUIET) == []
    assert f"v{corpus.manifest.format_version}" == folder.name
    content = hashlib.sha256()
    without_image = without_text = 0
    for index in range(len(corpus)):
        sample = corpus[index]
        content.update(corpus.key(index).encode() + b"".join(sample.values()))
        assert corpus.find(corpus.key(index)) == index
        image = sample.get("jpg") or sample.get("png")
        without_image += image is None
        without_text += "txt" not in sample
        assert image is None or min(Image.open(io.BytesIO(image)).size) in (32, 60, 64)
    assert (len(corpus), content.hexdigest()) == expected
    assert (without_image, without_text) == WITHOUT[folder.name]
    statistics = corpus_statistics(str(folder))
    removed = ["4 samples were removed: no other figure counts them"]
    assert statistics.samples == len(corpus)
    assert statistics.notes == (removed if folder.name == "v3" else [])
    stored = Statistics.from_json((folder / STATISTICS).read_bytes())
    assert (stored.measures, stored.funnel) == (statistics.measures, statistics.funnel)
    assert len(report_page(str(folder), statistics)) > 10_000
    assert read_inputs(str(folder))[0].path == "part-0.warc.gz"
    assert {row["stage"] for row in rows(folder, "rejects")} >= {"filter", "dedup"}


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_a_column_of_every_format_version_is_read(folder: Path) -> None:
    corpus, manifest = Corpus(str(folder)), read_manifest(str(folder), "brightness")
    assert manifest.format_version == (1 if folder.name == "v1" else 2)
    assert check_columns(str(folder), QUIET) == []
    assert not is_stale(corpus, manifest)
    (figures,) = column_figures(str(folder))
    assert (figures.samples, figures.stale, figures.without) == (
        len(corpus), False, {"no_image": WITHOUT[folder.name][0]} if WITHOUT[folder.name][0] else {},
    )  # fmt: skip
    values = 0
    for shard in range(len(corpus.shards)):
        with ColumnShardReader(corpus, "brightness", shard) as reader:
            values += sum(len(reader.value(row)) == 12 for row in corpus.rows(shard).tolist())
    assert values == shown_counts(corpus, manifest).values


def test_two_rows_of_one_image_and_text_with_other_annotations_are_two_samples() -> None:
    stored = [row for row in rows(GOLDEN[-1], "shards") if row["annotations"]]
    boxes = {
        json.loads(row["annotations"])["box"][0]: row for row in stored if "[" in row["annotations"]
    }
    assert sorted(boxes) == [1, 5]
    one, other = boxes[1], boxes[5]
    assert (one["url"], one["caption"]) == (other["url"], other["caption"])
    assert one["key"] != other["key"]


def test_removals_of_version_3_hold() -> None:
    folder = str(GOLDEN[2])
    corpus = Corpus(folder)
    assert corpus.manifest.removed and corpus.manifest.removed.rows == 4
    held = {n: corpus.removed.of(n).tolist() for n in range(len(corpus.shards))}
    assert sum(map(len, held.values())) == 4 and corpus.shards[1].tar.endswith("0000002-r1.tar")
    for number, removed in held.items():
        for row in removed:
            with pytest.raises(RemovedError):
                corpus.shard(number).read(row)
    barred = read_barred(barred_lists(folder))
    assert barred.domains == {"example.org"} and len(barred.looks) == 1
    assert barred.texts == {text_key("another text, without any IMAGE")}
    assert [entry["what"] for entry in read_log(folder)] == ["ids", "compact", "phash", "domain"]
    parts = [Corpus(f"{folder}@{name}") for name in ("all", "all-val")]
    assert sum(map(len, parts)) == len(corpus) == 11 and all(map(len, parts))


WITHOUT = {"v1": (0, 0), "v2": (1, 1), "v3": (1, 1)}
"""Samples without an image, and without a text."""
EXPECTED = {
    "v1": (13, "779354e10e5d8525c61208fe02c6ff3891671086453f68cc377919db23f89c3d"),
    "v2": (18, "a3c150bd6fb6e1eb290a0c733b41d1e5b6cb8de8d5517ebc0a99a227643cca10"),
    "v3": (11, "039aeba00c78f4a144fc3dc3fbc274276868ae307f5ac85b9ed617163bdd60cb"),
}
