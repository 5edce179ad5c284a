import pytest

from septet.preprocess.html import main_text
from septet.preprocess.html.main_text import page_text

PAGE = """<html lang=de><head><title>Not this</title><meta name=robots content=noai>
<meta name=tdm-reservation content=1></head><body><nav><a href=/>Home</a> <a href=/x>More</a></nav>
<main><h1>Die Katze</h1><p>Die <b>K</b>atze schläft auf dem Sofa.</p><script>no</script>
<p>Der zweite Absatz.</p></main><footer>Impressum</footer></body></html>"""


@pytest.mark.parametrize("charset", ["utf-8", "utf-16"])
def test_the_main_text_of_a_page(charset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for small in (2**17, 0):  # in this process, and in one that can be stopped
        monkeypatch.setattr(main_text, "SMALL_PAGE", small)
        page = page_text(PAGE.encode(charset), charset)
        assert page.text.split("\n\n") == [
            "Die Katze",
            "Die Katze schläft auf dem Sofa.",
            "Der zweite Absatz.",
        ]
        assert (page.language, page.robots, page.tdm) == ("de", ["noai"], ["1"])


@pytest.mark.parametrize("body", [b"", b"\0", b"<!", b"\xff\xfe", b"<p>" * 3000])
def test_pages_of_nothing(body: bytes) -> None:
    assert page_text(body, None).text.strip() == ""
