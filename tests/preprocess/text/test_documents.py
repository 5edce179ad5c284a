import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.text import documents
from septet.preprocess.text.documents import cut_document, read_documents

PARAGRAPHS = "First line\nsecond line here.\n\nA new paragraph. It has sentences! Has it? Yes"
TEXTS = st.text(alphabet="ab .!?\n\t漢字。é\u0301", max_size=400)


@pytest.mark.parametrize(
    ("text", "most", "pieces"),
    [
        (PARAGRAPHS, 1000, [PARAGRAPHS]),
        (PARAGRAPHS, 50, ["First line\nsecond line here.\n\n", PARAGRAPHS[30:]]),
        ("one two\nthree four five", 14, ["one two\n", "three four ", "five"]),
        ("One two. Three four five", 20, ["One two. Three four ", "five"]),
        ("A big cat. Three four", 14, ["A big cat. ", "Three four"]),
        ('He said "yes." Then he', 16, ['He said "yes." ', "Then he"]),
        ("今天天气很好。我们去公园走走吧", 10, ["今天天气很好。", "我们去公园走走吧"]),
        ("one " + "x" * 30, 10, ["one xxxxxx", "x" * 10, "x" * 10, "x" * 4]),
        ("abcdefghi\u0301\u0301jk", 10, ["abcdefgh", "i\u0301\u0301jk"]),
        ("i" + "\u0301" * 20, 10, ["i" + "\u0301" * 5, "\u0301" * 6, "\u0301" * 9]),
        ("   \n\n  ", 2, []),
        ("", 5, []),
    ],
)
def test_where_documents_are_cut(text: str, most: int, pieces: list[str]) -> None:
    assert list(cut_document(text, most)) == pieces


@given(TEXTS, st.integers(4, 60))
def test_nothing_is_lost(text: str, most: int) -> None:
    pieces = list(cut_document(text, most))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= most for piece in pieces)
    assert all(len(piece) > most // 2 for piece in pieces[:-1])


@given(TEXTS, st.integers(4, 60), st.integers(1, 50))
def test_a_file_is_cut_as_its_text_is(text: str, most: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_BLOCK_BYTES", block)
        read = {
            ends: list(read_documents(io.BytesIO(text.encode()), ends, most))
            for ends in ("file", "paragraph", "line")
        }
    assert read["file"] == list(cut_document(text, most))
    parted = {"paragraph": re.split(r"\n[ \t]*\n", text), "line": text.split("\n")}
    for ends, parts in parted.items():
        assert read[ends] == [piece for part in parts for piece in cut_document(part, most)]


def test_line_ends_of_every_kind() -> None:
    data = b"one\r\n\r\ntwo\rthree\n"
    assert list(read_documents(io.BytesIO(data), "paragraph", 50)) == ["one", "two\nthree\n"]


def test_bytes_that_are_no_text_stay_where_they_are() -> None:
    assert list(read_documents(io.BytesIO(b"a\n\xff b\nc"), "line", 50)) == ["a", "\udcff b", "c"]


def test_a_file_without_any_end_takes_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        left = 3000

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"x" * size if self.left else b""

    sizes = [len(piece) for piece in read_documents(Endless(), "line", 10_000)]  # type: ignore[arg-type]
    assert sum(sizes) == 2999 * 2**16 and max(sizes) == 10_000
