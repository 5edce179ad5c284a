"""The images of a page of documentation and the texts that go with them.

Each generator of documentation marks a caption in its own way. `page_images` knows the five ways
that the demo's pages use, nearest enclosing block first:

| generator | block | caption |
|---|---|---|
| HTML 5, Sphinx | `figure` | `figcaption` |
| DocBook XSL | `div.mediaobject` | `div.caption` |
| DocBook XSL | `div.figure` | `p.title` (with the figure's number, which is cut off) |
| MediaWiki | `div.thumb`, `div.thumbinner` | `div.thumbcaption` |
| MediaWiki | `li.gallerybox` | `div.gallerytext` |

The scripts beside this file choose pages and print counts with it; it is no part of a build.
"""

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

# (class or tag of the block, selector of the caption inside it), nearest block first.
CAPTIONS = (
    ("figure", "figcaption"),
    ("mediaobject", "div.caption"),
    ("thumb", "div.thumbcaption"),
    ("gallerybox", "div.gallerytext"),
    ("figure", "p.title"),
)
BLOCKS = frozenset(block for block, _ in CAPTIONS)

# "Figure 17.166.", "Abbildung 3.2.", "図3.1", "그림 A.3.", "Рисунок 3.1.", "图 4.1." before a title
NUMBER = re.compile(r"^[^\d\s.]{0,12}\s*([A-Z]|\d+)\.\d+[.:]?\s+")

# What Sphinx and the MediaWiki export of Hugin print as the text of a link to the figure itself.
LINK_SIGN = re.compile(r"¶|\[\*\]")


@dataclass(frozen=True)
class PageImage:
    """An `img` of a page: its address as written, its alt, and its caption with its pattern."""

    src: str
    alt: str
    caption: str
    pattern: str

    @property
    def text(self) -> str:
        """The caption, else the alt; empty where there is neither."""
        return self.caption or self.alt


def page_images(html: bytes) -> list[PageImage]:
    """Every `img` with an address, in page order. `html` is UTF-8 or says what it is."""
    found = []
    for node in LexborHTMLParser(html).css("img[src]"):
        caption, pattern = _caption(node)
        alt = _line(node.attributes.get("alt") or "")
        found.append(PageImage(node.attributes["src"] or "", alt, caption, pattern))
    return found


def _caption(node: LexborNode) -> tuple[str, str]:
    block = node.parent
    while block is not None and block.tag != "body":
        names = {block.tag, *(block.attributes.get("class") or "").split()} & BLOCKS
        for name, selector in CAPTIONS:
            if name in names and (match := block.css_first(selector)) is not None:
                text = _line(LINK_SIGN.sub(" ", match.text()))
                if selector == "p.title":
                    text = NUMBER.sub("", text)
                if text:
                    return text, f"{name} > {selector}"
        block = block.parent
    return "", ""


def _line(text: str) -> str:
    return " ".join(text.split())
