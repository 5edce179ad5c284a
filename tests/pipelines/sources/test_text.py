import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from septet.pipelines.inputs import find_inputs
from septet.pipelines.sources.base import InputError, Pair
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import digests, rows, run_build
from tests.pipelines.hostile import answer, record
from tests.read_sources import read_sources

LONG = " ".join(f"This is the sentence with the number {n}." for n in range(40))


def write(folder: Path, name: str, data: bytes, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    recipe = folder / "recipe.yaml"
    source = {"kind": "text", "paths": [name], **settings}
    recipe.write_text(yaml.safe_dump({"name": "texts", "sources": [source]}))
    return recipe


def read(recipe: Path) -> list[Any]:
    return read_sources(recipe)[0]


def texts(found: list[Any]) -> list[str]:
    assert all(isinstance(one, Pair) and one.image_url is None for one in found), found
    return [one.caption for one in found]


def lost(found: list[Any]) -> list[tuple[str, str | None]]:
    return [(one.reason, one.page_url) for one in found if isinstance(one, Rejected)]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_files_of_text(tmp_path: Path, packed: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed]
    data = pack(f"One line\nand another\n\n{LONG}\n".encode())
    recipe = write(tmp_path, "a.txt" + packed, data, max_chars=200)
    found = texts(read(recipe))
    assert " ".join(found) == f"One line and another {LONG}"
    assert all(100 < len(text) <= 200 and text.endswith(".") for text in found[:-1])
    recipe = write(tmp_path, "a.txt" + packed, data, document="line", max_chars=5000)
    assert texts(read(recipe)) == ["One line", "and another", LONG]
    recipe = write(tmp_path, "a.txt" + packed, data, document="paragraph", max_chars=5000)
    assert texts(read(recipe)) == ["One line and another", LONG]


def test_a_piece_that_is_no_utf8_costs_itself(tmp_path: Path) -> None:
    data = b"good\n" + "caf\xe9".encode("latin-1") + b"\n\xe2\x80\x8b\ngood, too"
    found = read(write(tmp_path, "a.txt", data, document="line"))
    assert texts([one for one in found if isinstance(one, Pair)]) == ["good", "good, too"]
    assert lost(found) == [("not_utf8", None), ("no_image_or_text", None)]
    assert found[1].value == "byte 0xe9 at character 3 of the text"


def test_a_cut_archive_of_text_ends_where_it_is_cut(tmp_path: Path) -> None:
    data = gzip.compress(LONG.encode())[:-9]
    with pytest.raises(InputError, match="ends too early"):
        read(write(tmp_path, "a.txt.gz", data))
    recipe = write(tmp_path, "a.txt.gz", data, on_broken_input="reject", max_chars=40)
    assert lost(read(recipe)) == [("input_broken", None)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_lists_of_documents(tmp_path: Path, form: str) -> None:
    lines = [
        {"text": LONG, "lang": "en"},
        {"text": "Eine kurze Zeile", "lang": "de"},
        {"text": "", "lang": None},
    ]
    settings = {"max_chars": 200, "language_col": "lang"}
    path = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist(lines), path)
    data = "\n".join(map(json.dumps, lines)).encode() if form == "jsonl" else path.read_bytes()
    found = read(write(tmp_path, f"a.{form}", data, **settings))
    kept = [one for one in found if isinstance(one, Pair)]
    assert " ".join(one.caption for one in kept if one.page_language == "en") == LONG
    assert [one.caption for one in kept if one.page_language == "de"] == ["Eine kurze Zeile"]
    assert lost(found) == [("no_image_or_text", None)]
    with pytest.raises(InputError, match="has no column 'body'; it has text, lang"):
        read(write(tmp_path, f"a.{form}", data, text_col="body"))


def test_rows_that_are_no_text(tmp_path: Path) -> None:
    data = b'{"text": 7}\n{"text": "good"}\n{"text": ["one", "two"]}\n{"text": ["one", 2]}\n{'
    found = read(write(tmp_path, "a.jsonl", data))
    assert texts([one for one in found if isinstance(one, Pair)]) == ["good", "one", "two"]
    assert [reason for reason, _ in lost(found)] == ["caption_type", "caption_type", "list_row"]


def test_wet_files(tmp_path: Path) -> None:
    records = [
        record(b"x", "warcinfo"),
        record(LONG.encode(), "conversion", "http://e.org/a",
               "WARC-Identified-Content-Language: deu,eng\r\n"),
        record(b"caf\xe9", "conversion", "http://e.org/b"),
        record(b" \n", "conversion", "http://e.org/c"),
        record(b"x" * 3000, "conversion", "http://e.org/d"),
        record(b"short", "conversion", "http://e.org/e"),
    ]  # fmt: skip
    data = b"".join(map(gzip.compress, records))
    found = read(write(tmp_path, "a.warc.wet.gz", data, max_page_bytes=2000))
    kept = [one for one in found if isinstance(one, Pair)]
    assert " ".join(one.caption for one in kept[:-1]) == LONG
    assert {(one.page_url, one.page_language) for one in kept[:-1]} == {("http://e.org/a", "deu")}
    assert (kept[-1].caption, kept[-1].page_url) == ("short", "http://e.org/e")
    assert lost(found) == [
        ("not_utf8", "http://e.org/b"),
        ("no_image_or_text", "http://e.org/c"),
        ("too_large", "http://e.org/d"),
    ]


def test_pages_of_archives(tmp_path: Path) -> None:
    def page(name: str, body: str, **more: str) -> bytes:
        return record(answer(body.encode(), **more), url=f"http://e.org/{name}")

    records = [
        page("a", f"<html lang=en><nav><a href=/>Home</a></nav><main><p>{LONG}</p></main>"),
        page("b", "<meta name=robots content=noai><p>Words</p>"),
        page("c", "<p>Words</p>", more="tdm-reservation: 1\r\n"),
        page("d", "<p>Words</p>", status="404 Not Found"),
        page("e", "<img src=a.png alt=Words>"),
        page("f", "<main><p>Ein Satz.</p></main>", more="Content-Language: de\r\n"),
        record(answer(b"x", "image/png"), url="http://e.org/g"),
    ]
    found = read(write(tmp_path, "a.warc.gz", b"".join(map(gzip.compress, records))))
    kept = [one for one in found if isinstance(one, Pair)]
    assert " ".join(one.caption for one in kept[:-1]) == LONG
    assert (kept[0].page_url, kept[0].page_language) == ("http://e.org/a", "en")
    assert (kept[-1].caption, kept[-1].page_language) == ("Ein Satz.", "de")
    assert lost(found) == [
        ("opt_out", "http://e.org/b"),
        ("opt_out", "http://e.org/c"),
        ("page_status", "http://e.org/d"),
        ("no_image_or_text", "http://e.org/e"),
    ]


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.pdf: texts are \.txt, .* or lists"):
        read(write(tmp_path, "a.pdf", b"x"))
    with pytest.raises(InputError, match=r"a\.warc: .*is no WARC file"):
        read(write(tmp_path, "a.warc", b"x"))
    with pytest.raises(InputError, match="the text is UTF-16"):
        read(write(tmp_path, "a.txt", "x".encode("utf-16")))


def test_a_corpus_of_texts_with_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septet.pipelines.sources.text.cut_lines.__defaults__", (2000,))
    data = "".join(f"The line with the number {n}, and some words more.\n" for n in range(400))
    recipe = write(tmp_path / "in", "a.txt", data.encode(), document="line")
    assert len(find_inputs(parse_recipe(recipe.read_text()), str(recipe.parent))) == 10
    for workers in (1, 2, 4):
        assert run_build(recipe, tmp_path / f"corpus-{workers}", workers).manifest.samples == 400
    assert {tuple(sorted(set(sample) - {"__key__"})) for sample in Corpus(str(tmp_path / "corpus-1"))} == {
        ("json", "txt")
    }  # fmt: skip
    assert {row["caption_from"] for row in rows(tmp_path / "corpus-1", "shards")} == {"text"}
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-2")
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-4")
