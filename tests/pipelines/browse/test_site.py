"""The pages of `septet browse` in a real browser."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser

import septet
from septet.preprocess.shards.reader import Corpus
from tests.browser import browser as browser
from tests.corpora import random_image, run_build, write_site
from tests.pipelines.browse.serving import Visitor, served


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = run_build(write_site(folder / "in"), folder / "corpus")
    assert result.manifest.samples > 60
    return folder / "corpus"


@pytest.fixture(scope="module")
def address(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(corpus, tmp_path_factory.mktemp("scratch")) as found:
        yield found


def test_from_a_bar_to_a_sample(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    whole = len(Corpus(str(corpus)))
    assert one.text(".count").startswith(f"{whole} of {whole} samples")
    one.page.click(".bars a:has-text('de')")
    assert one.page.input_value("#keep") == 'language == "de"'
    german = [row for row in _metadata(corpus) if row["language"] == "de"]
    assert one.text(".count").startswith(f"{len(german)} of {whole} samples are kept")
    one.page.click("nav >> text=Samples")
    assert one.text(".count") == f"{len(german)} samples"
    captions = one.page.locator(".grid p").all_inner_texts()
    assert sorted(captions) == sorted(row["caption"] for row in german)
    one.until("[...document.images].every((one) => one.complete && one.naturalWidth)")
    first, second = (link.get_attribute("href") for link in one.page.locator(".grid a").all()[:2])
    for key, at in (("ArrowRight", first), ("ArrowRight", second), ("ArrowLeft", first)):
        one.page.keyboard.press(key)
        assert one.page.evaluate("document.activeElement.getAttribute('href')") == at
    one.page.keyboard.press("/")
    assert one.page.evaluate("document.activeElement.id") == "keep"
    one.page.fill("#keep", "language == de and width bottom 10%")
    one.page.keyboard.press("Enter")
    one.page.locator(".grid a").first.click()
    assert one.text("blockquote") in captions
    one.until("document.querySelector('.picture img').naturalWidth > 100")
    assert one.complaints == one.outside == []


def test_the_command_prints_a_link_that_opens(corpus: Path) -> None:
    command = [sys.executable, "-m", "septet", "browse", str(corpus), "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        link = process.stderr.readline().strip()
        try:
            with httpx.Client(follow_redirects=True, timeout=120) as client:
                page = client.get(link)
                assert page.status_code == 200 and "samples" in page.text
                assert urlsplit(str(page.url)).query == "", "the token is a cookie now"
                assert client.get(page.url, headers={"host": "elsewhere"}).status_code == 421
            assert httpx.get(link.split("?")[0]).status_code == 403
        finally:
            process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()


def _metadata(corpus: Path) -> list[dict]:
    opened = Corpus(str(corpus))
    return [
        row for number in range(len(opened.shards)) for row in opened.metadata(number).to_pylist()
    ]


def test_words_and_names_of_fields_by_the_keyboard(
    browser: Browser, address: str, corpus: Path
) -> None:
    one = Visitor(browser, address)
    one.page.keyboard.press("/")
    one.page.keyboard.type("language == de and wi")
    options = "[...document.querySelectorAll('#fields option')].map((one) => one.value)"
    assert one.page.evaluate(options) == ["language == de and width "]
    one.page.keyboard.type("dth > 1")
    one.page.keyboard.press("Tab")
    word = next(row["caption"] for row in _metadata(corpus) if row["language"] == "de").split()[0]
    one.page.keyboard.type(word.upper())
    one.page.keyboard.press("Enter")
    one.page.wait_for_url("**contains**")
    keep = f'language == de and width > 1 and caption contains "{word.upper()}"'
    assert one.page.input_value("#keep") == keep
    german = [row for row in _metadata(corpus) if row["language"] == "de"]
    kept = sum(word.lower() in row["caption"].lower() for row in german)
    assert one.text(".count").startswith(f"{kept} of") and kept
    with one.page.expect_download() as download:
        one.page.click("text=Ids as CSV")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == kept + 1
    assert one.complaints == one.outside == []


def test_samples_are_sorted_and_turned_by_pages(
    browser: Browser,
    address: str,
    corpus: Path,
) -> None:
    one = Visitor(browser, address)
    one.go("/samples?sort=original_width&order=falling")
    widths = sorted((row["original_width"] for row in _metadata(corpus)), reverse=True)
    shown = [
        int(text.rsplit(" ", 1)[1]) for text in one.page.locator(".grid small").all_inner_texts()
    ]
    assert shown == widths[:60]
    one.page.keyboard.press("n")
    one.page.wait_for_url("**page=2**")
    shown = [
        int(text.rsplit(" ", 1)[1]) for text in one.page.locator(".grid small").all_inner_texts()
    ]
    assert shown == widths[60:120]


def test_what_a_rule_dropped_by_language(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    one.page.click("nav >> text=Rejects")
    one.page.click("text=too_short")
    total = int(one.text(".count").split()[0])
    values = one.page.locator("main > .listing td:first-child").all_inner_texts()
    assert len(values) == total and set(values) == {"4"}, "the signs of 'logo'"
    one.page.fill("#cut", "4.5")
    one.page.click("text=Show both sides")
    assert one.page.locator(".sides h2").all_inner_texts() == [
        f"{total} below 4.5",
        "0 at or above",
    ]
    language = one.page.locator("select[name=language] option").nth(1).get_attribute("value")
    one.page.select_option("select[name=language]", language)
    one.page.click(".words >> text=Show")
    assert one.text(".count").startswith(f"{total} ")
    one.go("/rejects/filter/too_short?words=LOG")
    assert one.text(".count").startswith(f"{total} ")
    one.go("/rejects/filter/too_short?words=bicycle")
    assert one.text(".count").startswith("0 ")


def test_a_cut_is_set_by_mouse_and_by_keys(browser: Browser, tmp_path: Path) -> None:
    """The slider over a threshold: what is below it and what is not, wherever it is let go."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(random_image(1))
    rows = [{"file": "a.jpg", "text": " ".join(["house"] * n)} for n in range(1, 10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        "name: cut\nsources:\n  - {kind: list, paths: [rows.jsonl], url_col: file, caption_col: text, "
        "image_root: images}\nfilter: {min_words: 9, min_words_compact: 9}\n"
    )
    run_build(tmp_path / "recipe.yaml", tmp_path / "corpus")
    with served(tmp_path / "corpus", tmp_path / "scratch") as address:
        one = Visitor(browser, address)

        def is_told_at(cut: float) -> None:
            below = sum(n < cut for n in range(1, 9))
            told = one.page.locator(".sides h2").all_inner_texts()
            assert told == [f"{below} below {cut}", f"{8 - below} at or above"]

        one.go("/rejects/filter/too_few_words")
        box = one.page.locator("input[type=range]").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        one.page.mouse.move(box["x"] + 8, middle)
        one.page.mouse.down()
        one.page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
        shown = float(one.page.input_value("#cut"))
        assert 4 < shown < 5, "the field follows the thumb"
        one.page.mouse.up()
        one.page.wait_for_url("**cut=**")
        is_told_at(shown)
        one.page.focus("input[type=range]")
        one.page.keyboard.press("End")
        one.page.wait_for_url("**cut=8&**")
        is_told_at(8.0)
        assert one.complaints == one.outside == []


def test_what_too_few_words_dropped_in_finnish(browser: Browser, tmp_path: Path) -> None:
    """The walk of docs/browse.md, from the first page by what stands there alone."""
    dropped = {"fi": ["punainen talo", "vanha kirkko järvellä"], "de": ["das alte Haus am See"]}
    kept = "vanha punainen talo seisoo järven rannalla metsän keskellä tänään"
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(random_image(1))
    rows = [{"file": "a.jpg", "text": text} for text in (*dropped["fi"], *dropped["de"], kept)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        "name: finnish\nsources:\n  - {kind: list, paths: [rows.jsonl], url_col: file, caption_col: "
        "text, image_root: images}\nfilter: {min_words: 7, min_words_compact: 7}\n"
    )
    run_build(tmp_path / "recipe.yaml", tmp_path / "corpus")
    with served(tmp_path / "corpus", tmp_path / "scratch") as address:
        one = Visitor(browser, address)
        one.page.click("nav >> text=Rejects")
        one.page.click("main a:has-text('too_few_words')")
        one.page.select_option("select[name=language]", "fi")
        one.page.click(".words >> text=Show")
        captions = one.page.locator("main > .listing td:nth-child(2)").all_inner_texts()
        assert sorted(captions) == sorted(dropped["fi"])
        assert one.complaints == one.outside == []


def test_a_view_is_saved_as_curate_writes_it(browser: Browser, address: str, corpus: Path) -> None:
    keep = "language in de, fr and width top 50%"
    (made,) = septet.curate(str(corpus), "by-command", keep=[keep])
    one = Visitor(browser, address)
    one.go("/?keep=" + keep.replace("%", "%25"))
    one.page.fill("input[name=name]", "by-browser")
    one.page.click(".save button")
    one.page.wait_for_url("**/views")
    assert one.text(".count") == f"{made.samples} of {made.given} samples"
    views = corpus / "views"
    saved = (views / "by-browser/ids.npy").read_bytes()
    assert saved == (views / "by-command/ids.npy").read_bytes()
    heads = [
        json.loads((views / name / "view.json").read_text())
        for name in ("by-browser", "by-command")
    ]
    assert heads[0] | {"name": ""} == heads[1] | {"name": ""}


def test_a_view_and_what_was_removed(corpus: Path, browser: Browser, tmp_path: Path) -> None:
    (made,) = septet.curate(str(corpus), "wide", keep=["width >= 290"])
    with served(f"{corpus}@wide", tmp_path) as address:
        one = Visitor(browser, address)
        assert one.text(".count").startswith(f"{made.samples} of {made.samples} samples")
        one.go("/?keep=width < 290")
        assert one.text(".count").startswith("0 of")


@pytest.mark.parametrize("width", [360, 1280, 3840])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_window(
    browser: Browser,
    address: str,
    width: int,
    scheme: str,
) -> None:
    one = Visitor(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for page in (
        "/",
        "/?figures=captions",
        "/?figures=build",
        "/samples",
        "/samples/0/0",
        "/rejects",
        "/rejects/filter/too_short?cut=3",
    ):
        one.go(page)
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width, page
