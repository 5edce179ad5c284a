"""What web captions hold besides language: signs, addresses, handles, file names, a site's tail.

It is taken out before tagger and parser, with the place of what stays, so that spans point into the
caption as it is stored. What is taken out becomes one space: no word joins another's letters.
"""

import re

from septet.preprocess.scene_graphs.words import words

_SIGNS = (
    "\u00a9\u00ae\u2117\u2120\u2122\u2020-\u2023\u2043\u20e3\u200b-\u200f\u2028-\u202e\u2060-\u2064"
    "\ufe0e\ufe0f\ufeff\ufffd\u2190-\u21ff\u2300-\u2bff\u3030\u303d\u3297\u3299\ue000-\uf8ff"
    "\U0001f000-\U0001faff\U000e0000-\U000e007f"
)
_SITES = (
    r"(?:free |hd |royalty[- ]free )?(?:stock (?:photo|image|video|footage|illustration|vector|"
    r"picture)|royalty[- ]free|flickr|getty|shutterstock|alamy|istock|dreamstime|123rf|"
    r"depositphotos|adobe stock|pinterest|youtube|wikipedia|wikimedia|amazon|ebay|etsy|facebook|"
    r"instagram|twitter|tumblr|imgur|reddit|unsplash|pexels|pixabay|airbnb|tripadvisor)"
)
_FILES = "jpe?g|png|gif|webp|svg|bmp|tiff?|pdf|mp4|html?|php|aspx?"
_PARTS = (
    r"(?P<address>(?:https?://|ftp://|www\.)\S+)",
    r"(?P<mail>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]+)",
    r"(?P<handle>(?<!\w)@\w[\w.]*)",
    rf"(?P<file>(?<![\w%()+-])[\w%()+-]{{0,100}}\.(?:{_FILES})\b)",
    r"(?P<domain>(?<![\w.-])[\w.-]{1,64}\.(?:com|net|org|info|biz|co\.uk)\b(?:/\S*)?)",
    r"(?P<label>^\W*(?:file|image|photo|picture|img):\s*)",
    r"(?P<credit>(?<=\S)[\s(\[,-]{1,4}(?:photo|photograph|image|picture|pic)s? "
    r"(?:by|credit|courtesy|via)\b.*$|(?<=\S)\s{0,4}\(?(?:©|\(c\)|copyright\b).*$)",
    rf"(?P<tail>(?<=\S)\s{{1,4}}[|–—-]\s{{0,4}}{_SITES}.*$)",
    r"(?P<tags>(?:(?<=\s)#(?=\w{0,64}[^\W\d])\w+\s*)+)",
    r"(?P<first>^(?:#(?=\w{0,64}[^\W\d])\w+\s+)+)",
    r"(?P<hash>(?<!\w)#(?=\w{0,64}[^\W\d]))",
    r"(?P<entity>(?<=&)amp;|&(?:nbsp|quot|lt|gt);)",
    rf"(?P<sign>[{_SIGNS}]+)",
)
_MARKS = re.compile("|".join(_PARTS), re.IGNORECASE)
_ODD = re.compile(
    rf"[@#|©&{_SIGNS}]|\w\.\w|://|^\W*\w+:|\s[–—-]|\.(?:{_FILES})\b|\b(?:by|credit|courtesy|via)\b"
    r"|\([cC]\)|copyright",
    re.IGNORECASE,
)
_PIPE = re.compile(r"\s*\|\s*")
_OPENS = words(
    """a an the my our your his her its their this that at in on of with by from to for near and
    under over behind into"""
)
"""Words that call for another one: a hash tag behind them is part of the sentence."""

Plain = tuple[str, list[int] | None]
"""A text, and the place in the caption of each of its letters; None where these are the same."""


def plain(caption: str) -> Plain:
    """Take out of a caption what is no language."""
    if not _ODD.search(caption):
        return caption, None
    cuts = []
    for found in _MARKS.finditer(caption):
        start, end = found.span()
        kind = found.lastgroup
        if kind == "tags" and (end < len(caption) or _belongs(caption, start, found.group())):
            cuts += [(i, i + 1) for i in range(start, end) if caption[i] == "#"]
            continue
        if kind == "file":
            stem = found.group().rpartition(".")[0]
            if stem.isalpha():
                start += len(stem)
        cuts.append((start, end))
    text, places = _without(caption, cuts)
    return _first_part(text, places)


def _belongs(caption: str, start: int, tags: str) -> bool:
    """Whether a hash tag at the end is a word of the sentence ("my dog at the #beach")."""
    before = caption[:start].split()
    return len(tags.split()) == 1 and bool(before) and before[-1].lower() in _OPENS


def _without(caption: str, cuts: list[tuple[int, int]]) -> tuple[str, list[int]]:
    kept: list[int] = []
    letters: list[str] = []
    at = 0
    for start, end in [*cuts, (len(caption), len(caption))]:
        piece = range(max(at, 0), start)
        for i in piece:
            if not (caption[i].isspace() and (not letters or letters[-1] == " ")):
                letters.append(" " if caption[i].isspace() else caption[i])
                kept.append(i)
        if letters and letters[-1] != " " and end > start:
            letters.append(" ")
            kept.append(start)
        at = end
    while letters and letters[-1] == " ":
        letters.pop()
        kept.pop()
    return "".join(letters), kept


def _first_part(text: str, places: list[int]) -> Plain:
    """Part what bars divide into sentences; a last part of a few capitalised words is the site's
    name."""
    bars = list(_PIPE.finditer(text))
    if bars:
        last = text[bars[-1].end() :].split()
        if bars[-1].start() and len(last) <= 4 and all(not w[0].islower() for w in last):
            text = text[: bars[-1].start()]
        text = text.replace("|", ".")
    return text, places[: len(text)]
