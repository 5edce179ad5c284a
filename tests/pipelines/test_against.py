"""A new crawl against corpora that there are already: what they have goes, and none of their images
is read."""

import io
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from septet.pipelines.build import EmptyCorpusError
from septet.pipelines.stages.earlier import EarlierShard
from septet.pipelines.takedown.remove import remove
from septet.pipelines.takedown.wanted import Wanted
from septet.preprocess.shards.sidecar import SidecarError
from septet.schemas.recipe_file import RecipeError
from tests.corpora import digests, random_image, rows, run_build

OLD = {
    "pier": "An old wooden pier in the harbour of Ostend on a calm winter morning",
    "mill": "The windmill beside the canal at Kinderdijk under heavy clouds",
    "lamp": "A reading lamp of brushed brass on the desk of a notary",
}
NEW = {
    "pier": OLD["pier"],  # the same pair
    "mill-copy": OLD["mill"],  # the same bytes at another URL
    "lamp-small": OLD["lamp"],  # an image that looks the same
    "other": "An old wooden pier in the harbour of Ostend on one calm winter morning",
    "fresh": "Children fly a kite of red paper on the beach at noon",
}
BOTH = "curate: {near_images: on, near_text: everywhere}\n"


def image_bytes(name: str) -> bytes:
    made = random_image(sorted(OLD).index(name.split("-")[0]) if name.split("-")[0] in OLD else 77)
    if name == "fresh":
        made = random_image(78)
    if name.endswith("-small"):
        out = io.BytesIO()
        Image.open(io.BytesIO(made)).resize((160, 120)).save(out, "JPEG", quality=60)
        made = out.getvalue()
    return made


def write(folder: Path, captions: dict[str, str], more: str = "", shard: int = 2) -> Path:
    """A recipe over a list of local images."""
    (folder / "img").mkdir(parents=True)
    lines = []
    for name, caption in captions.items():
        (folder / f"img/{name}.jpg").write_bytes(image_bytes(name))
        lines.append(json.dumps({"url": f"{name}.jpg", "caption": caption}) + "\n")
    (folder / "list.jsonl").write_text("".join(lines))
    (folder / "recipe.yaml").write_text(
        f"name: {folder.name}\nsources: [{{kind: list, paths: [list.jsonl], image_root: img}}]\n"
        f"filter: {{language_score: 0}}\nwrite: {{samples_per_shard: {shard}}}\n{more}"
    )
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of which only the head, the lists and the sidecars are left."""
    folder = tmp_path_factory.mktemp("old")
    run_build(write(folder / "old", OLD), folder / "corpus")
    for tar in (folder / "corpus").rglob("*.tar"):
        tar.unlink()
    return folder / "corpus"


def named(corpus: Path, folder: str = "shards") -> dict[str, str]:
    """Ids by the name of the image."""
    column = "url" if folder == "shards" else "image_url"
    key = "key" if folder == "shards" else "id"
    return {Path(row[column]).stem: row[key] for row in rows(corpus, folder)}


def test_what_an_earlier_corpus_has_goes(old: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path / "new", NEW, f"dedup: {{against: ['{old}']}}\n{BOTH}")
    run_build(recipe, tmp_path / "corpus")
    assert set(named(tmp_path / "corpus")) == {"fresh"}
    theirs = named(old)
    lost = {Path(row["image_url"]).stem: row for row in rows(tmp_path / "corpus", "rejects")}
    assert {name: row["reason"] for name, row in lost.items()} == {
        "pier": "duplicate_pair",
        "mill-copy": "duplicate_image",
        "lamp-small": "near_duplicate_image",
        "other": "near_duplicate_text",
    }
    for name, row in lost.items():
        stays = theirs["pier" if name == "other" else name.split("-")[0]]
        assert row["value"].startswith(f"{stays} of {old}")
    run_build(recipe, tmp_path / "again", workers=2)
    assert digests(tmp_path / "again") == digests(tmp_path / "corpus")


def test_without_near_rules_equal_ones_go_alone(old: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path / "new", NEW, f"dedup: {{against: ['{old}']}}\n")
    run_build(recipe, tmp_path / "corpus")
    assert set(named(tmp_path / "corpus")) == {"fresh", "other", "lamp-small"}


def test_one_sample_an_image_counts_the_other_corpus(old: Path, tmp_path: Path) -> None:
    other = {"pier": "Quite another text on the pier", "fresh": NEW["fresh"]}
    one = "curate: {identical_images: keep_one}\n"
    recipe = write(tmp_path / "new", other, f"dedup: {{against: ['{old}']}}\n{one}")
    run_build(recipe, tmp_path / "corpus")
    assert set(named(tmp_path / "corpus")) == {"fresh"}
    (lost,) = rows(tmp_path / "corpus", "rejects")
    assert lost["reason"] == "duplicate_image_url"
    assert lost["value"] == f"{named(old)['pier']} of {old}"


def test_samples_that_the_other_corpus_removed_do_not_count(tmp_path: Path) -> None:
    run_build(write(tmp_path / "old", OLD), tmp_path / "old-corpus")
    recipe = write(tmp_path / "new", NEW, "dedup: {against: [../old-corpus]}\n" + BOTH)
    run_build(recipe, tmp_path / "corpus")
    assert set(named(tmp_path / "corpus")) == {"fresh"}
    gone = named(tmp_path / "old-corpus")["pier"]
    with Path(os.devnull).open("w") as nowhere:
        wanted = Wanted("ids", {gone: gone})
        remove(str(tmp_path / "old-corpus"), wanted, "test", "", Console(file=nowhere))
    run_build(recipe, tmp_path / "corpus")
    stays = set(named(tmp_path / "corpus"))
    assert "fresh" in stays and len(stays & {"pier", "other"}) == 1


def test_what_cannot_be_compared_with_is_refused(old: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path / "new", NEW, "dedup: {against: [nowhere]}\n")
    with pytest.raises(
        RecipeError, match=r"dedup\.against: nowhere cannot be read: .*septet build"
    ):
        run_build(recipe, tmp_path / "corpus")
    same = recipe.read_text().replace("nowhere", "../corpus")
    recipe.write_text(same)
    with pytest.raises(RecipeError, match="is the corpus that is built itself"):
        run_build(recipe, tmp_path / "corpus")
    recipe.write_text(same.replace("../corpus", f"{old}@best"))
    with pytest.raises(RecipeError, match=f"@best is a view: .* all samples .*; name {old}$"):
        run_build(recipe, tmp_path / "corpus")
    indexed = tmp_path / "indexed"
    shutil.copytree(old, indexed)
    head = json.loads((old / "corpus.json").read_text()) | {"recipe": None}
    (indexed / "corpus.json").write_text(json.dumps(head))
    recipe.write_text(same.replace("../corpus", str(indexed)))
    with pytest.raises(RecipeError, match="is an indexed folder, whose samples have no ids"):
        run_build(recipe, tmp_path / "corpus")
    only_old = write(tmp_path / "only", OLD, f"dedup: {{against: ['{old}']}}\n")
    with pytest.raises(EmptyCorpusError, match="duplicate_pair 3"):
        run_build(only_old, tmp_path / "none")


def test_a_sidecar_that_no_build_has_written_is_told_by_its_name(old: Path, tmp_path: Path) -> None:
    where = min((old / "shards").rglob("*.parquet"))
    good, path = pq.read_table(where), tmp_path / "x.parquet"

    def with_values(name: str, values: pa.Array) -> pa.Table:
        return good.set_column(good.column_names.index(name), name, values)

    shard, rows = EarlierShard(0, str(path), (), len(good)), len(good)
    for table, message in (
        (with_values("key", pa.array(["x1"] * rows)), "a `key` is no id"),
        (with_values("key", pa.nulls(rows, pa.string())), "a `key` is no id"),
        (with_values("phash", pa.array(["0123456789abcdeg"] * rows)), "a `phash` is none"),
        (with_values("phash", pa.array([5] * rows)), "a `phash` is none"),
        (with_values("sha256", pa.array(["ab\n"] * rows)), "a `sha256` is none"),
        (with_values("width", pa.array([0] * rows)), "a side without a pixel"),
        (with_values("width", pa.array(["wide"] * rows)), "Failed to parse"),
        (with_values("caption", pa.array([{"a": 1}] * rows)), "cast"),
        (good.drop_columns(["key"]), "key"),
    ):
        pq.write_table(table, path)
        with pytest.raises(SidecarError, match=f"^dedup.against: {path} .*{message}.*septet check"):
            shard.read()
    damaged = bytearray(where.read_bytes())
    damaged[4:200] = bytes(196)
    path.write_bytes(damaged)
    with pytest.raises(SidecarError, match=r"^dedup\.against: .* cannot be used"):
        shard.read()
    path.unlink()
    with pytest.raises(SidecarError, match=r"^dedup\.against: .* cannot be used"):
        shard.read()
    # What older formats do not have is not known.
    pq.write_table(good.drop_columns(["phash", "thumbnail", "sha256"]), path)
    assert shard.read()["phash"].null_count == rows
    pq.write_table(with_values("width", pa.array([9] * rows, pa.int64())), path)
    assert shard.read()["width"].to_pylist() == [9] * rows


def test_shards_are_planned_for_what_is_left(tmp_path: Path) -> None:
    words = [f"{place} of the {thing}" for place in ("Roof", "Door", "Garden", "Cellar", "Yard")
             for thing in ("mill", "school", "castle", "inn", "barn", "church", "farm", "tower")]  # fmt: skip
    texts = {"old": words[:32], "new": [*words, *words[:9]]}
    for name, captions in texts.items():
        folder = tmp_path / name
        folder.mkdir()
        lines = [json.dumps({"caption": text}) + "\n" for text in captions]
        (folder / "list.jsonl").write_text("".join(lines))
        more = "dedup: {against: [../old-corpus]}\n" if name == "new" else ""
        (folder / "recipe.yaml").write_text(
            f"name: {name}\nsources: [{{kind: list, paths: [list.jsonl], url_col: null}}]\n"
            f"write: {{samples_per_shard: 4}}\n{more}"
        )
    run_build(tmp_path / "old/recipe.yaml", tmp_path / "old-corpus")
    run_build(tmp_path / "new/recipe.yaml", tmp_path / "corpus", workers=2)
    kept = rows(tmp_path / "corpus", "shards")
    assert {row["caption"] for row in kept} == set(words[32:])
    assert len(kept) == 8
    shards = pq.read_table(tmp_path / "corpus/shards.parquet")
    assert len(shards) <= 2 and max(shards["tar"].to_pylist()) < "shards/0000/0000002"
