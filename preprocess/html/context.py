"""The text around the images of a page, as it is read before and after each."""

import re
from itertools import accumulate

from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.html.text import TextBudget, text_parts
from septet.preprocess.text.clean import clean_caption

MOST_CONTEXT = 2**20
"""Characters of context of one page in all; images behind that have none."""
_FOLDED = 4  # characters of a page's source, with its white space, for one of text
_WORD_START = re.compile(r"\s")


class Surroundings:
    """The text of a page with the places of its images in it.

    Args:
        tree: The parsed page.
        characters: The most characters before, and as many after, an image.
    """

    def __init__(self, tree: LexborHTMLParser, characters: int):
        self._characters = characters
        self._left = MOST_CONTEXT
        images: dict[int, int] = {}
        body = tree.body
        parts = text_parts(body, TextBudget(characters=2**30), images) if body else []
        starts = [0, *accumulate(map(len, parts))]
        self._text = "".join(parts)
        self._at = {image: starts[number] for image, number in images.items() if parts}

    def around(self, img: LexborNode) -> dict[str, str]:
        """`text_before` and `text_after` of an image, cleaned and cut at words; without those that
        are empty."""
        at = self._at.get(img.mem_id)
        if at is None or self._left <= 0:
            return {}
        far = self._characters * _FOLDED
        before = clean_caption(self._text[max(0, at - far) : at])
        after = clean_caption(self._text[at : at + far])
        found = {
            "text_before": _last_words(before, self._characters),
            "text_after": _first_words(after, self._characters),
        }
        self._left -= sum(map(len, found.values()))
        return {name: text for name, text in found.items() if text}


def _last_words(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    cut = text[-most:]
    if text[-most - 1] != " " and (space := _WORD_START.search(cut)):
        cut = cut[space.end() :]
    return cut.strip()


def _first_words(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    cut = text[:most]
    if text[most] != " " and " " in cut:
        cut = cut[: cut.rindex(" ")]
    return cut.strip()
