"""A build of everything that can be wrong at once: each fault gets its reject row, the rest goes on."""

from collections import Counter
from pathlib import Path

import pytest

from septet.pipelines.build import EmptyCorpusError
from septet.preprocess.shards.reader import Corpus
from tests.corpora import digests, random_image, rows, run_build
from tests.http_server import HostileServer
from tests.warcs import html, image, write_warc


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size as its header says, with next to no pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9))
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    good = {f"/{i}.jpg": random_image(i) for i in range(3)}
    with HostileServer(
        {**good, "/bomb.png": png_header(50_000, 50_000), "/cut.jpg": random_image(9)[:3000]}
    ) as server:
        faults = {
            "html as image": server.url("/html.jpg"),
            "huge header": server.url("/bomb.png"),
            "endless body": server.url("/endless"),
            "redirect loop": server.url("/loop"),
            "not found": server.url("/missing.jpg"),
            "slow answer": server.url("/slow-headers?s=9"),
            "cut picture": server.url("/cut.jpg"),
            "inner network": f"http://localhost:{server.port}/0.jpg",
            "cloud metadata": "http://169.254.169.254/latest/meta-data/a.png",
            "opted out": server.url("/headers?X-Robots-Tag=noai", to="/1.jpg"),
        }
        links = {f"A good picture number {i}": server.url(f"/{i}.jpg") for i in range(3)} | {
            f"The picture of a fault: {name}": url for name, url in faults.items()
        }
        body = "<p>".join(
            f"<img src='{url}' alt='{alt}'" + ">" * (len(alt) % 2) + "<b>"
            for alt, url in links.items()
        )
        responses = [
            html("http://broken.test/", f"<html><div><table>{body}</div></p>"),
            ("http://wrong.test/", "<img src='http://broken.test/in.jpg' alt='Größe im Archiv'>".encode("cp1252"), {"Content-Type": "text/html; charset=utf-8"}),
            image("http://broken.test/in.jpg", random_image(7), "image/jpeg"),
        ]  # fmt: skip
        write_warc(folder / "a.warc.gz", responses)
        whole = write_warc(
            folder / "b.warc.gz",
            [
                html(
                    f"http://cut.test/{i}",
                    f"<img src='{server.url('/0.jpg')}' alt='Picture of page {i}'>",
                )
                for i in range(3)
            ],
        )
        whole.write_bytes(whole.read_bytes()[:-150])
        (folder / "c.warc.gz").write_bytes(b"")
        (folder / "list.jsonl").write_text(
            '{"url": "ok.jpg", "caption": "A file of the list"}\n{"url": "../secret.jpg", "caption": "A file outside"}\n{"url": "gone.jpg", "caption": "A missing file"}\nnope\n'
        )
        (folder / "files").mkdir()
        (folder / "files/ok.jpg").write_bytes(random_image(8))
        (folder / "secret.jpg").write_bytes(random_image(8))
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            "name: hostile\nsources:\n  - {kind: warc, paths: ['*.warc.gz'], on_broken_input: reject}\n"
            "  - {kind: list, paths: [list.jsonl], image_root: files}\n"
            f"fetch: {{allowed_hosts: ['{server.host}'], retries: 0, first_byte_timeout: 0.5, total_timeout: 2, max_bytes: 2000000, contact: crawler@example.org}}\n"
        )  # fmt: skip
        run_build(recipe, folder / "corpus")
    return folder / "corpus"


def test_each_fault_has_its_reject_row(corpus: Path) -> None:
    found = {row["caption"]: row["reason"] for row in rows(corpus, "rejects") if row["caption"]}
    faults = {
        caption.removeprefix("The picture of a fault: "): reason
        for caption, reason in found.items()
        if caption.startswith("The picture")
    }
    assert faults == {
        "html as image": "not_image",
        "huge header": "too_many_pixels",
        "endless body": "too_large",
        "redirect loop": "redirects",
        "not found": "http_status",
        "slow answer": "timeout",
        "cut picture": "decode_error",
        "inner network": "address",
        "cloud metadata": "address",
        "opted out": "opt_out",
    }
    assert found["A file outside"] == "outside_root"
    assert found["A missing file"] == "missing_file"


def test_broken_inputs_have_theirs(corpus: Path) -> None:
    reasons = Counter((row["source"], row["reason"]) for row in rows(corpus, "rejects"))
    assert reasons["b.warc.gz", "warc_truncated"] == 1
    assert reasons["c.warc.gz", "input_broken"] == 1
    assert reasons["list.jsonl", "list_row"] == 1


def test_the_rest_goes_on(corpus: Path) -> None:
    captions = {row["caption"] for row in rows(corpus, "shards")}
    assert captions == {
        *(f"A good picture number {i}" for i in range(3)),
        "Größe im Archiv", "A file of the list", "Picture of page 0", "Picture of page 1",
    }  # fmt: skip
    assert all(len(sample) == 3 for sample in Corpus(str(corpus)))


def test_an_empty_corpus_is_no_success_and_replaces_none(tmp_path: Path) -> None:
    page = html("http://e.test/", "<img src=/a.jpg alt='A house of stone'>")
    write_warc(tmp_path / "a.warc.gz", [page, image("http://e.test/a.jpg", random_image(1))])
    recipe = tmp_path / "r.yaml"
    text = "name: empty\nsources: [{kind: warc, paths: [a.warc.gz]}]\n"
    recipe.write_text(text)
    run_build(recipe, tmp_path / "corpus")
    before = digests(tmp_path / "corpus")
    assert len(Corpus(str(tmp_path / "corpus"))) == 1
    recipe.write_text(text + "filter: {min_chars: 50}\n")
    with pytest.raises(EmptyCorpusError, match=r"filter: 1 in, 0 out, too_short 1"):
        run_build(recipe, tmp_path / "corpus")
    assert digests(tmp_path / "corpus") == before
