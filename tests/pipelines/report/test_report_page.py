import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from septet.pipelines.report.compare import compare
from septet.pipelines.report.page import MAX_BYTES, report_page, write_report
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess import files
from septet.preprocess.shards.heads import write_corpus
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.manifest import InputFile, Shard
from tests.pipelines.report.corpora import HOSTILE, RECIPE, build_corpus, encoded


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, page: bytes):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_writes_its_two_files_and_the_same_again(own):
    write_report(own.path)
    written = [Path(own.path, "stats", name) for name in ("statistics.json", "report.html")]
    before = [path.read_bytes() for path in written]
    assert json.loads(before[0])["samples"] == 180
    write_report(own.path)
    assert [path.read_bytes() for path in written] == before


def test_nothing_in_the_page_points_outside_of_it(truth):
    page = Elements(report_page(truth.path, corpus_statistics(truth.path)))
    for tag, attributes in page.found:
        assert (
            tag not in ("base", "iframe", "object", "embed", "form") or "action" not in attributes
        )
        for name in ("src", "href", "srcset", "data", "poster", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/webp;", "data:,", "#")), value
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    policy = next(a["content"] for _, a in page.found if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_captions_and_names_are_text(own):
    manifest = json.loads(Path(own.path, "corpus.json").read_text())
    manifest["name"] = HOSTILE
    manifest["recipe"]["filter"]["note"] = HOSTILE + "</pre>"
    Path(own.path, "corpus.json").write_text(json.dumps(manifest))
    page = report_page(own.path, corpus_statistics(own.path))
    elements = Elements(page)
    assert sum(tag == "script" for tag, _ in elements.found) == 1
    assert sum(tag == "img" for tag, _ in elements.found) == sum(
        row["_image"] != b"not a picture" for row in own.rows
    )
    assert HOSTILE in "".join(elements.text)
    assert b"<script>window" not in page


def test_charts_carry_the_figures_of_the_statistics(truth):
    stats = corpus_statistics(truth.path)
    page = report_page(truth.path, stats).decode()
    for name, histogram in stats.measures.items():
        counts = re.search(rf'id="histogram-{name}" data-counts="([0-9,]+)"', page)
        assert counts, name
        shown = [int(count) for count in counts[1].split(",")]
        assert sum(shown) == histogram.count
        assert [count for count in shown if count] == [c for c in histogram.counts if c]
    for reason in stats.rejects:
        row = page.split(f'id="reject-{reason.stage}-{reason.reason}"')[1].split("</summary>")[0]
        assert f'<span class="count">{reason.count}</span>' in row
    used = page.split("What the tasks of each stage and column used")[1].split("</table>")[0]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", used)[6:]
    assert cells == ["fetch", "38.2 s", "3 MiB", "5 KiB", "300 MiB", "2"]
    assert "The recipe keeps at least 5, at most 1,000." in page


def test_a_comparison_is_shown_where_one_is_given(truth, tmp_path):
    old = build_corpus(tmp_path, samples=60, shards=1, name="older")
    stats = corpus_statistics(truth.path)
    page = report_page(truth.path, stats, compare(corpus_statistics(old.path), stats)).decode()
    assert "Against <bdi>older</bdi>" in page
    assert "+120" in page


def test_a_corpus_of_foreign_shards_has_a_page(own):
    for name in ("stats/funnel.json", "stats/build.json"):
        Path(own.path, name).unlink()
    for path in Path(own.path, "shards").glob("*.parquet"):
        files.write_table(str(path), files.read_table(str(path), ["key", "members"]))
    manifest = json.loads(Path(own.path, "corpus.json").read_text())
    manifest["recipe"] = None
    Path(own.path, "corpus.json").write_text(json.dumps(manifest))
    page = report_page(own.path, corpus_statistics(own.path)).decode()
    assert "this corpus was indexed, not built" in page
    assert "منظر لغروب الشمس" in page  # from the text members
    assert "these are the rows of its <code>rejects/</code>" in page


def test_an_empty_corpus_has_a_page(tmp_path):
    write_corpus(str(tmp_path), [], name="none", septet="0.1.0", sorted_keys=True)
    page = report_page(str(tmp_path), corpus_statistics(str(tmp_path))).decode()
    assert "The corpus holds no samples." in page


def test_the_page_is_bounded_whatever_the_size_of_the_corpus(tmp_path):
    """50,000 samples of noise with captions of 450 letters, 120 languages, 90 reject reasons
    with values of 5,000 letters, 5,000 inputs: nothing of it makes the page outgrow its bound."""
    rows, letters = 50_000, "𝔘" * 450
    rng = np.random.default_rng(0)
    with files.open_atomic(f"{tmp_path}/shards/00000.tar") as out:
        writer = ShardWriter(out)
        stored = []
        for i in range(16):
            noise = Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8))
            stored.append(writer.add(f"{i}", {"jpg": encoded(noise, "jpg"), "txt": b"x"}))
        size, digest = writer.close()
    # Many rows share the images of 16: a report reads at most 200 of them.
    indices = pa.array(np.arange(rows) % 16)
    table = pa.table(
        {
            "key": [f"{i:032d}" for i in range(rows)],
            "url": [f"https://cdn.host{i}.example.com/{'u' * 300}" for i in range(rows)],
            "caption": [letters] * rows,
            "language": [f"x{i % 120}" for i in range(rows)],
            "width": rng.integers(1, 9000, rows),
            "height": rng.integers(1, 9000, rows),
            "members": pa.array(stored, tables.MEMBERS).take(indices),
        }
    )
    files.write_table(f"{tmp_path}/shards/00000.parquet", table)
    rejects = [
        {"id": f"{i}", "stage": "fetch", "reason": f"reason_{i % 90}", "value": "v" * 5000,
         "image_url": "https://h.example/" + "w" * 3000, "caption": letters,
         "page_url": "https://p.example/" + "w" * 3000, "source": "s" * 3000}
        for i in range(90 * 14)
    ]  # fmt: skip
    files.write_table(
        f"{tmp_path}/rejects/fetch-00000.parquet",
        pa.Table.from_pylist(rejects, schema=tables.REJECTS),
    )
    shard = Shard(tar="shards/00000.tar", sidecar="shards/00000.parquet", samples=rows, bytes=size,
                  tar_sha256=digest, sidecar_sha256="", first_key="0" * 32,
                  last_key=f"{rows - 1:032d}")  # fmt: skip
    inputs = [InputFile(path=f"{'p' * 400}{i}", bytes=i, digest="d") for i in range(5000)]
    recipe = {**RECIPE, "more": {f"key{i}": "z" * 100 for i in range(3000)}}
    write_corpus(str(tmp_path), [shard], name="n" * 300, septet="0.1.0", recipe=recipe,
                 inputs=inputs, sorted_keys=True)  # fmt: skip
    page = report_page(str(tmp_path), corpus_statistics(str(tmp_path)))
    assert len(page) <= MAX_BYTES
    assert page.count(b'class="card"') >= 120
