import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.sources import folder as folder_source
from septet.pipelines.sources.base import Found, ImageLocation, Input, InputError, Pair
from septet.pipelines.sources.folder import Folder
from septet.pipelines.stages.source import read_slice
from septet.schemas.reasons import Rejected
from septet.schemas.sources import FolderSource
from tests.corpora import random_image, rows, run_build


def found_in(folder: Path, counts: Counter[str] | None = None, **settings: Any) -> list[list[Found]]:  # fmt: skip
    """What each slice of a folder holds."""
    counts = Counter() if counts is None else counts
    model = FolderSource.model_validate({"kind": "folder", "paths": ["x"]} | settings)
    slices = Folder().describe(str(folder), 0).slices
    return [
        list(
            read_slice(
                Folder(),
                model,
                Input("data/pics", 0, str(folder), 0, "", part),
                counts,
            )
        )
        for part in slices
    ]


def put(path: Path, data: str | bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def test_an_image_with_its_sidecars(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    put(tmp_path / "a.txt", "\ufeffa cat\r\n\n a dog \na cat\n")
    put(tmp_path / "a.json", '{"caption": ["a cow", "a cat"], "n": NaN, "box": [1, 2]}')
    (found,) = found_in(tmp_path, extra_keys=["n", "gone"], annotation_keys=["box"])
    url = "data/pics/a.jpg"
    carried = {"extra": '{"gone":null,"n":null}', "annotations": '{"box":[1,2]}'}
    assert found == [
        ImageLocation(url, "data/pics", "a.jpg"),
        *(Pair(url, text, "sidecar", **carried) for text in ("a cat", "a dog", "a cow")),
    ]


@pytest.mark.parametrize(
    ("sidecar", "data", "reason"),
    [
        (".txt", b"caf\xe9", "sidecar_unreadable"),
        (".txt", b"x" * (2**20 + 1), "sidecar_unreadable"),
        (".txt", b" \n\n", "no_sidecar"),
        (".json", b"nope", "sidecar_unreadable"),
        (".json", b"[1]", "sidecar_unreadable"),
        (".json", b"[" * 10**5, "sidecar_unreadable"),
        (".json", b'{"caption": 7}', "caption_type"),
        (".json", b'{"text": "a cat"}', "no_sidecar"),
    ],
)
def test_each_bad_sidecar_costs_its_image_alone(
    tmp_path: Path, sidecar: str, data: bytes, reason: str
) -> None:
    put(tmp_path / "a.jpg")
    put(tmp_path / f"a{sidecar}", data)
    put(tmp_path / "b.jpg")
    put(tmp_path / "b.txt", "a dog")
    ((lost, _, kept),) = found_in(tmp_path)
    assert isinstance(lost, Rejected) and lost.reason == reason
    assert lost.image_url == "data/pics/a.jpg"
    assert isinstance(kept, Pair) and kept.caption == "a dog"


def test_a_sidecar_that_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    put(tmp_path / "a.txt/x")
    ((lost,),) = found_in(tmp_path)
    assert isinstance(lost, Rejected) and lost.reason == "sidecar_unreadable"


def test_images_alone(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    ((lost,),) = found_in(tmp_path)
    assert isinstance(lost, Rejected) and lost.reason == "no_sidecar"
    ((_, kept),) = found_in(tmp_path, without_text="keep")
    assert kept == Pair("data/pics/a.jpg", None, None)


NAMES = ["a-1.jpg", "a.PNG", "a/1.jpg", "a/b/2.webp", "a1.jpeg", "b.gif", "z[1]?.jpg", "ü 3.jpg"]


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_slices_together_are_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    for name in NAMES:
        put(tmp_path / name)
        put((tmp_path / name).with_suffix(".txt"), f"about {name}")
    put(tmp_path / "readme.md")
    put(tmp_path / "lonely.txt", "no image")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")))
    (tmp_path / "a/self").symlink_to("..")
    monkeypatch.setattr(folder_source, "SLICE_FILES", every)
    counts: Counter[str] = Counter()
    parts = found_in(tmp_path, counts)
    assert len(parts) > 1 or every == 100
    found = [one for part in parts for one in part]
    pairs = [one for one in found if isinstance(one, Pair)]
    assert {(one.image_url, one.caption) for one in pairs} == {
        (f"data/pics/{name}", f"about {name}") for name in NAMES
    }
    assert len(pairs) == len(NAMES)
    assert [one.reason for one in found if isinstance(one, Rejected)] == ["file_name"]
    assert counts == {"images_in_folder": 9, "sidecars": 9, "files_ignored": 1}


def test_an_empty_folder_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no files"):
        found_in(tmp_path)


def test_a_corpus_of_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("train/1.jpg", "train/sub/1.jpg", "val/1.jpg")):
        put(tmp_path / name, random_image(number))
        put((tmp_path / name).with_suffix(".txt"), f"the picture in {name}")
    put(tmp_path / "val/2.jpg", random_image(9))
    put(tmp_path / "val/2.json", json.dumps({"caption": "the second of val", "id": 7}))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: t\nsources: [{kind: folder, paths: ['[tv]*'], extra_keys: [id]}]\n"
        "curate: {min_side: 0}\n"
    )
    run_build(recipe, tmp_path / "corpora/t")
    samples = {row["caption"]: row for row in rows(tmp_path / "corpora/t", "shards/0000")}
    assert {text: row["url"] for text, row in samples.items()} == {
        "the picture in train/1.jpg": "train/1.jpg",
        "the picture in train/sub/1.jpg": "train/sub/1.jpg",
        "the picture in val/1.jpg": "val/1.jpg",
        "the second of val": "val/2.jpg",
    }
    assert len({row["sha256"] for row in samples.values()}) == 4
    assert samples["the second of val"]["extra"] == '{"id":7}'
    put(tmp_path / "val/2.jpg", random_image(10))  # replaced: its pixels must be the new ones
    run_build(recipe, tmp_path / "corpora/t")
    again = {row["caption"]: row["sha256"] for row in rows(tmp_path / "corpora/t", "shards/0000")}
    assert {text for text in again if again[text] != samples[text]["sha256"]} == {"the second of val"}  # fmt: skip
