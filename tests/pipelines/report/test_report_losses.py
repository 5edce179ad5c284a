"""The funnel of a small corpus, whose figures are counted by hand."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import septet
from septet.pipelines.cli import app
from septet.pipelines.report.clusters import duplicate_clusters
from septet.pipelines.report.cuts import CutFigures, cut_chart, cuts_of
from septet.pipelines.report.figures import Stage
from septet.pipelines.report.losses import dropped_in_order
from septet.pipelines.report.rejects import SEED, count_rejects, sample_rejects
from septet.pipelines.stages.dedup import repeated_within_pages
from septet.pipelines.store.by_url import RejectedImages
from septet.preprocess.dedup import dedup_samples, frequent_captions
from septet.preprocess.rules.tally import Tally
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.text.ids import caption_hashes, sample_id, split_ids
from septet.schemas import tables
from septet.schemas.cuts import EDGES
from septet.schemas.recipe import Dedup

TEXTS = [
    "Home", "Up", "A cat on a wall", "Cats", "An old stone bridge", "An old stone bridge",
    "An old stone bridge", "The harbour", "The harbour", "<b>bold</b> & <script>alert(1)</script>",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("funnel")
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"text": text, "lang": "en"}) + "\n" for text in TEXTS)
    )
    recipe = {
        "name": "texts",
        "sources": [
            {"kind": "list", "paths": ["texts.jsonl"], "caption_col": "text", "url_col": None,
             "language_col": "lang"}
        ],
        "filter": {"declared_language": "usual"},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    septet.build(str(folder / "recipe.yaml"), str(folder / "corpus"))
    return str(folder / "corpus")


def test_each_reason_says_what_is_left_after_it(corpus: str) -> None:
    stages = {stage.stage: stage for stage in septet.stats(corpus).funnel}
    found = stages["filter"]
    assert dropped_in_order("filter", found.rejected, found.rows_in) == [("too_short", 3, 7)]
    again = stages["dedup"]
    assert dropped_in_order("dedup", again.rejected, again.rows_in) == [("duplicate_pair", 3, 4)]


def test_reasons_stand_in_the_order_of_the_rules_whatever_their_size() -> None:
    told = {"too_few_words": 5, "boilerplate": 1, "language": 70, "too_short": 4}
    assert dropped_in_order("filter", told, 100) == [
        ("boilerplate", 1, 99), ("too_short", 4, 95), ("too_few_words", 5, 90),
        ("language", 70, 20),
    ]  # fmt: skip
    assert dropped_in_order("fetch", {"dns": 1, "timeout": 2}, 9) == [
        ("timeout", 2, None), ("dns", 1, None),
    ]  # fmt: skip


def test_a_cut_says_what_it_would_keep_elsewhere(corpus: str) -> None:
    stage = next(stage for stage in septet.stats(corpus).funnel if stage.stage == "filter")
    cuts = {one.setting: one for one in cuts_of(stage, Corpus(corpus).manifest.recipe)}
    found = cuts["min_chars"]
    assert (found.total, sum(found.kept), sum(found.dropped)) == (10, 7, 3)
    kept = {edge: found.kept_at(place) for place, edge in enumerate(found.edges)}
    # Lengths: 2, 4, 4, 11, 11, 15, 19, 19, 19, 40.
    lengths = sorted(map(len, TEXTS))
    for edge in EDGES["characters"]:
        assert kept[edge] == sum(length >= edge for length in lengths)
    assert (kept[2], kept[3], kept[4], kept[5], kept[12]) == (10, 9, 9, 7, 5)
    assert [edge for edge, _ in found.around(5)] == [3, 4, 5, 6, 7]
    longest = cuts["max_chars"]
    assert longest.around(3)[-1] == (40, 7)  # from there on a cut keeps all


def figures(setting: str, cut: float, kept: dict[float, int], dropped: dict[float, int]):
    """Figures of shares by the edge at which each value lies."""
    edges, beside = EDGES["share"], 1 if setting.startswith("min_") else 0
    rows = [[0] * (len(edges) + 1) for _ in range(2)]
    for row, told in zip(rows, (kept, dropped), strict=True):
        for edge, count in told.items():
            row[edges.index(edge) + beside] = count
    return CutFigures(setting, "reason", "share", cut, edges, *rows)


def test_cuts_between_edges_and_on_them() -> None:
    most = figures("max_digits", 0.25, {0.0: 5, 0.25: 2}, {0.5: 3})
    assert [most.kept_at(most.edges.index(edge)) for edge in (0.0, 0.225, 0.25, 0.5)] == [
        5,
        5,
        7,
        10,
    ]
    least = figures("min_letters", 0.25, {0.25: 2, 0.5: 3}, {0.0: 5})
    assert [least.kept_at(least.edges.index(edge)) for edge in (0.0, 0.25, 0.275, 0.5)] == [
        10,
        5,
        3,
        3,
    ]


def test_the_cut_is_drawn_where_kept_and_dropped_part() -> None:
    for setting, kept, dropped in (
        ("max_digits", {0.0: 5, 0.2: 2}, {0.3: 3, 0.4: 1}),
        ("min_letters", {0.3: 3, 0.4: 1}, {0.0: 5, 0.2: 2}),
    ):
        chart = cut_chart(figures(setting, 0.25, kept, dropped))
        assert chart.cut_x is not None
        left = [bar for bar in chart.bars if bar.x + bar.width < chart.cut_x]
        right = [bar for bar in chart.bars if bar.x > chart.cut_x]
        assert len(left) + len(right) == len(chart.bars)
        lower, upper = (left, right) if setting.startswith("max") else (right, left)
        assert not any(bar.dropped_height for bar in lower)
        assert not any(bar.kept_height for bar in upper)
        assert any(bar.kept_height for bar in lower)
        assert any(bar.dropped_height for bar in upper)
        assert [row.text for row in chart.rows if row.is_cut] == ["0.25"]


def test_another_versions_bins_are_left_out() -> None:
    stage = Stage(**{"stage": "filter", "in": 3, "out": 3, "values": {"min_chars": ([1], [2])}})
    assert cuts_of(stage, {"filter": {"min_chars": 5}}) == []


def test_clusters_have_the_kept_member_and_their_size(corpus: str) -> None:
    found = count_rejects(corpus)
    drawn = sample_rejects(corpus, found, 12, 48, SEED)
    clusters = duplicate_clusters(Corpus(corpus), found, drawn, RejectedImages(corpus, None))[
        "dedup", "duplicate_pair"
    ]
    assert {one.kept.caption: one.size for one in clusters} == {
        "An old stone bridge": 2, "The harbour": 1,
    }  # fmt: skip
    assert {len(one.gone) for one in clusters} == {1, 2}


def test_the_page_and_the_terminal_show_it(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(corpus, "stats", "report.html").read_text(encoding="utf-8")
    chart = page.split('id="cut-filter-min_chars"')[1].split("</figure>")[0]
    assert "keeps at least 5 characters" in chart
    assert "10 measured, 3 dropped (30.0 %)" in chart
    assert '<td class="at">5</td>' in chart
    assert '<td class="at">7</td>' in chart
    scores = page.split('id="cut-filter-language_score"')[1].split("</figure>")[0]
    assert "told: at least a probability of 0.5" in scores
    assert "7 measured, " in scores and " undetermined (" in scores
    assert "Told if the cut were" in scores and "dropped" not in scores
    cluster = page.split('aria-label="Clusters of duplicate pair"')[1].split("</ul>")[0]
    assert cluster.count('class="mark"') == 2
    assert "<script>alert" not in page
    monkeypatch.setenv("COLUMNS", "160")
    told = CliRunner().invoke(app, ["stats", corpus, "--examples", "2"]).stdout
    assert "kept if it were" in told
    score = next(line for line in told.splitlines() if "language_score " in line)
    assert "at least a probability of 0.5" in score and "undetermined" in score
    assert any("min_chars " in line and "4:90.0%" in line for line in told.splitlines())
    too_short = next(line for line in told.splitlines() if "too short" in line)
    assert too_short.split()[-2:] == ["7", too_short.split()[-1]]
    assert any(name in told for name in ("4: Home", "2: Up", "4: Cats"))


def test_repetition_is_measured_too() -> None:
    """Four images with one caption, a pair on three pages, one of them twice, and two others."""
    pairs = [(f"a{n}", "The same caption", "p") for n in range(4)]
    pairs += [("b", "A pair on three pages", page) for page in ("p", "q", "q", "r")]
    pairs += [("c", "A cat on a wall", "p"), ("d", "An old stone bridge", "q"), ("e", None, "q")]
    rows = pa.Table.from_pylist(
        [
            {"id": sample_id(image, text), "image_url": image, "caption": text, "page_url": page,
             "source": "s"}
            for image, text, page in pairs
        ],
        tables.FILTERED,
    )  # fmt: skip
    assert repeated_within_pages(rows) == 1
    tally = Tally()
    hashes = np.stack([caption_hashes(rows), *split_ids(rows["id"])], axis=1)
    frequent, images, _ = frequent_captions(hashes, 3, tally)
    settings = Dedup(images_per_caption=3, pages_per_pair=2)
    _, lost = dedup_samples(rows, settings, frequent, images, tally)
    assert Counter(lost["reason"].to_pylist()) == {
        "duplicate_pair": 3, "caption_repeated": 4, "pair_repeated": 1,
    }  # fmt: skip
    stage = Stage(**{"stage": "dedup", "in": 11, "out": 3, **tally.to_dict()})
    found = {one.setting: one for one in cuts_of(stage, {"dedup": settings.model_dump()})}
    beside = found["images_per_caption"]  # an image without a caption stands beside none
    assert (beside.total, sum(beside.dropped)) == (7, 4)
    assert [beside.kept_at(beside.edges.index(edge)) for edge in (0, 1, 3, 4)] == [0, 3, 3, 7]
    pages = found["pages_per_pair"]
    assert (pages.total, sum(pages.dropped)) == (4, 1)
    assert [pages.kept_at(pages.edges.index(edge)) for edge in (1, 2, 3)] == [3, 3, 4]
