"""JSON files with a version: what is written, and which versions are read."""

import json
from typing import ClassVar

import pytest

from septet.schemas.columns import ColumnManifest, ColumnManifestV1
from septet.schemas.manifest import Manifest, ManifestV1
from septet.schemas.versioned import ManifestError, Versioned


class Note(Versioned):
    file: ClassVar[str] = "note.json"
    remedy: ClassVar[str] = "write it again"
    newest: ClassVar[int] = 3
    newest_minor: ClassVar[int] = 1
    share: float


def test_equal_content_is_equal_text_and_comes_back() -> None:
    note = Note(format_version=3, format_minor=1, share=0.5)
    assert note.to_json() == '{\n "format_version": 3,\n "format_minor": 1,\n "share": 0.5\n}\n'
    assert Note.from_json(note.to_json()) == note


@pytest.mark.parametrize(("kind", "version"), [
    (Manifest, (3, 1)), (ManifestV1, (1, 0)), (ColumnManifest, (2, 1)), (ColumnManifestV1, (1, 0)),
])  # fmt: skip
def test_versions_are_those_of_the_corpora_that_exist(
    kind: type[Versioned], version: tuple[int, int]
) -> None:
    assert (kind.newest, kind.newest_minor) == version


@pytest.mark.parametrize("share", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_not_written(share: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Note(format_version=3, share=share).to_json()


@pytest.mark.parametrize(("version", "minor", "more", "message"), [
    (3, 1, {}, None),
    (2, 9, {}, None),
    (3, 2, {"new": 1}, None),
    (3, 1, {"new": 1}, "does not have a manifest's form"),
    (4, 0, {}, "note.json has format version 4"),
])  # fmt: skip
def test_newer_minor_versions_are_read_and_newer_major_ones_refused(
    version: int, minor: int, more: dict[str, int], message: str | None
) -> None:
    text = json.dumps({"format_version": version, "format_minor": minor, "share": 1.0} | more)
    if message is None:
        assert Note.from_json(text).share == 1.0
    else:
        with pytest.raises(ManifestError, match=message):
            Note.from_json(text)
