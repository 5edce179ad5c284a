"""What is kept in memory answers as the files do."""

import math
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from septet.pipelines.browse import held
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.browse.test_foreign import write_table

CAPTIONS = ["Ein HUND am See", "straße", "STRASSE", "ΣΑΣ", "σας", "İstanbul", "红船", "", None, "50% _x",
    "it's \"so\"", "ǅ ǆ", "a\0b"]  # fmt: skip
CONDITIONS = ["width >= 2", "score missing", "score top 30%", "width bottom 50% and score exists", "language in de, fr",
    "caption contains hund", "caption contains \"σας\"", "not caption contains s", "caption missing",
    "caption contains 船 or width == 1", "caption == straße", "caption contains a and caption != 'straße'",
    "flag == true", "url contains 1", "caption contains '%' and width top 50%"]  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, Tables]:
    """The same samples, asked of files and of what is kept in memory."""
    folder = tmp_path_factory.mktemp("held")
    draw = np.random.default_rng(0)
    count = 40 * len(CAPTIONS)
    rows = {
        "key": [f"{one:04d}" for one in range(count)],
        "caption": CAPTIONS * 40,
        "url": [f"https://x.example/{one}" for one in range(count)],
        "language": draw.choice(["de", "fr", "zh"], count).tolist(),
        "width": [None if one % 7 == 0 else one % 5 for one in range(count)],
        "score": [math.nan if one % 3 == 0 else one / 10 for one in range(count)],
        "flag": [one % 2 == 0 for one in range(count)],
    }
    path = str(write_table(folder / "in", rows))
    tables = tuple(Tables(path, folder / name) for name in "ab" if not (folder / name).mkdir())
    tables[1].held.make()
    assert tables[1].held.is_ready and not tables[0].held.is_ready
    return tables


@pytest.mark.parametrize("keep", ["", *CONDITIONS])
def test_conditions_keep_the_same_and_spread_alike(both: tuple[Tables, Tables], keep: str) -> None:
    files, memory = both
    ours, theirs = (one.spread(["language", "caption"], ["width", "score"], keep) for one in both)
    assert (ours.samples, ours.facets) == (theirs.samples, theirs.facets)
    counts = [
        {name: sum(bins.counts) for name, bins in one.numbers.items()} for one in (ours, theirs)
    ]
    assert counts[0] == counts[1]
    pages = [[one.row for one in tables.page(keep, ["key"], "score")] for tables in both]
    assert pages[0] == pages[1]
    assert memory.keys(keep, 0, 1) == files.keys(keep, 0, 1)


def test_what_is_no_number_is_missing_whatever_footers_say(both: tuple[Tables, Tables]) -> None:
    for tables in both:
        assert tables.count("score missing") == len(range(0, 40 * len(CAPTIONS), 3))


@given(st.sampled_from([one for one in CAPTIONS if one]), st.integers(0, 8), st.integers(0, 8))
def test_words_are_found_alike(
    both: tuple[Tables, Tables], caption: str, first: int, last: int
) -> None:
    part = caption[min(first, last) : max(first, last) + 1]
    mark = "'" if '"' in part else '"'
    for text in (part, part.upper(), part.lower(), part.swapcase()):
        if mark not in text:
            keep = f"caption contains {mark}{text}{mark}"
            assert both[0].count(keep) == both[1].count(keep), keep


def test_words_and_numbers_are_asked_of_memory_and_other_texts_of_files(
    both: tuple[Tables, Tables],
) -> None:
    memory = both[1]
    for keep, table in (("caption contains x and width > 1", "held."), ("url contains x", "s0."),
                        ("caption == x", "s0."), ("caption contains x and caption == y", "s0.")):  # fmt: skip
        assert memory.source(["language"], keep)[0].startswith(f" FROM {table}"), keep


def test_facts_of_columns_lie_beside_those_of_sidecars(tmp_path: Path) -> None:
    made = run_build(write_site(tmp_path / "in"), tmp_path / "corpus")
    run_annotation(tmp_path / "corpus", "image-quality")
    files, memory = (Tables(str(tmp_path / "corpus"), tmp_path / one) for one in "ab")
    memory.held.make()
    facts = [name for name in memory.columns if name.startswith("image-quality.")]
    numbers = [name for name in facts if memory.columns[name].is_number]
    assert numbers and "JOIN" not in memory.source(numbers, f"{numbers[0]} top 50%")[0]
    keep = f"{numbers[0]} top 50% and width > 250"
    ours, theirs = (one.spread([], numbers, keep).numbers for one in (files, memory))
    assert {name: sum(bins.counts) for name, bins in ours.items()} == {
        name: sum(bins.counts) for name, bins in theirs.items()
    }
    assert 0 < memory.count(keep) < made.manifest.samples


def test_it_is_made_after_the_first_page_of_a_large_corpus_and_ends_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_table(tmp_path / "in", {"key": ["a", "b"], "width": [1, 2]}))
    small = Site(tables := Tables(path, tmp_path))
    TestClient(small.app()).get("/")
    assert tables.held._thread is None
    monkeypatch.setattr(held, "LEAST", 2)
    assert TestClient(small.app()).get("/").status_code == 200
    assert tables.held._thread is not None
    tables.held._thread.join(20)
    assert tables.held.is_ready and "2</b> of 2" in TestClient(small.app()).get("/").text
    small.end()
    assert not tables.held.is_ready


def test_what_does_not_fit_is_read_from_the_files(
    both: tuple[Tables, Tables], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(held, "MOST_BYTES", 0)
    tables = Tables(both[0].corpus.path, tmp_path)
    tables.held.make()
    assert not tables.held.is_ready and tables.count("caption contains hund") == 40


def test_a_footer_that_lies_of_ends_is_noticed(tmp_path: Path) -> None:
    """Values beyond the ends that footers tell, which the charts are laid between at first."""
    widths = [*range(1000, 1100)]
    folder = write_table(
        tmp_path / "in", {"key": [f"{n:03d}" for n in range(100)], "width": widths}
    )
    (sidecar,) = (folder / shard.sidecar for shard in Tables(str(folder), tmp_path).corpus.shards)
    data = sidecar.read_bytes()
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    for true, lie in ((1000, 1050), (1099, 1060)):
        packed = struct.pack("<q", true)
        assert packed in data[footer:]
        data = data[:footer] + data[footer:].replace(packed, struct.pack("<q", lie))
    sidecar.write_bytes(data)
    told = pq.ParquetFile(sidecar).metadata.row_group(0)
    assert any((told.column(i).statistics or None) and told.column(i).statistics.min == 1050
               for i in range(told.num_columns))  # fmt: skip
    (tmp_path / "scratch").mkdir()
    found = Tables(str(folder), tmp_path / "scratch").spread([], ["width"]).numbers["width"]
    assert sum(found.counts) == 100 and found.edges[0] == 1000.0 and found.edges[-1] == 1099.0
