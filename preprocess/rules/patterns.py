"""Rules about what a caption looks like: a file name, a URL, a template, an address."""

import re

import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.lists import made_of
from septet.preprocess.rules.rule import Verdict, values_where
from septet.schemas.filter import Filter

_FILENAME = r"^\S+\.(?i:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|heic|pdf|mp4|psd)$"
_URL = r"^(?i:[a-z][a-z0-9+.-]*://\S+|www\.\S+|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}/\S*)$"
_MAIL = r"[\w.+-]{1,64}@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,24}"
_TELEPHONE = (
    r"\+\d[\d\s().\-/]{6,18}\d"
    r"|\(\d{2,5}\)[\s\-]?\d[\d\s.\-]{4,12}\d"
    r"|\b\d{3}[.-]\d{3}[.-]\d{4}\b"
    r"|(?i:\b(?:tel|telephone|telefon|teléfono|téléphone|phone|call|fax|mobile|whatsapp)"
    r"|тел|факс|电话|電話|手机|전화)[.:：]?\s{0,2}\+?\d[\d\s().\-/]{5,18}\d"
)
_CONTACT = f"(?P<found>{_MAIL}|{_TELEPHONE})"
_MAY_HOLD_ONE = r"@|\d[^\pL]*\d[^\pL]*\d[^\pL]*\d[^\pL]*\d[^\pL]*\d"


def filename(captions: Captions, settings: Filter) -> Verdict:
    """Captions that are a file's name."""
    return Verdict(pc.match_substring_regex(captions.text, _FILENAME), captions.text)


def url_caption(captions: Captions, settings: Filter) -> Verdict:
    """Captions that are a URL, or a host's name with a path."""
    return Verdict(pc.match_substring_regex(captions.text, _URL), captions.text)


def contact(captions: Captions, settings: Filter) -> Verdict:
    """Captions that hold an e-mail address or a telephone number."""
    possible = pc.match_substring_regex(captions.text, _MAY_HOLD_ONE)
    matches = pc.extract_regex(captions.text.filter(possible), _CONTACT)
    found = values_where(possible, pc.struct_field(matches, "found"))
    return Verdict(pc.is_valid(found), found)


def template(captions: Captions, settings: Filter) -> Verdict:
    """Captions that begin or end with one of `templates`."""
    one = made_of("templates", settings, alternatives)
    pattern = rf"^(?i:{one})(?:[^\pL\pN]|$)|(?:^|[^\pL\pN])(?i:{one})[^\pL\pN]*$"
    return Verdict(pc.match_substring_regex(captions.text, pattern), captions.text)


def alternatives(phrases: tuple[str, ...]) -> str:
    """A pattern of RE2 that matches any of some phrases, the longest first.

    Raises:
        ValueError: all of them are empty.
    """
    if not any(phrases):
        raise ValueError("no entry holds a character")
    longest = sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
    return "|".join(re.sub(r"([^\w\s])", r"\\\1", phrase) for phrase in longest if phrase)
