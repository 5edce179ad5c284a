"""Tars of samples as inputs of a build."""

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.sources import webdataset
from septet.pipelines.sources.base import Found, ImageLocation, Input, InputError, Pair
from septet.pipelines.sources.webdataset import WebDataset
from septet.pipelines.stages.source import read_slice
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from septet.schemas.sources import WebDatasetSource
from tests.corpora import random_image, rows, run_build
from tests.object_store import object_store, upload
from tests.tars import sample_of, tar_of, write_tars

WORDS = b"words of a sample"


def found_in(path: Path, counts: Counter[str] | None = None, **settings: Any) -> list[list[Found]]:
    """What each slice of a tar holds."""
    counts = Counter() if counts is None else counts
    model = WebDatasetSource.model_validate({"kind": "webdataset", "paths": ["x"]} | settings)
    size = path.stat().st_size
    slices = WebDataset().describe(str(path), size).slices
    return [
        list(
            read_slice(
                WebDataset(),
                model,
                Input("in/a.tar", 0, str(path), size, "", part, number, len(slices)),
                counts,
            )
        )
        for number, part in enumerate(slices)
    ]


def of(tmp_path: Path, members: list[tuple[str, bytes]], **settings: Any) -> list[Found]:
    (tmp_path / "a.tar").write_bytes(tar_of(members))
    (found,) = found_in(tmp_path / "a.tar", **settings)
    return found


def test_rows_beside_a_tar_that_are_no_samples_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tars(tmp_path, 1, 4)
    path = tmp_path / "00000.tar"
    status = ["failed_to_download", *["success"] * 4, "failed_to_resize", "failed_to_download"]
    told = {"key": [f"{n:09d}" for n in (8, 0, 1, 2, 9, 6, 7)], "status": status}
    pq.write_table(pa.table(told), tmp_path / "00000.parquet")
    counts: Counter[str] = Counter()
    assert len(found_in(path, counts)[0]) == 8
    assert counts == {
        "members_ignored": 0, "rows_without_sample_failed_to_download": 2,
        "rows_without_sample_failed_to_resize": 1, "rows_without_sample": 1,
    }  # fmt: skip
    monkeypatch.setattr(webdataset, "SLICE_BYTES", 10)  # no reader sees all keys
    counts.clear()
    assert len(found_in(path, counts)) == 4
    assert counts["rows_without_sample_failed_to_download"] == 2 and "rows_without_sample" not in counts  # fmt: skip
    (tmp_path / "00000.parquet").write_bytes(b"no Parquet")
    counts.clear()
    found_in(path, counts)
    assert counts["parquet_unreadable"] == 1


def test_a_sample_of_img2dataset(tmp_path: Path) -> None:
    members = sample_of("000000007", 7, width=64, punsafe=float("nan"))
    counts: Counter[str] = Counter()
    location, pair = of(
        tmp_path, members, counts=counts, extra_keys=["key", "punsafe"], annotation_keys=["width"]
    )
    url = "http://e.org/7.jpg"
    image = members[0][1]
    assert location == ImageLocation(url, "in/a.tar", None, 512, len(image), "tar")
    extra = '{"key":"000000007","punsafe":null}'
    assert pair == Pair(
        url, "Caption 7 of the tars", "txt", extra=extra, annotations='{"width":64}'
    )
    assert counts == {"members_ignored": 0}


def test_captions_from_texts_keys_and_classes(tmp_path: Path) -> None:
    told = {"caption": ["a cat", "a dog"], "lang": "en", "blip": "a cow"}
    members = [
        ("d/x.JPEG", b"pixels"), ("d/x.txt", b"\xef\xbb\xbfa\n cat"), ("d/x.alt", b"a bird"),
        ("d/x.cls", b"1\n"), ("d/x.json", json.dumps(told).encode()), ("d/x.seg.png", b"mask"),
    ]  # fmt: skip
    counts: Counter[str] = Counter()
    location, *pairs = of(
        tmp_path, members, counts=counts, caption_exts=["TXT", "alt"], class_names=["fish", "horse"],
        language_key="lang",
    )  # fmt: skip
    assert isinstance(location, ImageLocation)
    assert location.image_url == "in/a.tar/d/x.JPEG" and location.length == 6
    assert [(p.caption, p.caption_from, p.page_language) for p in pairs if isinstance(p, Pair)] == [
        ("a cat", "txt", "en"), ("a bird", "alt", "en"), ("a dog", "json", "en"),
        ("horse", "cls", "en"),
    ]  # fmt: skip
    assert counts == {"members_ignored": 1}
    _, *pairs = of(tmp_path, members, caption_exts=[], caption_key="blip")
    assert [p.caption for p in pairs if isinstance(p, Pair)] == ["a cow"]


def test_the_first_extension_that_a_sample_has_is_its_image(tmp_path: Path) -> None:
    members = [("x.png", b"mask"), ("x.jpg", b"pixels"), ("x.txt", WORDS)]
    for exts, name in ((["jpg", "png"], "x.jpg"), (["png"], "x.png")):
        location, _ = of(tmp_path, members, image_exts=exts)
        assert isinstance(location, ImageLocation) and location.image_url == f"in/a.tar/{name}"


@pytest.mark.parametrize(
    ("members", "reason", "value"),
    [
        ([("x.jpg", b"p"), ("x.txt", b"caf\xe9")], "sidecar_unreadable", "x.txt: byte 0xe9 at 3"),
        ([("x.jpg", b"p"), ("x.txt", b"x" * (2**20 + 1))], "sidecar_unreadable", "more than"),
        ([("x.jpg", b"p"), ("x.json", b"nope")], "sidecar_unreadable", "not JSON"),
        ([("x.jpg", b"p"), ("x.json", b"[" * 10**5)], "sidecar_unreadable", "nested"),
        ([("x.jpg", b"p"), ("x.json", b"[]")], "sidecar_unreadable", "found list"),
        ([("x.jpg", b"p"), ("x.json", b'{"caption": 7}')], "caption_type", "int: 7"),
        ([("x.jpg", b"p"), ("x.txt", WORDS), ("x.cls", b"2")], "caption_type", "class in .cls: '2'"),
        ([("x.jpg", b"p"), ("x.txt", b" \n")], "tar_sample", "no caption in x"),
        ([("x.txt", WORDS)], "tar_sample", "no image in x"),
        ([("x.npy", b"p")], "no_image_or_text", "x"),
        ([("x.jpg", b"p"), ("x.jpg", b"q"), ("x.txt", WORDS)], "tar_sample", "'x.jpg' is there twice"),
        ([("x.jpg", b"p"), ("x\udcff.txt", WORDS)], "tar_sample", "no caption in x"),
    ],
)  # fmt: skip
def test_each_bad_sample_costs_itself(
    tmp_path: Path, members: list[tuple[str, bytes]], reason: str, value: str
) -> None:
    data = [*sample_of("a", 1), *members, *sample_of("z", 2)]
    found = of(tmp_path, data, class_names=["fish", "horse"])
    assert [one.caption for one in found if isinstance(one, Pair)] == [
        "Caption 1 of the tars", "Caption 2 of the tars"
    ]  # fmt: skip
    lost, *more = (one for one in found if isinstance(one, Rejected))
    assert lost.reason == reason and value in str(lost.value)
    assert all("not UTF-8" in str(one.value) for one in more)


def test_incomplete_samples_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    members = [("a.jpg", b"p"), ("b.txt", WORDS), ("c.npy", b"p")]
    found = of(tmp_path, members, incomplete_samples="keep")
    assert [getattr(one, "reason", None) for one in found] == [None, None, None, "no_image_or_text"]
    _, image, text, _ = found
    assert image == Pair("in/a.tar/a.jpg", None, None)
    assert text == Pair(None, WORDS.decode(), "txt")


def test_a_url_that_is_none_leaves_the_path(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for url in ("ftp://e.org/x", "", None, 7, ["http://e.org/x"], "http://[x"):
        location, pair = of(tmp_path, sample_of("a", 1, url=url), counts=counts)
        assert isinstance(pair, Pair) and pair.image_url == "in/a.tar/a.jpg"
        assert isinstance(location, ImageLocation) and location.image_url == "in/a.tar/a.jpg"
    assert counts["urls_not_used"] == 4
    _, pair = of(tmp_path, sample_of("a", 1), url_key=None)
    assert isinstance(pair, Pair) and pair.image_url == "in/a.tar/a.jpg"


@pytest.mark.parametrize("every", [1, 40_000, 10**9])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_slices_together_are_the_tar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, form: int
) -> None:
    """Also where content looks like a tar, names take headers of their own, and zeros lie between."""
    inner = tar_of(sample_of("inner", 99))
    long = "" if form == tarfile.USTAR_FORMAT else "é" * 90
    members = [
        member
        for n in range(20)
        for member in [*sample_of(f"{long}{n:03d}", n), (f"{long}{n:03d}.tar", inner)]
    ]
    (tmp_path / "a.tar").write_bytes(tar_of(members[:40], form) + tar_of(members[40:], form))
    monkeypatch.setattr(webdataset, "SLICE_BYTES", every)
    parts = found_in(tmp_path / "a.tar")
    assert {1: [20], 40_000: range(5, 15), 10**9: [1]}[every].count(len(parts)) == 1
    pairs = [one for part in parts for one in part if isinstance(one, Pair)]
    assert [pair.caption for pair in pairs] == [f"Caption {n} of the tars" for n in range(20)]
    data = (tmp_path / "a.tar").read_bytes()
    places = [one for part in parts for one in part if isinstance(one, ImageLocation)]
    for n, place in enumerate(places):
        start = place.offset or 0
        assert data[start : start + (place.length or 0)] == random_image(n, 64, 48)


def test_a_tar_whose_keys_stand_apart_is_one_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader must see both places, for they would have one name."""
    monkeypatch.setattr(webdataset, "SLICE_BYTES", 1)
    members = [*sample_of("a", 1, url=None), *sample_of("b", 2), *sample_of("a", 3, url=None)]
    found = of(tmp_path, members)
    assert [one.caption for one in found if isinstance(one, Pair)] == [
        "Caption 1 of the tars", "Caption 2 of the tars"
    ]  # fmt: skip
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert (lost.reason, lost.value) == ("tar_sample", "the members of 'a' are not adjacent")


@pytest.mark.parametrize("every", [1, 10**9])
def test_a_tar_that_is_cut_short_gives_what_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(webdataset, "SLICE_BYTES", every)
    data = tar_of([*sample_of("a", 1), *sample_of("b", 2), *sample_of("c", 3)])
    (tmp_path / "a.tar").write_bytes(data[: data.index(b"c.json") + 530])
    with pytest.raises(InputError, match=r"stopped after sample .*'c.json' at offset .* cut short"):
        found_in(tmp_path / "a.tar")
    found = [one for part in found_in(tmp_path / "a.tar", on_broken_input="reject") for one in part]
    assert [one.caption for one in found if isinstance(one, Pair)] == [
        "Caption 1 of the tars", "Caption 2 of the tars"
    ]  # fmt: skip
    assert [one.reason for one in found if isinstance(one, Rejected)] == ["input_broken"]


def test_other_files_are_no_tars(tmp_path: Path) -> None:
    for data, message in ((b"", "is empty"), (b"PAR1" * 300, "no member's header at offset 0"),
                          (b"\x1f\x8b" + b"\0" * 600, "is gzip, no plain tar: unpack it first")):  # fmt: skip
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(InputError, match=message):
            found_in(tmp_path / "a.tar")


RECIPE = (
    "name: tars\nsources: [{{kind: webdataset, paths: ['{}/*.tar'], extra_keys: [id]}}]\n"
    "image: {{image_size: 32}}\nwrite: {{samples_per_shard: 5}}\n"
)


def test_a_corpus_of_tars_is_a_source_again(tmp_path: Path) -> None:
    write_tars(tmp_path / "in")
    (tmp_path / "r.yaml").write_text(RECIPE.format("in"))
    run_build(tmp_path / "r.yaml", tmp_path / "one")
    samples = rows(tmp_path / "one", "shards")
    assert {(row["url"], row["caption"], row["extra"]) for row in samples} == {
        (f"http://e.org/{n}.jpg", f"Caption {n} of the tars", f'{{"id":{n}}}') for n in range(12)
    }
    (tmp_path / "again.yaml").write_text(
        "name: again\nsources: [{kind: webdataset, paths: ['one/shards/*/*.tar']}]\n"
        "image: {image_size: 32}\nwrite: {samples_per_shard: 5}\n"
    )
    run_build(tmp_path / "again.yaml", tmp_path / "two")
    first, second = (Corpus(str(tmp_path / name)) for name in ("one", "two"))
    assert [second.key(i) for i in range(12)] == [first.key(i) for i in range(12)]
    assert [sample["jpg"] for sample in second] == [sample["jpg"] for sample in first]
    assert check_corpus(str(tmp_path / "two"), True, Console(quiet=True)) == []


def test_tars_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(tmp_path / "in")
    (tmp_path / "r.yaml").write_text(RECIPE.format("in"))
    run_build(tmp_path / "r.yaml", tmp_path / "local")
    monkeypatch.setattr(webdataset, "SLICE_BYTES", 4000)
    with object_store() as bucket:
        upload(tmp_path / "in", f"{bucket}/in")
        (tmp_path / "s.yaml").write_text(RECIPE.format(f"{bucket}/in"))
        run_build(tmp_path / "s.yaml", tmp_path / "remote")
    of_local, of_remote = (
        [{**row, "source": "", "members": []} for row in rows(tmp_path / name, "shards")]
        for name in ("local", "remote")
    )
    assert of_remote == of_local and len(of_local) == 12


def test_an_image_too_large_or_gone_is_lost_alone(tmp_path: Path) -> None:
    members = [*sample_of("a", 1), ("b.jpg", b"\0" * 90_000), ("b.txt", WORDS), *sample_of("c", 3)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tar").write_bytes(tar_of(members))
    (tmp_path / "r.yaml").write_text(RECIPE.format("in") + "fetch: {max_bytes: 50000}\n")
    run_build(tmp_path / "r.yaml", tmp_path / "one")
    lost = rows(tmp_path / "one", "rejects")
    assert [(row["reason"], row["value"]) for row in lost] == [("too_large", "90000")]
    assert len(Corpus(str(tmp_path / "one"))) == 2
