"""The overview's figures are the report's, of all samples and under a condition; derived fields mean
the same to `curate` and to the browser."""

import random
import threading
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

import septet
from septet.pipelines.browse import held
from septet.pipelines.browse.figures import figures_of
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.pipelines.derived import DERIVED
from septet.pipelines.report.sections import SECTIONS
from septet.pipelines.report.statistics import corpus_statistics
from tests.browser import browser as browser
from tests.pipelines.browse.serving import Visitor, served
from tests.pipelines.browse.test_foreign import write_table

ROWS = 240
CAPTIONS = ["a red house by the lake", "红房子在湖边", "紅房子在湖邊", "旧書", "中", "", None, "ein Haus",
            "house " * 300, "…", "دار حمراء"]  # fmt: skip
URLS = ["https://cdn.example.co.uk/a.jpg", "http://u:p@IMG.Example.COM:8080/x", "photos/1.jpg", None,
        "https://example.org", "http://[2001:db8::1]/a.jpg", "https://www.site.github.io/1"]  # fmt: skip
KEEP = [
    "caption_words >= 5", "caption_chars < 6", "image_domain == example.co.uk",
    "page_domain in example.org, site.github.io", "aspect_ratio > 1.5 and width > 100",
    "chinese == traditional", "chinese missing", "original_short_side top 25%",
    "aspect_ratio bottom 10% or image_domain missing", "image_bytes >= 0", "not caption_words < 3",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(3)

    def some(values: list) -> list:
        return [draw.choice(values) for _ in range(ROWS)]

    sides = [None, 0, 1, 31, 300, 1023, 1025, 4097, 70_001]
    rows = {
        "key": [f"{number:04d}" for number in range(ROWS)],
        "caption": some(CAPTIONS), "language": some(["zh", "zh", "de", None]), "url": some(URLS),
        "page_url": some(URLS), "language_from": some(["model", "page"]),
        "caption_from": some(["alt", "title", None]), "reencoded": some([True, False, None]),
        "status": some(["ok", "404"]), "format": some(["jpeg", "png"]),
        "width": pa.array(some(sides), pa.int32()), "height": some(sides),
        "original_width": some([*sides, 2**40 + 12345]), "original_height": some(sides),
        "original_bytes": some([None, 5, 2**20 + 1, 2**33 + 7, *range(60_000, 60_090)]),
    }  # fmt: skip
    return write_table(tmp_path_factory.mktemp("figures") / "in", rows)


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("keep", ["", "language == zh and caption_words >= 2", "width > 5000000"])
def test_figures_are_those_of_the_report(
    corpus: Path, tmp_path: Path, keep: str, is_held: bool
) -> None:
    of = str(corpus)
    if keep:
        of += "@" + septet.curate(of, "some", keep=[keep], force=True)[-1].name
    counted = corpus_statistics(of)
    tables = Tables(str(corpus), tmp_path)
    if is_held:
        tables.held.make()
        assert tables.held.is_ready and "held" in tables.source(["image_domain"], keep)[0]
    names = set()
    for section in SECTIONS.values():
        found = figures_of(tables, section, keep)
        assert found.samples == counted.samples
        for name, category in found.categories.items():
            assert category == counted.categories[name], name
        for name, histogram in found.measures.items():
            assert histogram == counted.measures[name], name
        assert not section.members or found.members == counted.members
        names |= {*found.categories, *found.measures}
    assert names == {*counted.categories, *counted.measures}


@pytest.mark.parametrize("keep", KEEP)
def test_conditions_on_derived_fields_mean_the_same_to_curate(
    corpus: Path, tmp_path: Path, keep: str
) -> None:
    made = septet.curate(str(corpus), "chosen", keep=[keep], force=True)[-1]
    tables = Tables(str(corpus), tmp_path)
    assert tables.count(keep) == made.samples
    tables.held.make()
    tables._kept.counts.clear()
    assert tables.held.is_ready and tables.count(keep) == made.samples
    assert made.samples < ROWS or keep.startswith("image_bytes")


def test_a_field_of_its_own_stands_before_a_derived_one(tmp_path: Path) -> None:
    rows = {"key": ["a", "b"], "caption": ["one", "two words"], "Caption_Words": [7, 9]}
    tables = Tables(str(write_table(tmp_path / "in", rows)), tmp_path)
    assert "caption_chars" in tables.columns and "caption_words" not in tables.columns
    assert tables.count("Caption_Words == 9") == tables.count("caption_chars == 9") == 1
    other = {"key": ["a"], "caption": [5], "width": [1.5], "height": [2]}
    tables = Tables(str(write_table(tmp_path / "other", other)), tmp_path)
    assert not {*tables.columns} & {"caption_words", "aspect_ratio"}
    assert {*DERIVED} & {*tables.columns} == {"image_bytes"}


def test_from_a_bar_of_the_captions_to_the_samples(
    browser: Browser, corpus: Path, tmp_path: Path
) -> None:
    with served(corpus, tmp_path) as address:
        one = Visitor(browser, address)
        one.page.click(".tabs >> text=Captions")
        assert one.page.locator(".chart h3").all_inner_texts() == [
            "Caption length in characters caption_chars", "Caption length in words caption_words",
            "Languages language", "Language told by language_from",
            "Captions taken from caption_from", "Chinese captions by script chinese",
        ]  # fmt: skip
        assert "median" in one.text("section[aria-label='Caption length in words'] .summary")
        one.page.click("section[aria-label='Chinese captions by script'] a:has-text('traditional')")
        assert one.page.input_value("#keep") == 'chinese == "traditional"'
        assert one.page.locator(".tabs [aria-current]").inner_text() == "Captions"
        count = one.text(".count")
        one.page.click("section[aria-label='Caption length in words'] .spread a >> nth=0")
        assert one.page.input_value("#keep").startswith(
            'chinese == "traditional" and caption_words'
        )
        for name in ("Images", "Originals", "Files", "Origins", "Build", "At a glance"):
            one.page.click(f".tabs >> text={name}")
            assert one.page.locator(".tabs [aria-current]").inner_text() == name
            assert one.page.input_value("#keep").startswith("chinese")
        assert one.text(".count").split()[0] <= count.split()[0]
        one.page.fill("#keep", "image_domain == example.co.uk")
        one.page.keyboard.press("Enter")
        one.page.wait_for_url("**example.co.uk**")
        assert one.complaints == one.outside == []
        one.page.click("nav >> text=Samples")  # whose images are not there
        assert one.page.locator(".grid li").count() and one.outside == []


def test_captions_name_the_script_that_they_are_written_in(corpus: Path, tmp_path: Path) -> None:
    """So that the browser takes the font in which its signs look right."""
    site = TestClient(Site(Tables(str(corpus), tmp_path)).app())
    page = site.get("/samples?keep=" + quote("language == zh and caption contains 子")).text
    assert 'lang="zh-Hans">红房子在湖边' in page and 'lang="zh-Hant">紅房子在湖邊' in page
    assert 'lang="de">' in site.get("/samples?keep=language+==+de").text


def test_what_is_read_into_memory_says_how_far_it_is(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "LEAST", 2)
    tables = Tables(str(corpus), tmp_path)
    goes_on = threading.Event()
    monkeypatch.setattr(tables.held, "_is_quiet", lambda: goes_on.wait(60))
    site = TestClient(Site(tables).app())
    waiting = site.get("/?figures=captions&keep=width+%3E+1").text
    assert "is read into memory, 0 % so far" in waiting and 'value="width &gt; 1"' in waiting
    goes_on.set()
    tables.held._thread.join(60)
    assert tables.held.is_ready and tables.held.read == 1.0
    assert "Caption length in words" in site.get("/?figures=captions&keep=width+%3E+1").text
    tables.held.end()


def test_an_overview_that_there_is_not(corpus: Path, tmp_path: Path) -> None:
    site = TestClient(Site(Tables(str(corpus), tmp_path)).app())
    found = site.get("/?figures=" + quote("<script>"))
    assert found.status_code == 400 and "captions, images, originals" in found.text
