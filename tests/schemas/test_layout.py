"""Where the files of a corpus lie."""

from pathlib import Path

import pytest

from septet.schemas import layout
from septet.schemas.format_reference import reference


def test_paths_of_shards_and_columns() -> None:
    assert layout.shard_tar(0) == "shards/0000/0000000.tar"
    assert layout.shard_sidecar(1_234_567) == "shards/1234/1234567.parquet"
    assert layout.column_tar("boxes", layout.shard_tar(1999)) == "columns/boxes/0001/0001999.tar"
    assert layout.column_sidecar("boxes", "00007.tar") == "columns/boxes/00007.parquet"
    assert layout.index_sidecar("00007.tar") == "index/sidecars/00007.parquet"


def test_names_sort_as_their_numbers_do() -> None:
    numbers = [0, 1, 9, 999, 1000, 99_999, 100_000, 999_999, 1_000_000, 9_999_999]
    names = [layout.shard_tar(number) for number in numbers]
    assert names == sorted(names)
    folders = [layout.shard_name(number).split("/")[0] for number in range(3000)]
    assert max(map(folders.count, set(folders))) == 1000


@pytest.mark.parametrize(
    "path",
    ["../x.tar", "shards/../../x", "/etc/passwd", "", ".", "s3://b/x.tar", "file:///etc/passwd",
     "a::b.tar", "shards/\0.tar", "..\\x"],
)  # fmt: skip
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(layout.LayoutError, match=r"corpus\.json names"):
        layout.inside(path, "corpus.json")


@pytest.mark.parametrize("path", ["00000.tar", "shards/0000/0000000.tar", "a b/c..d.tar", "..x"])
def test_a_path_that_stays_is_taken(path: str) -> None:
    assert layout.inside(path, "corpus.json") == path


@pytest.mark.parametrize(("ext", "found"), [
    ("jpg", True), ("JPG", True), ("webp", True), ("txt", False), ("seg.png", False), ("", False),
])  # fmt: skip
def test_images_are_known_by_their_extension(ext: str, found: bool) -> None:
    assert layout.is_image(ext) is found


def test_the_format_reference_is_current() -> None:
    found = (Path(__file__).parents[2] / "docs/format.md").read_text()
    assert found == reference() + "\n", "run `make docs`"
    assert (layout.__doc__ or "") in found
