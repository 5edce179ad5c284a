import gzip
import json
from pathlib import Path

import pytest

from septet.pipelines.inputs import find_inputs
from septet.pipelines.sources.base import InputError, Pair
from septet.schemas.reasons import Rejected
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import digests, rows, run_build, site
from tests.pipelines.hostile import record
from tests.preprocess.html.test_wat import BROKEN, block, img
from tests.read_sources import read_sources
from tests.warcs import write_warc

RECIPE = "name: wat\nsources:\n  - {kind: wat, paths: ['*.wat.gz']}\n"


def page(number: int) -> bytes:
    url = f"http://site.test/img/{number}.jpg"
    return record(block([img(url, alt=f"Good page with the number {number}")]), "metadata")


def write(folder: Path, records: list[bytes], name: str = "a.wat.gz") -> Path:
    (folder / name).write_bytes(b"".join(map(gzip.compress, records)))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return recipe


HOSTILE = {
    **{f"block: {name}": (record(data, "metadata"), "wat_record") for name, data in BROKEN.items()},
    "opted out": (record(block([], {"Metas": [{"name": "robots", "content": "noai"}]}), "metadata"), "opt_out"),
    "opted out by header": (record(block([], Headers={"x-robots-tag": "noai"}), "metadata"), "opt_out"),
    "reserved": (record(block([], Headers={"tdm-reservation": 1}), "metadata"), "opt_out"),
    "not found": (record(block([], **{"Response-Message": {"Status": 404}}), "metadata"), "page_status"),
    "too large": (record(b" " * (8 * 2**20 + 1), "metadata"), "too_large"),
    "links are text": (record(block(**{"HTML-Metadata": {"Links": "x"}}), "metadata"), "wat_record"),
    "no length": (record(block(), "metadata").replace(b"Content-Length", b"X-Length"), "warc_broken"),
    "length too large": (record(block(), "metadata", length="99999"), "warc_truncated"),
    "a URL of a template": (record(block([img("{{url}}")]), "metadata"), "bad_url"),
}  # fmt: skip


def test_each_hostile_record_costs_itself(tmp_path: Path) -> None:
    records = [page(0)]
    for number, (data, _) in enumerate(HOSTILE.values(), 1):
        records += [data, page(number)]
    found, _ = read_sources(write(tmp_path, records))
    good = [one.caption for one in found if isinstance(one, Pair)]
    assert good == [f"Good page with the number {n}" for n in range(len(HOSTILE) + 1)]
    assert [one.reason for one in found if isinstance(one, Rejected)] == [
        reason for _, reason in HOSTILE.values()
    ]


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    records = [
        record(b"software: x", "warcinfo"),
        record(b'{"Envelope":{"Payload-Metadata":{"HTTP-Request-Metadata":{}}}}', "metadata"),
        record(block(**{"HTML-Metadata": None}), "metadata"),
        record(block([img("http://e.org/a", alt=""), img("http://e.org/b")]), "metadata"),
    ]
    found, counts = read_sources(write(tmp_path, records))
    assert [(one.image_url, one.caption, one.page_url) for one in found] == [
        ("http://e.org/b", "A cat", "https://example.org/docs/page.html")
    ]
    assert counts == {
        "records": 4, "records_not_web": 2, "records_other_media": 1, "pages": 1,
        "img_elements": 2, "images_without_caption": 1,
    }  # fmt: skip


def test_slices_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path, [page(n) for n in range(40)])
    whole = read_sources(recipe)
    monkeypatch.setattr("septet.pipelines.sources.warc.SLICE_BYTES", 700)
    parsed = parse_recipe(recipe.read_text())
    assert len(find_inputs(parsed, str(tmp_path))) > 10
    assert read_sources(recipe) == whole


def test_a_file_that_is_no_wat(tmp_path: Path) -> None:
    recipe = write(tmp_path, [])
    (tmp_path / "a.wat.gz").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"a\.wat\.gz: .*is no WARC file"):
        read_sources(recipe)


def test_the_same_bytes_with_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septet.pipelines.sources.warc.SLICE_BYTES", 4000)
    recipe = write(tmp_path, [page(n) for n in range(30)])
    write_warc(tmp_path / "images.warc.gz", site(1, 30))
    with recipe.open("a") as file:
        file.write("  - {kind: warc, paths: ['images.warc.gz']}\n")
    for workers in (1, 2, 4):
        run_build(recipe, tmp_path / f"corpus-{workers}", workers)
    samples = {row["caption"] for row in rows(tmp_path / "corpus-1", "shards")}
    assert {f"Good page with the number {n}" for n in range(28)} <= samples
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-2")
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-4")
