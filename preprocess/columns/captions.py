"""The captions that a column with a language model can read."""

import re

from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.text.language import primary_subtag

_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")


def refusal(item: Item, languages: tuple[str, ...], max_words: int) -> NoValue | None:
    """The reason why a sample's caption cannot be read; None where it can.

    Reasons are `caption_empty`, `caption_too_long` (more than `max_words` words between spaces, or
    more than 32 characters a word on average) and `language_not_supported` (the metadata names a
    language that is not in `languages`; or it names none and most letters are not Latin).
    """
    caption = item.caption
    words = caption.split()
    if not words:
        return NoValue("caption_empty")
    if len(words) > max_words:
        return NoValue("caption_too_long", f"{len(words)} words")
    if len(caption) > 32 * max_words:
        return NoValue("caption_too_long", f"{len(caption)} characters")
    language = primary_subtag(item.metadata.get("language"))
    if language and language != "und":
        return None if language in languages else NoValue("language_not_supported", language)
    letters, latin = len(_LETTER.findall(caption)), len(_LATIN.findall(caption))
    if latin * 2 < letters:
        return NoValue("language_not_supported", f"{letters - latin} letters are not Latin")
    return None
