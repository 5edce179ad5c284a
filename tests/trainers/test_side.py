"""Lines of a side file: any of them, of local and remote files of any end."""

import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

from septet.trainers.loader.side import Lines

TEXTS = {
    "": [],
    "\n": [""],
    "one": ["one"],
    "one\n": ["one"],
    "one\ntwo": ["one", "two"],
    "one\n\ntrès\n": ["one", "", "très"],
    "\n\nlast": ["", "", "last"],
}


@pytest.mark.parametrize("text", TEXTS)
def test_lines_are_those_of_the_file(tmp_path: Path, text: str) -> None:
    wanted = TEXTS[text]
    (tmp_path / "a.txt").write_text(text)
    remote = f"memory://{uuid.uuid4().hex}/a.txt"
    with fsspec.open(remote, "wb") as file:
        file.write(text.encode())
    for path in (str(tmp_path / "a.txt"), remote):
        lines = Lines(path)
        assert len(lines) == len(wanted) and list(lines) == wanted
        assert [lines[i] for i in range(-len(wanted), 0)] == wanted
        assert lines[1:] == wanted[1:] and lines[::-1] == wanted[::-1]
        for beyond in (len(wanted), -len(wanted) - 1):
            with pytest.raises(IndexError, match=f"line {beyond} of {len(wanted)}"):
                lines[beyond]


def test_a_local_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    assert isinstance(Lines(str(tmp_path / "a.txt"))._data, np.memmap)
    with pytest.raises(ValueError, match="there is no such side file"):
        Lines(str(tmp_path / "b.txt"))
