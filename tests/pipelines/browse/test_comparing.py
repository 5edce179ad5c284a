"""Two builds, views and what was taken down, side by side."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

import septet
from septet.pipelines.browse.comparing import (
    NEVER,
    OTHER_TEXT,
    REMOVED,
    Compared,
    open_tables,
)
from septet.pipelines.browse.site import Site
from septet.preprocess.shards.reader import Corpus
from tests.browser import browser as browser
from tests.corpora import random_image, run_build, write_site
from tests.pipelines.browse.serving import Visitor, served


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    run_build(write_site(folder / "in", pages=12, images=12), folder / "corpus")
    return folder / "corpus"


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """A build of the same pages that keeps no small image."""
    recipe = first.parent / "in/recipe.yaml"
    other = first.parent / "in/other.yaml"
    other.write_text(recipe.read_text() + f"curate: {{min_bytes: {_cut(first)}}}\n")
    run_build(other, first.parent / "second")
    return first.parent / "second"


def rows_of(corpus: Path | str) -> dict[str, dict]:
    opened = Corpus(str(corpus))
    return {
        row["key"]: row
        for number in range(len(opened.shards))
        for row in opened.metadata(number).take(opened.rows(number)).to_pylist()
    }


def _cut(corpus: Path) -> int:
    sizes = sorted(row["original_bytes"] for row in rows_of(corpus).values())
    return sizes[len(sizes) // 2]


def compared(one: Path | str, other: Path | str, scratch: Path) -> Compared:
    scratch.mkdir(exist_ok=True)
    return open_tables(str(one), str(other), scratch)[1]


def test_two_builds_tell_why_a_sample_went(first: Path, second: Path, tmp_path: Path) -> None:
    one, other = rows_of(first), rows_of(second)
    gone = one.keys() - other.keys()
    assert len(gone) > 10
    found = compared(first, second, tmp_path)
    figures = found.figures(["language"], ["width"])
    assert figures.samples == (len(one), len(other))
    for side, rows in enumerate((one, other)):
        counts = Counter(row["language"] for row in rows.values())
        told = {p.names[0]: (p.first, p.second)[side] for p in figures.facets["language"]}
        assert {value: n for value, n in told.items() if n} == counts
    small, large = figures.numbers["width"]
    assert small.edges == large.edges
    assert (sum(small.counts), sum(large.counts)) == (len(one), len(other))
    ((stage, reason, count),) = found.why(0)
    assert (stage, reason, count) == ("curate", "too_few_bytes", len(gone)) and found.why(1) == []
    shown = found.rows(0, stage, reason, "", ["key", "original_bytes"], 0, 1000)
    assert {row.facts["key"] for row, _ in shown} == gone
    for row, value in shown:
        assert value == str(row.facts["original_bytes"])
    keep = "language == de"
    german = {key for key in gone if one[key]["language"] == "de"}
    assert found.why(0, keep) == [("curate", "too_few_bytes", len(german))]
    assert len(found.rows(0, stage, reason, keep, ["key"], 0, 1000)) == len(german)
    pair = next(p for p in found.reasons() if p.names == ("curate", "too_few_bytes"))
    assert pair.difference >= len(gone)


def test_a_view_tells_which_condition_left_a_sample_out(first: Path, tmp_path: Path) -> None:
    rows = rows_of(first)
    width = sorted(row["width"] for row in rows.values())[len(rows) // 3]
    keep = ["language in de, fr", f"width >= {width} and height > 1", "original_bytes top 50%"]
    septet.curate(str(first), "some", keep=keep)
    inside = rows_of(f"{first}@some")
    found = compared(first, f"{first}@some", tmp_path)
    told = {reason: n for stage, reason, n in found.why(0) if stage == "view some"}
    not_language = [row for row in rows.values() if row["language"] not in ("de", "fr")]
    assert told[keep[0]] == len(not_language)
    narrow = [r for r in rows.values() if r["language"] in ("de", "fr") and r["width"] < width]
    assert told[keep[1]] == len(narrow)
    assert sum(told.values()) == len(rows) - len(inside) and set(told) == {*keep}
    assert found.why(1) == []
    above = found.rows(0, "view some", keep[2], "", ["original_bytes"], 0, 1000)
    cut = sorted(row["original_bytes"] for row in rows.values())[len(rows) // 2]
    assert above and all(row.facts["original_bytes"] <= cut for row, _ in above)
    assert all(value == str(row.facts["original_bytes"]) for row, value in above)
    shown = found.rows(0, "view some", keep[1], "", ["width", "height"], 0, 1000)
    assert all(
        value == f"width {row.facts['width']}, height {row.facts['height']}" for row, value in shown
    )
    for row, value in found.rows(0, "view some", keep[0], "", ["language"], 0, 1000):
        assert value == (row.facts["language"] or "nothing")


def test_shares_and_splits_of_views_are_told(browser: Browser, first: Path, tmp_path: Path) -> None:
    """Of a view that was split, within the values of a field, of a view of the corpus."""
    rows = rows_of(first)
    septet.curate(str(first), "most", keep=["language in de, fr, en"])
    keep = "width top 50% and not original_bytes bottom 10%"
    test, val, rest = septet.curate(
        f"{first}@most", "parts", keep=[keep], by="language", split={"test": 0.3, "val": 0.2}
    )
    most = rows_of(f"{first}@most").keys()
    views = {
        name: rows_of(f"{first}@{name}").keys() for name in ("parts", "parts-test", "parts-val")
    }
    every = set().union(*views.values())
    assert all(views.values()) and (test.part, val.part, rest.part) == ("test", "val", None)
    for name, own in (("parts", "rest"), ("parts-val", "val")):
        found = compared(first, f"{first}@{name}", tmp_path / name)
        told = {reason: n for stage, reason, n in found.why(0) if stage == f"view {name}"}
        wanted = {"not in the view most": len(rows) - len(most), keep: len(most - every),
                  "in the part test of its split": test.samples,
                  "in the part val of its split": val.samples,
                  "in the rest of its split": rest.samples}  # fmt: skip
        wanted.pop(f"in the {'rest' if own == 'rest' else f'part {own}'} of its split")
        assert told == wanted
        shown = found.rows(0, f"view {name}", keep, "", ["key", "width"], 0, 1000)
        assert {row.facts["key"] for row, _ in shown} == most - every
        assert all(value.startswith(f"width {row.facts['width']}, ") for row, value in shown)
    with served(f"{first}@parts", tmp_path, f"{first}@parts-test") as address:
        one = Visitor(browser, address)
        one.go("/compare")
        told = one.text(f"section[aria-label='How {first}@parts-test was chosen']")
        assert f"{test.samples} of {test.given} samples of the view most" in told
        assert f"{keep} {len(every)}" in told and "each language" in told
        assert "test 30 %, val 20 %, and the rest. This is the part test." in told
        assert f"in the rest of its split {rest.samples}" in one.text(".sides")
    (first / "views/most/view.json").rename(first / "views/most/gone")
    found = compared(first, f"{first}@parts", tmp_path / "gone")
    assert {reason for _, reason, _ in found.why(0)} == {
        f"the view most or {keep}", "in the part test of its split", "in the part val of its split"
    }  # fmt: skip


def test_what_was_taken_down_and_what_was_never_seen(first: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(first, tmp_path / "other"))
    keys = sorted(rows_of(first))[:3]
    (tmp_path / "ids").write_text("\n".join(keys))
    taken, _ = septet.remove(str(other), ids=tmp_path / "ids", note="asked for")
    found = compared(first, other, tmp_path / "a")
    assert found.why(0) == [("", REMOVED, taken.removed)] and found.why(1) == []
    assert [(s, r) for s, r, _ in compared(other, first, tmp_path / "b").why(1)] == [("", REMOVED)]


def write_list(folder: Path, texts: list[str]) -> Path:
    """A build of some captions, each of an image of its own."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, text in enumerate(texts):
        (folder / f"images/{number}.jpg").write_bytes(random_image(number))
        rows.append(json.dumps({"file": f"{number}.jpg", "text": text}))
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "recipe.yaml").write_text(
        "name: list\nsources:\n  - {kind: list, paths: [rows.jsonl], url_col: file, "
        "caption_col: text, image_root: images}\n"
    )
    run_build(folder / "recipe.yaml", folder / "corpus")
    return folder / "corpus"


def test_an_image_with_another_text(tmp_path: Path) -> None:
    texts = ["a red boat in the old harbour", "two dogs on a long beach", "the town hall at night"]
    one = write_list(tmp_path / "one", texts)
    other = write_list(tmp_path / "other", ["a blue boat in the old harbour", texts[1]])
    found = compared(one, other, tmp_path / "scratch")
    assert found.why(0) == [("", OTHER_TEXT, 1), ("", NEVER, 1)]
    ((row, _),) = found.rows(0, "", OTHER_TEXT, "", ["caption"], 0, 9)
    assert row.facts["caption"] == texts[0]
    ((row, _),) = found.rows(0, "", NEVER, "caption exists", ["caption"], 0, 9)
    assert row.facts["caption"] == texts[2]
    assert found.why(1) == [("", OTHER_TEXT, 1)]


@pytest.fixture(scope="module")
def address(first: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(first, tmp_path_factory.mktemp("scratch"), second) as found:
        yield found


def test_from_a_figure_to_a_sample_that_went(
    browser: Browser, address: str, first: Path, second: Path
) -> None:
    gone = rows_of(first).keys() - rows_of(second).keys()
    one = Visitor(browser, address)
    one.page.click("nav >> text=Compare")
    assert f"{len(gone)} in {first} alone" in one.text(".sides")
    one.page.click(".bars.pairs a:has-text('de')")
    assert one.page.input_value("#keep") == 'language == "de"' and "/compare?" in one.page.url
    german = [key for key in gone if rows_of(first)[key]["language"] == "de"]
    one.page.click(".sides a:has-text('too_few_bytes')")
    assert one.text(".count").startswith(f"{len(german)} samples of")
    assert one.page.locator(".grid li").count() == min(len(german), 60)
    one.until("document.querySelector('.grid img')?.naturalWidth > 100")
    one.page.locator(".grid a").first.click()
    assert one.text("h1.key") in german
    one.go("/second/samples/0/0")
    one.until("document.querySelector('.picture img')?.naturalWidth > 100")
    assert one.text(".corpus") == str(second)
    one.page.click("nav >> text=Samples")
    assert "/second/samples" in one.page.url
    one.until("document.querySelector('.grid img')?.naturalWidth > 100")
    one.page.click("nav >> text=Compare")
    assert one.page.url == f"{address}/compare"
    for width in (360, 1280):
        one.page.set_viewport_size({"width": width, "height": 800})
        for path in ("/compare", "/compare/first?stage=curate&reason=too_few_bytes", "/second/"):
            one.go(path)
            assert one.page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert one.complaints == one.outside == []


def test_addresses_of_the_comparison(first: Path, second: Path, tmp_path: Path) -> None:
    tables, both = open_tables(str(first), str(second), tmp_path)
    client = TestClient(Site(tables, beside=both).app())
    for path, status in [("/compare", 200), ("/compare/third", 404), ("/compare/second", 200),
                         ("/compare?keep=nothing+>+1", 400), ("/compare/first?page=x", 400),
                         ("/compare?keep=width+top+10%25", 200), ("/second/rejects", 200),
                         ("/second/keys?key=zz", 400), ("/compare?keep=width+<+0", 200)]:  # fmt: skip
        assert client.get(path).status_code == status, path
    page = client.get("/second/rejects").text
    assert set(re.findall(r'href="(/[a-z]*)', page)) <= {"/second", "/static", "/compare"}
    alone = TestClient(Site(open_tables(str(first), None, tmp_path)[0]).app())
    assert alone.get("/compare").status_code == 404
