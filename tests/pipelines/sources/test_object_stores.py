"""Sources of folders on an object store: the same samples as from a disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.sources import annotated, folder
from tests.corpora import digests, rows, run_build
from tests.every_source import write_every_source
from tests.object_store import Throttle, download, object_store, upload
from tests.read_sources import read_sources

RECIPE = """
name: folders
sources:
  - {{kind: folder, paths: ['{0}/imag?s'], without_text: keep}}
  - {{kind: list, paths: ['{0}/imagefolder/**/metadata.csv'], url_col: file_name, caption_col: text,
     images_beside: true}}
  - {{kind: annotated, paths: ['{0}/s*t/'], files: ['notes/*.json'], images: pixels}}
image: {{image_size: 64}}
"""


def told(corpus: Path, of: str, root: str) -> list[tuple[Any, ...]]:
    """What rows say, the folder that their names begin with aside."""
    return sorted(
        (
            str(row["source"]).removeprefix(root),
            str(row.get("url") or row.get("image_url") or row.get("value")).removeprefix(root),
            str(row["caption"]),
            json.dumps([row.get("sha256"), row.get("reason"), row["extra"]]),
        )
        for row in rows(corpus, of)
    )


def test_folders_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store throttles, and so it does while a corpus is built into it."""
    write_every_source(tmp_path / "in")
    (tmp_path / "in/images/0.txt").write_text("A text beside an image\nand another")
    (tmp_path / "local.yaml").write_text(RECIPE.format("in"))
    run_build(tmp_path / "local.yaml", tmp_path / "local")
    throttle = Throttle(0.03)
    with object_store(throttle) as bucket:
        run_build(tmp_path / "local.yaml", f"{bucket}/corpus", workers=2)
        assert throttle.answered
        throttle.answered = 0
        there = digests(download(f"{bucket}/corpus", tmp_path / "there"))
        assert there == digests(tmp_path / "local")
        monkeypatch.setattr(annotated, "SLICE_BYTES", 100)
        monkeypatch.setattr(folder, "SLICE_FILES", 3)
        upload(tmp_path / "in", f"{bucket}/in")
        (tmp_path / "remote.yaml").write_text(RECIPE.format(f"{bucket}/in"))
        run_build(tmp_path / "remote.yaml", tmp_path / "remote")
        kinds = [len(read_sources(tmp_path / f"{name}.yaml")[0]) for name in ("local", "remote")]
    assert throttle.answered
    assert kinds[0] == kinds[1]
    for of in ("shards", "rejects"):
        assert told(tmp_path / "remote", of, f"{bucket}/in/") == told(tmp_path / "local", of, "in/")
    found = {row["source"].removeprefix(f"{bucket}/in/") for row in rows(tmp_path / "remote", "shards")}  # fmt: skip
    assert found == {"images", "imagefolder/train/metadata.csv", "set"}
