"""Near-duplicate images in whole builds."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from septet.pipelines.runners import make_runner
from septet.pipelines.stages import near_images
from septet.preprocess import files
from septet.schemas.recipe_file import RecipeError, parse_recipe
from tests.corpora import digests, random_image, rows, run_build
from tests.kills import FORKS, run_killed_build

SHOTS = 24
CURATE = "curate: {{near_images: on, identical_images: {identical}}}"


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def copies(number: int) -> dict[str, bytes]:
    """An image in full size, and copies that people make of it; the mirror image is none."""
    image = Image.open(io.BytesIO(random_image(300 + number, 400, 300, "PNG")))
    return {
        "full": jpeg(image, 92),
        "small": jpeg(image.resize((200, 150))),
        "coarse": jpeg(image.resize((300, 225)), 35),
        "cropped": jpeg(image.crop((3, 2, 397, 298))),
        "mirrored": jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    }


def caption(number: int, name: str) -> str:
    """What `full` and `small` say is the same, and what `cropped` says is longest."""
    words = {"coarse": "in a coarse copy", "cropped": "somebody cut the edges of with care"}
    return f"The view of valley number {number} {words.get(name, 'from a hill')}"


def write(folder: Path, identical: str, reverse: bool = False) -> Path:
    (folder / "img").mkdir(parents=True)
    lines = []
    for number in range(SHOTS):
        for name, data in copies(number).items():
            (folder / f"img/{number}-{name}.jpg").write_bytes(data)
            lines.append({"url": f"{number}-{name}.jpg", "caption": caption(number, name)})
    lines.append({"url": "0-small.jpg", "caption": "Boxes, and few pixels", "boxes": [1, 2, 3, 4]})
    if reverse:
        lines.reverse()
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: near\nsources: [{kind: list, paths: [list.jsonl], image_root: img, "
        "annotation_cols: [boxes]}]\nwrite: {samples_per_shard: 11}\n"
        + CURATE.format(identical=identical)
        + "\n"
    )
    return recipe


def kept(corpus: Path) -> set[str]:
    return {Path(row["url"]).stem for row in rows(corpus, "shards")}


def lost(corpus: Path) -> list[dict[str, Any]]:
    return [row for row in rows(corpus, "rejects") if row["reason"] == "near_duplicate_image"]


def check_rejects(corpus: Path) -> None:
    """Whoever goes names a sample that stays, of another copy of the same image."""
    names = {row["key"]: Path(row["url"]).stem for row in rows(corpus, "shards")}
    for row in lost(corpus):
        stays, bits = row["value"].removesuffix(" bits").split(", ")
        assert names[stays].split("-")[0] == Path(row["image_url"]).stem.split("-")[0]
        assert 0 <= int(bits) <= 11


def test_one_of_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path / "in", "keep_one")
    run_build(recipe, tmp_path / "one")
    expected = {f"{n}-{name}" for n in range(SHOTS) for name in ("full", "mirrored")}
    expected = expected - {"0-full"} | {"0-small"}  # the annotated one counts for more
    assert kept(tmp_path / "one") == expected
    assert len(lost(tmp_path / "one")) == 3 * SHOTS
    check_rejects(tmp_path / "one")
    monkeypatch.setattr(near_images, "MEMBERS_A_BUCKET", 50)  # as of a large corpus
    monkeypatch.setattr(near_images, "HASHES_AT_ONCE", 100)
    run_build(recipe, tmp_path / "two", workers=2)
    assert shards(tmp_path / "two") == shards(tmp_path / "one")


def test_near_images_and_near_captions_at_once_are_the_same_however_they_are_built(
    tmp_path: Path,
) -> None:
    recipes = []
    for name, reverse in (("in", False), ("reversed", True)):
        recipe = write(tmp_path / name, "keep_distinct_captions", reverse)
        text = recipe.read_text().replace(
            "near_images: on", "near_images: on, near_text: everywhere"
        )
        recipe.write_text(text)
        recipes.append(recipe)
    run_build(recipes[0], tmp_path / "one")
    reasons = Counter(row["reason"] for row in rows(tmp_path / "one", "rejects"))
    assert reasons["near_duplicate_image"] == SHOTS and reasons["near_duplicate_text"] > SHOTS / 2
    for name, recipe, options in (
        ("four", recipes[1], {"workers": 4}),
        ("embedded", recipes[1], {"runner": make_runner("embedded", 1)}),
    ):
        run_build(recipe, tmp_path / name, **options)
        assert shards(tmp_path / name) == shards(tmp_path / "one")


def shards(corpus: Path) -> dict[str, str]:
    return {name: one for name, one in digests(corpus).items() if name.startswith("shards/")}


def test_one_of_each_caption_of_an_image(tmp_path: Path) -> None:
    run_build(write(tmp_path / "in", "keep_distinct_captions"), tmp_path / "corpus")
    expected = {f"{n}-{x}" for n in range(SHOTS) for x in ("full", "coarse", "cropped", "mirrored")}
    assert kept(tmp_path / "corpus") == expected | {"0-small"}
    assert {Path(row["image_url"]).stem for row in lost(tmp_path / "corpus")} == {
        f"{n}-small" for n in range(SHOTS)
    }
    check_rejects(tmp_path / "corpus")


def test_off_unless_asked_for(tmp_path: Path) -> None:
    recipe = write(tmp_path / "in", "keep_one")
    recipe.write_text(recipe.read_text().replace("near_images: on, ", ""))
    run_build(recipe, tmp_path / "corpus")
    assert len(kept(tmp_path / "corpus")) == 5 * SHOTS and not lost(tmp_path / "corpus")


def without_looks(table: pa.Table) -> pa.Table:
    return table.drop_columns(["phash", "thumbnail"])


def with_small_thumbnails(table: pa.Table) -> pa.Table:
    at = table.column_names.index("thumbnail")
    return table.set_column(at, "thumbnail", pc.binary_slice(table["thumbnail"], 0, 288))


@pytest.mark.parametrize("earlier", [without_looks, with_small_thumbnails])
def test_a_store_of_an_earlier_version_is_looked_at_anew_and_nothing_is_fetched(
    tmp_path: Path, earlier: Callable[[pa.Table], pa.Table]
) -> None:
    recipe = write(tmp_path / "in", "keep_one")
    run_build(recipe, tmp_path / "new")
    text = recipe.read_text()
    recipe.write_text(text.replace("near_images: on, ", ""))
    run_build(recipe, tmp_path / "old")
    tables = [*(tmp_path / "old/store").rglob("*.parquet")]
    for path in tables:
        _, footer = files.read_table_metadata(str(path))
        plain = earlier(files.read_table(str(path)))
        metadata = {k.decode(): v.decode() for k, v in footer.items() if k.startswith(b"septet")}
        files.write_table(str(path), plain, metadata=metadata)
    files.remove(str(tmp_path / "old/stages"))
    recipe.write_text(text)
    run_build(recipe, tmp_path / "old")
    assert [*(tmp_path / "old/store").rglob("*.parquet")] == tables
    assert kept(tmp_path / "old") == kept(tmp_path / "new")
    assert digests(tmp_path / "old") == digests(tmp_path / "new")
    assert all(len(row["phash"]) == 16 for row in rows(tmp_path / "old", "shards"))


def test_equal_images_that_stay_are_an_error(tmp_path: Path) -> None:
    recipe = write(tmp_path / "in", "keep_all")
    with pytest.raises(RecipeError, match="even equal images stay"):
        parse_recipe(recipe.read_text(), str(recipe))


@pytest.mark.slow  # each kill costs a process
def test_killed_in_each_pass_the_build_is_the_same(tmp_path: Path) -> None:
    recipe = write(tmp_path / "in", "keep_one")
    run_build(recipe, tmp_path / "whole")
    log = tmp_path / "kills"
    for attempt in range(60):
        workers = attempt % 2 + 1
        process = FORKS.start(run_killed_build, recipe, tmp_path / "killed", workers, log)
        process.join(120)
        if process.exitcode == 0:
            break
    assert process.exitcode == 0 and len(log.read_text().splitlines()) > 15
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
