"""Archives, WAT records and pages that are damaged at random: nothing is raised, each record is
kept or lost, and slices of an archive are the archive."""

import gzip
from pathlib import Path
from unittest import mock

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources import warc
from septet.pipelines.sources.base import ImageLocation, Source
from septet.pipelines.sources.text import Text
from septet.pipelines.sources.warc import Warc
from septet.pipelines.sources.wat import Wat
from septet.preprocess.html.pages import Wanted, read_page
from septet.schemas.reasons import Rejected
from septet.schemas.sources import SourceSettings, TextSource, WarcSource, WatSource
from tests.fuzz.inputs import damaged, pairs_of, read_all
from tests.pipelines.hostile import answer, record
from tests.preprocess.html.test_wat import block, img

TAGS = st.sampled_from(
    ["<img src=a.png alt='A cat'>", "<img srcset='a 1x, b 2x' alt=dog>", "<figure>", "</figure>",
     "<figcaption>Words", "<picture><source srcset='c 3x'>", "<base href=/x/>", "<meta charset=utf-16>",
     "<meta name=robots content=noai>", "<meta property=og:image content=o.png>", "<div class=thumb>",
     "<meta property=og:title content=Title>", "<template>", "<svg>", "<p>text", "<!--", "<script>",
     "<img data-src=d.png src=data:, alt='A cow' class=lazy>", "<div class='caption headerlink'>"]
)  # fmt: skip
PAGES = st.lists(TAGS | st.text(alphabet="<>imgsrc=\"'/&; é\0", max_size=8), max_size=12).map(
    lambda parts: "".join(parts).encode("utf-8", "replace")
)
HEADS = st.sampled_from(
    ["", "Content-Encoding: gzip\r\n", "Transfer-Encoding: chunked\r\n", "X-Robots-Tag: noai\r\n"]
)
URLS = st.integers(0, 3).map("http://e.org/{}".format)
KINDS = st.sampled_from(["response", "response", "response", "revisit", "conversion", "resource"])
MEDIA = st.sampled_from(["text/html", "text/html; charset=x", "image/png", ""])


@st.composite
def web_records(draw: st.DrawFn) -> bytes:
    body = answer(draw(PAGES), draw(MEDIA), more=draw(HEADS))
    digest = f"WARC-Payload-Digest: sha1:{draw(st.integers(0, 2))}\r\n"
    return record(body, draw(KINDS), draw(URLS), digest)


@st.composite
def wat_records(draw: st.DrawFn) -> bytes:
    links = draw(st.lists(st.builds(img, st.text(max_size=6), alt=st.text(max_size=8)), max_size=4))
    head = {"Base": draw(st.text(max_size=6)), "Metas": [{"name": draw(st.text(max_size=4))}]}
    data = draw(damaged(st.just(block(links, head))) | st.just(block(links, head)))
    return record(data, "metadata", draw(URLS))


def packed(records: list[bytes], how: str) -> bytes:
    pack = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}.get(how)
    return b"".join(map(pack, records)) if pack else gzip.compress(b"".join(records))


SOURCES: dict[str, tuple[Source, SourceSettings]] = {
    "warc": (Warc(), WarcSource(kind="warc", paths=["x"], on_broken_input="reject", context_chars=20,
                                captions=["alt", "figcaption", "title", "og:title"])),
    "wat": (Wat(), WatSource(kind="wat", paths=["x"], on_broken_input="reject", captions=["alt", "og:title"])),
    "text": (Text(), TextSource(kind="text", paths=["x"], on_broken_input="reject", max_chars=20)),
}  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd", "whole"])
@pytest.mark.parametrize("kind", SOURCES)
def test_damaged_archives(kind: str, how: str, tmp_path: Path) -> None:
    source, settings = SOURCES[kind]
    path = tmp_path / f"a.warc{'' if how == 'plain' else '.gz'}"
    records = st.lists(wat_records() if kind == "wat" else web_records(), max_size=6)

    @given(damaged(records.map(lambda found: packed(found, how))), st.integers(40, 2000))
    def check(data: bytes, size: int) -> None:
        path.write_bytes(data)
        found, counts, _ = read_all(source, settings, path)
        # No record is lost without a word: each gives a row, or is counted as passed over.
        kept = {one.page_url for one in found if not isinstance(one, ImageLocation)}
        assert len(kept - {None}) <= counts["records"] + sum(isinstance(o, Rejected) for o in found)
        with mock.patch.object(warc, "SLICE_BYTES", size):
            again, _, slices = read_all(source, settings, path)
        if how in ("plain", "gzip") and slices > 1 and not any(
            isinstance(one, Rejected) and one.reason.startswith(("warc_", "input_"))
            for one in (*found, *again)
        ):  # fmt: skip
            assert pairs_of(again) == pairs_of(found)

    check()


@given(damaged(PAGES), st.sampled_from([None, "utf-8", "utf-16", "shift_jis"]), st.integers(0, 30))
def test_damaged_pages(body: bytes, charset: str | None, context: int) -> None:
    places = ("alt", "figcaption", "title", "og:image:alt", "og:title", "og:description")
    for candidate in ("src", "largest"):
        page = read_page(body, "http://e.org/", charset, places, Wanted(candidate, context))
        assert page.without_caption <= page.images
        assert all(pair.caption == pair.caption.strip() != "" for pair in page.pairs)
        assert all(pair.image_url.startswith(("http://", "https://")) for pair in page.pairs)
        assert page.context.keys() <= {*page.pairs}
        assert all(len(text) <= context for one in page.context.values() for text in one.values())
