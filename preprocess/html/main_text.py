"""The main text of HTML pages: paragraphs without navigation, footers and the like, by the rules of
resiliparse."""

from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from selectolax.lexbor import LexborHTMLParser

from septet.preprocess.html.apart import SMALL_PAGE, page_reader, read_apart
from septet.preprocess.html.charset import decode_page
from septet.preprocess.html.head import language_of, read_head


@dataclass(frozen=True)
class PageText:
    """The main text of a page, the language that it declares, and its opt-outs, as of `Head`."""

    text: str
    language: str | None
    robots: list[str]
    tdm: list[str]


def page_text(body: bytes, charset: str | None, apart: bool = False) -> PageText:
    """Extract the main text of a page; paragraphs are parted by empty lines.

    Args:
        body: The page as served, decoded from any content coding.
        charset: The transport's charset, if any.
        apart: Whether the page is read in another process, however small it is.

    Raises:
        RejectedError: `page_timeout` or `page_crash`, as of `pages.parse_page`.
    """
    if len(body) <= SMALL_PAGE and not apart:
        return read_text(body, charset)
    page: PageText = read_apart(_READER, body, charset)
    return page


_READER = page_reader("septet.preprocess.html.main_text:read_text")


def read_text(body: bytes, charset: str | None) -> PageText:
    """Extract the main text of a page in this process, without limits."""
    html = decode_page(body, charset).encode("utf-8", "replace").decode()
    tree = LexborHTMLParser(html)
    head = read_head(meta.attributes for meta in tree.css("meta"))
    text = extract_plain_text(
        html, preserve_formatting=True, main_content=True, list_bullets=False, alt_texts=False
    )
    return PageText(text, language_of(tree) or head.language, head.robots, head.tdm)
