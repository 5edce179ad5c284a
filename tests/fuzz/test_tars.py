"""Tars that are damaged at random: nothing is raised, and each sample is kept or lost."""

import io
import tarfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources import webdataset
from septet.pipelines.sources.webdataset import WebDataset
from septet.preprocess.shards.tar import split_name
from septet.schemas.sources import WebDatasetSource
from tests.fuzz.inputs import damaged, pairs_of, read_all
from tests.tars import tar_of

KEYS = st.sampled_from(["a", "b", "c", "d/e", "é", "k" * 120, ".hidden", "d/e/f", ""])
EXTS = st.sampled_from(["jpg", "txt", "json", "cls", "png", "seg.png", "JPG", ""])
CONTENT = st.binary(max_size=20) | st.sampled_from(
    [b"Some words", b'{"caption": "Words of JSON", "url": "http://e.org/1.jpg"}', b"[" * 300, b"1",
     b"x" * 1500, tar_of([("inner.txt", b"Words within")])]
)  # fmt: skip
MEMBERS = st.lists(st.tuples(KEYS, EXTS, CONTENT), max_size=10).map(
    lambda found: [(f"{key}.{ext}" if ext else key or "x", data) for key, ext, data in found]
)
FORMS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
TARS = st.tuples(MEMBERS, MEMBERS, FORMS).map(
    lambda parts: tar_of(parts[0], parts[2]) + tar_of(parts[1], parts[2])
)
SETTINGS = WebDatasetSource(
    kind="webdataset",
    paths=["x"],
    on_broken_input="reject",
    incomplete_samples="keep",
    class_names=["A class of things", "Another class"],
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tars") / "a.tar"


@given(data=damaged(TARS))
def test_samples_of_damaged_tars_are_the_same_in_slices(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    found, counts, _ = read_all(WebDataset(), SETTINGS, path)
    with mock.patch.object(webdataset, "SLICE_BYTES", 1024):
        again, recounted, _ = read_all(WebDataset(), SETTINGS, path)
    assert pairs_of(again) == pairs_of(found)
    assert recounted == counts


@given(members=MEMBERS, form=FORMS)
def test_samples_are_those_that_tarfile_finds(
    path: Path, members: list[tuple[str, bytes]], form: int
) -> None:
    path.write_bytes(tar_of(members, form))
    keys: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        for name in tar.getnames():
            key, ext = split_name(name)
            if ext and not name.rpartition("/")[2].startswith(".") and keys[-1:] != [key]:
                keys.append(key)
    found, _, _ = read_all(WebDataset(), SETTINGS, path)
    places = [one for one in found if not isinstance(one, webdataset.ImageLocation)]
    assert len({*keys}) <= len(places) or not keys
    assert len(places) >= len(keys)
