"""The cleaning of captions: one line, composed characters, nothing invisible."""

import re
import unicodedata

_CLEAN = re.compile(r"[!-~]++(?: [!-~]++)*+")
_PRINTABLE_LINES = re.compile(r"[ -~\n]*+")
_SPACE = re.compile(r"[\s\u2800]+")  # with the blank of Braille
# Controls, zero-width characters, byte-order marks, bidi marks and overrides, fillers of Hangul and
# Khmer, tags (which hide text), annotation marks and code points that are no characters. Joiners
# (U+200C, U+200D) and variation selectors stay: Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e00ff]"
)
_THIN_SPACE = "\u200b"
# Thai, Lao, Burmese and Khmer write no spaces: there they mark where a line may break.
_THIN_SPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f]"
)
_NOTHING = re.compile("[\\s\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]*")
_MARKS = re.compile(r"[^\w\s\x00-\x7f]{31,}")
_MOST_MARKS = 30  # on one character (UAX 15, "stream-safe"): sorting them takes the square of them

# Bytes of windows-1252 that somebody read as ISO 8859-1: their code points are controls.
_MISREAD = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x85, 0x8D, 0x8F, 0x90, 0x9D)
}
_CONTROL = re.compile("[\x80-\x84\x86-\x9f]")


def clean_caption(text: str) -> str:
    """Clean a caption: NFC, invisible characters removed, white space folded to single spaces, ends
    trimmed.

    A space without width (U+200B) stays, once, between letters of Thai, Lao, Burmese and Khmer:
    there it is where a word ends. Case and punctuation carry meaning and are left alone. A caption
    of nothing visible is "".
    """
    if _CLEAN.fullmatch(text):
        return text
    if text.isascii():
        return _SPACE.sub(" ", _INVISIBLE.sub("", text)).strip()
    text = text.encode("utf-8", "ignore").decode()  # lone surrogates cannot be stored
    if _CONTROL.search(text):
        text = text.translate(_MISREAD)
    text = _INVISIBLE.sub("", text)
    if _THIN_SPACE in text:
        text = _needed_thin_spaces(text)
    text = _MARKS.sub(_fewer_marks, text)
    text = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return "" if _NOTHING.fullmatch(text) else text


def clean_captions(texts: list[str]) -> list[str]:
    """Clean captions, all at once where they are clean already."""
    together = "\n".join(texts)
    are_clean = (
        together.count("\n") == len(texts) - 1
        and _PRINTABLE_LINES.fullmatch(together)
        and not ("  " in together or " \n" in together or "\n " in together)
        and together.strip(" ") == together
    )
    return texts if are_clean else [clean_caption(text) for text in texts]


def _fewer_marks(run: re.Match[str]) -> str:
    kept: list[str] = []
    marks = 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def _needed_thin_spaces(text: str) -> str:
    """The text with those spaces without width that stand between letters whose script needs them;
    marks belong to the letter before them, in whatever order they are put later."""
    kept: list[str] = []
    after_letter = waiting = False
    for character in text:
        if character == _THIN_SPACE:
            waiting = after_letter
            continue
        if not unicodedata.combining(character):
            is_letter = _THIN_SPACED.match(character) is not None
            if waiting and is_letter:
                kept.append(_THIN_SPACE)
            after_letter = is_letter
        waiting = False
        kept.append(character)
    return "".join(kept)
