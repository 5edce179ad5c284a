import pytest

from septet.preprocess.html import context
from septet.preprocess.html.pages import Pair, Wanted, parse_page

URL = "http://e.org/"


def around(html: str, characters: int) -> dict[str, dict[str, str]]:
    page = parse_page(html.encode(), URL, "utf-8", ["alt"], Wanted(context_chars=characters))
    return {pair.caption: text for pair, text in page.context.items()}


def test_text_before_and_after_an_image() -> None:
    html = """<title>Not this</title><p>One two three</p><script>no</script>
              <div>four <img src=a alt=A> five</div><p>six<b>ty</b> seven</p>"""
    assert around(html, 100) == {
        "A": {"text_before": "One two three four", "text_after": "five sixty seven"}
    }
    assert around(html, 10) == {"A": {"text_before": "three four", "text_after": "five sixty"}}
    assert around(html, 12) == {"A": {"text_before": "three four", "text_after": "five sixty"}}
    assert around(html, 4) == {"A": {"text_before": "four", "text_after": "five"}}
    assert around(html, 3) == {"A": {"text_before": "our", "text_after": "fiv"}}
    assert around(html, 0) == {}


def test_images_without_text_and_images_twice() -> None:
    assert around("<img src=a alt=A>", 50) == {}
    html = "<p>first</p><img src=a alt=A><p>second</p><img src=a alt=A><img src=b alt=B>"
    assert around(html, 50) == {
        "A": {"text_before": "first", "text_after": "second"},
        "B": {"text_before": "first second"},
    }
    html = "窗外的雪山和湖泊的风景<img src=a alt=A>照片第一张"
    assert around(html, 4) == {"A": {"text_before": "泊的风景", "text_after": "照片第一"}}


def test_context_of_a_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MOST_CONTEXT", 100)
    html = "<p>" + "word " * 50 + "".join(f"<img src={n} alt=A{n}>" for n in range(50))
    found = around(html, 24)
    assert list(found) == ["A0", "A1", "A2", "A3", "A4"]
    assert {text["text_before"] for text in found.values()} == {"word word word word word"[:24]}


def test_context_with_figure_captions() -> None:
    html = "<p>Before</p><figure><img src=a><figcaption>A cat<a class=headerlink>¶</a></figcaption></figure>"
    page = parse_page(html.encode(), URL, None, ["figcaption"], Wanted(context_chars=50))
    assert page.context == {
        Pair("http://e.org/a", "A cat", "figcaption"): {
            "text_before": "Before",
            "text_after": "A cat",
        }
    }
