"""A corpus and a sample as a notebook shows them, in a real browser."""

import html
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import septet
from tests.browser import browser as browser
from tests.pipelines.browse.test_drawing import BOX, CAPTION, HOSTILE, PHRASE, percent, place
from tests.pipelines.browse.test_drawing import corpus as corpus


def _shown(browser: Browser, given: str) -> tuple[Page, list[str]]:
    """A page with some HTML, and what it asks for or says."""
    page, noticed = browser.new_page(), []
    page.on("dialog", lambda d: (noticed.append(d.message), d.dismiss()))
    page.on("request", lambda r: r.url.startswith("data:") or noticed.append(r.url))
    page.on("pageerror", lambda error: noticed.append(str(error)))
    page.set_content(f"<body>{given}</body>")
    return page, noticed


def test_a_sample_is_drawn_as_browse_draws_it(browser: Browser, corpus: Path) -> None:
    opened = septet.open(corpus)
    index = opened.index(*place(corpus))
    shown = septet.show(opened, index)
    assert (shown.key, shown.caption) == (opened.key(index), CAPTION)
    assert shown == septet.show(corpus, shown.key[:8]) and len(repr(shown)) < 200
    page, noticed = _shown(browser, shown._repr_html_())
    assert page.evaluate("document.images[0].naturalWidth") > 300
    labels = [text.split()[0] for text in page.locator("label").all_inner_texts()]
    assert labels == ["extra.boxes", "extra.phrases", "boxes", "ocr", "phrases", "regions"]
    for layer, box in ((2, BOX), (4, PHRASE)):
        rect = page.locator(f".layer >> nth={layer}").locator("rect").first
        drawn = [float(rect.get_attribute(name)) for name in ("x", "y", "width", "height")]
        assert drawn == pytest.approx(percent(box))
    page.uncheck("label:has-text('ocr') input")
    visible = [layer.is_visible() for layer in page.locator(".layer").all()]
    assert visible == [True, True, True, False, True, True], "without a script"
    assert "chase" in page.inner_text("section[aria-label=scene-graphs]")
    assert HOSTILE in page.inner_text("section[aria-label=questions]")
    assert page.locator("script").count() == 0 and page.locator("img").count() == 1
    assert noticed == []


def test_a_corpus_shows_its_figures_and_samples(
    browser: Browser, corpus: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "<script>alert(3)</script><b>"
    odd.parent.mkdir(parents=True)
    odd.symlink_to(corpus)
    opened = septet.open(odd)
    page, noticed = _shown(browser, opened._repr_html_())
    text = page.inner_text("body")
    assert str(odd) in text and "2 samples in 1 shard; columns: boxes, objects, ocr" in text
    assert page.evaluate("[...document.images].map((one) => one.naturalWidth)") == [128, 128]
    assert CAPTION in text and noticed == [] and page.locator("script").count() == 0


def test_what_cannot_be_shown_is_told(corpus: Path, tmp_path: Path) -> None:
    opened = septet.open(corpus)
    for wrong, why in ((-1, "sample -1"), (2, "of a corpus of 2"), ("no-key", "no sample")):
        with pytest.raises(ValueError, match=why):
            septet.show(opened, wrong)
    (made,) = septet.curate(corpus, "none", keep=["width > 99999"])
    assert made.samples == 0
    assert "0 samples" in septet.open(f"{corpus}@none")._repr_html_()
    opened.label = str(tmp_path / "<gone>")
    assert html.escape(opened.label) in opened._repr_html_()
