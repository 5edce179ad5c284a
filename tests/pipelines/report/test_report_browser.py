import pytest
from playwright.sync_api import expect

from septet.pipelines.report.page import write_report
from septet.schemas.layout import REPORT
from septet.schemas.manifest import InputFile
from tests.browser import Opened
from tests.pipelines.report.corpora import HOSTILE, Truth, rewrite

pytestmark = pytest.mark.browser


@pytest.fixture
def report(own: Truth) -> str:
    rewrite(own.path, inputs=[InputFile(path=HOSTILE, bytes=1, digest="d")])
    write_report(own.path)
    return f"{own.path}/{REPORT}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_whole_quiet_and_by_itself(browser, report, tmp_path, scheme):
    opened = Opened(browser, report, color_scheme=scheme)
    page = opened.page
    expect(page.locator("h1")).to_have_text("harbour")
    expect(page.locator("svg.funnel-chart path.kept")).to_have_count(6)
    expect(page.locator("svg.plot")).to_have_count(10)
    chart = page.locator("#histogram-caption_chars")
    filled = [count for count in chart.get_attribute("data-counts").split(",") if count != "0"]
    heights = [
        box["height"] for bar in chart.locator("rect.column").all() if (box := bar.bounding_box())
    ]
    assert sum(height > 0 for height in heights) == len(filled) > 5
    expect(page.locator("#bars-language")).to_contain_text("German")
    loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert page.evaluate(loaded)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert (tmp_path / f"{scheme}.png").stat().st_size > 100_000
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 20, 22)") == (scheme == "dark")
    assert opened.complaints == []
    assert opened.outside == []
    page.close()


def test_scripts_in_captions_do_not_run_and_the_policy_stops_others(browser, report):
    opened = Opened(browser, report)
    page = opened.page
    assert page.evaluate("window.pwned") is None
    expect(page.locator("#gallery .caption", has_text="<script>window").first).to_be_attached()
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.pwned = 3";
            document.body.append(script);
            const image = document.createElement("img");
            image.src = "https://example.org/beacon.gif";
            document.body.append(image);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    blocked = [text for text in opened.complaints if "Content Security Policy" in text]
    assert len(blocked) == 2
    page.close()


def test_opening_a_reason_shows_its_examples(browser, report):
    page = Opened(browser, report).page
    reason = page.locator("#reject-filter-filename")
    expect(reason.locator(".example").first).to_be_hidden()
    reason.locator("summary").click()
    expect(reason.locator(".example")).to_have_count(12)
    expect(reason.locator(".example").first).to_be_visible()
    expect(reason.locator(".value dd").first).to_have_text("IMG_2041.JPG")
    page.keyboard.press("Enter")
    expect(reason.locator(".example").first).to_be_hidden()
    page.locator("#open-reasons").click()
    expect(page.locator("details.reason:not([open])")).to_have_count(0)
    page.locator("#close-reasons").click()
    page.goto(page.url + "#reject-fetch-dns")
    expect(page.locator("#reject-fetch-dns .example").first).to_be_visible()
    page.close()


def test_the_gallery_filters_by_language_and_text(browser, report, own):
    page = Opened(browser, report).page
    shown = page.locator("#gallery .card:visible")
    expect(shown).to_have_count(42)
    page.locator("#show-all").click()
    expect(shown).to_have_count(180)
    page.locator("#filter-language").select_option("ar")
    arabic = [row for row in own.rows if row["language"] == "ar"]
    expect(shown).to_have_count(len(arabic))
    expect(page.locator("#filter-count")).to_have_text(f"{len(arabic)} of 180 samples")
    page.locator("#filter-text").fill("الشبكة")
    expect(shown).to_have_count(sum("الشبكة" in row["caption"] for row in arabic))
    caption = shown.first.locator(".caption")
    assert caption.evaluate("e => getComputedStyle(e).direction") == "rtl"
    page.locator("#filter-text").fill("no such words")
    expect(shown).to_have_count(0)
    page.locator("#filter-clear").click()
    expect(shown).to_have_count(180)
    page.locator("#filter-text").fill(own.rows[3]["key"][:12])
    expect(shown).to_have_count(1)
    page.close()


def test_a_card_opens_by_keyboard(browser, report):
    page = Opened(browser, report).page
    card = page.locator("#gallery .card").first
    expect(card.locator(".url")).to_be_hidden()
    card.locator("button").focus()
    page.keyboard.press("Enter")
    expect(card.locator(".url")).to_be_visible()
    expect(card.locator("button")).to_have_attribute("aria-expanded", "true")
    page.close()


def test_a_cut_tried_under_a_histogram_tells_what_it_keeps(browser, report, own):
    page = Opened(browser, report).page
    figure = page.locator("#histogram-caption_chars")
    low = figure.locator(".low")
    low.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    edge = int(low.get_attribute("aria-valuetext").split()[1])
    kept = sum(len(row["caption"]) >= edge for row in own.rows)
    assert 0 < kept < 180
    words = f"If cut from {edge} characters: {kept} kept ({100 * kept / 180:.1f} %)"
    expect(figure.locator("output")).to_have_text(words)
    expect(figure.locator(".bin.out")).to_have_count(3)
    page.close()


def test_the_page_fits_a_telephone_and_works_without_scripts(browser, report):
    page = Opened(browser, report).page
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.close()
    page = Opened(browser, report, java_script_enabled=False).page
    expect(page.locator("#gallery .card:visible")).to_have_count(180)
    page.locator("#reject-curate-aspect_ratio summary").click()
    expect(page.locator("#reject-curate-aspect_ratio .example").first).to_be_visible()
    expect(page.locator("#filter")).to_be_hidden()
    page.close()
