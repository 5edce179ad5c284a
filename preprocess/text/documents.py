"""Long texts cut into pieces of bounded length, at the bounds that readers see.

A piece ends at the last end of a paragraph within its length, else of a line, of a sentence, of a
word; each only in the second half, so that no piece but a document's last is short. Where there is
none (a script without spaces, a table of numbers) it ends at its full length, though not before a
combining mark. All pieces of a document in a row are the document: nothing is lost.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import BinaryIO, Literal

DocumentEnd = Literal["file", "paragraph", "line"]
"""What ends a document in a file of text."""

_ENDS: dict[DocumentEnd, re.Pattern[str] | None] = {
    "file": None,
    "paragraph": re.compile(r"\n[ \t]{0,1000}\n"),
    "line": re.compile(r"\n"),
}
_BOUNDS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"""[.!?…؟।۔]["')\]”’»]*\s+|[。！？][”’」』）]*\s*"""),
    re.compile(r"\s+"),
)
_BLOCK_BYTES = 2**16
_MOST_BLANKS = 2**10
"""Characters of blanks in an empty line that still ends a paragraph, wherever blocks end."""
_JOINERS = "\u200d\ufe0e\ufe0f"


def cut_document(text: str, most: int) -> Iterator[str]:
    """The pieces of a document, of at most `most` characters each; none is blank."""
    at = 0
    while at < len(text):
        end = at + _cut(text[at : at + most + 1], most)
        piece = text[at:end]
        if not piece.isspace():
            yield piece
        at = end


def read_documents(file: BinaryIO, ends: DocumentEnd, most: int) -> Iterator[str]:
    """The pieces of the documents of a file of UTF-8, with bounded memory however long they are.

    Bytes that are not UTF-8 become lone surrogates (`surrogateescape`).

    Args:
        file: Read from where it stands to its end.
        ends: What ends a document.
        most: Characters of a piece.
    """
    pattern = _ENDS[ends]
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
    text, is_last = "", False
    searched = 0
    while not is_last:
        data = file.read(_BLOCK_BYTES)
        is_last = not data
        text += decoder.decode(data, final=is_last)
        at = 0
        while at < len(text):
            end = pattern.search(text, max(at, searched)) if pattern else None
            stop = len(text) if end is None else end.start()
            if end is None and not is_last:  # in what is cut off here there is none
                searched = max(at, len(text) - _MOST_BLANKS)
                while stop - at > most + 1:
                    size = _cut(text[at : at + most + 1], most)
                    if not text[at : at + size].isspace():
                        yield text[at : at + size]
                    at += size
                break
            yield from cut_document(text[at:stop], most)
            at = stop if end is None else end.end()
        text, searched = text[at:], max(0, searched - at)


def _cut(text: str, most: int) -> int:
    """The length of the first piece of a text of which `most` + 1 characters are given."""
    if len(text) <= most:
        return len(text)
    half = most // 2
    for bound in _BOUNDS:
        ends = [found.end() for found in bound.finditer(text, half)]
        ends = [end for end in ends if half < end <= most]
        if ends:
            return ends[-1]
    end = most
    while end > half + 1 and (unicodedata.combining(text[end]) or text[end] in _JOINERS
                              or text[end - 1] == "\u200d"):  # fmt: skip
        end -= 1
    return end
