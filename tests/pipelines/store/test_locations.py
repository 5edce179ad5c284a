"""Images of the build's own folders: what is read, and what each fault of a file becomes."""

from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.store.locations import MissingInputError, read_locations
from septet.preprocess.http.client import Fetched
from septet.schemas.recipe import Fetch


def row(name: str, folder: str = "in") -> dict[str, Any]:
    return {"image_url": f"{folder}/{name}", "input": folder, "name": name, "offset": None,
            "digest": f"of {name}"}  # fmt: skip


def test_an_image_may_be_as_large_as_the_bound_and_each_fault_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "in/folder.jpg").mkdir(parents=True)
    for size in (7, 1024, 1025):
        (tmp_path / f"in/{size}.jpg").write_bytes(b"x" * size)
    names = ["7.jpg", "1024.jpg", "1025.jpg", "gone.jpg", "folder.jpg"]
    settings = Fetch(max_bytes=1024)
    found = list(read_locations([*map(row, names)], str(tmp_path), settings))
    assert [digest for _, digest in found] == [f"of {name}" for name in names]
    small, exact, large, gone, folder = (got for got, _ in found)
    assert (small, exact) == (Fetched("in/7.jpg", b"x" * 7), Fetched("in/1024.jpg", b"x" * 1024))
    assert large == Fetched("in/1025.jpg", None, "too_large", "more than 1024")
    assert gone == Fetched("in/gone.jpg", None, "missing_file", "gone.jpg")
    assert (folder.body, folder.reason) == (None, "unreadable_file")
    assert str(folder.value).endswith(": folder.jpg")


def test_a_folder_that_is_gone_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="other: the folder is not there any more"):
        list(read_locations([row("a.jpg", "other")], str(tmp_path), Fetch()))
