"""Samples without an image, without a text, and with annotations, from list to corpus."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.stages.dedup import shards_a_range
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.text.ids import sample_id
from tests.corpora import digests, random_image, rows, run_build


def write(folder: Path, lines: list[dict[str, Any]], source: str = "", more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "img").mkdir(exist_ok=True)
    for n in range(30):
        (folder / f"img/{n}.jpg").write_bytes(random_image(n))
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: kinds\nsources: [{kind: list, paths: [list.jsonl], image_root: img, "
        f"incomplete_rows: keep, {source}}}]\n{more}\n"
    )
    return recipe


def members(corpus: Path) -> list[tuple[str, ...]]:
    """Extensions of each sample's members."""
    return [tuple(sorted(set(sample) - {"__key__"})) for sample in Corpus(str(corpus))]


def test_texts_alone(tmp_path: Path) -> None:
    texts = [f"A text that has the number {n % 40} and no picture" for n in range(60)]
    recipe = write(tmp_path / "in", [{"caption": text} for text in texts], "url_col: null",
                   "write: {samples_per_shard: 10}")  # fmt: skip
    corpus = tmp_path / "corpus"
    assert run_build(recipe, corpus).manifest.samples == 40
    assert members(corpus) == [("json", "txt")] * 40
    assert len(list(corpus.rglob("*.tar"))) == 4, "texts spread over the shards"
    assert [r["reason"] for r in rows(corpus, "rejects")] == ["duplicate_pair"] * 20
    for row in rows(corpus, "shards"):
        assert row["key"] == sample_id(None, row["caption"])
        assert (row["url"], row["sha256"], row["width"]) == (None, None, None)
    assert check_corpus(str(corpus), True, Console(quiet=True)) == []
    run_build(recipe, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(corpus)


def test_images_alone(tmp_path: Path) -> None:
    lines = [{"url": f"{n % 25}.jpg"} for n in range(30)]
    recipe = write(tmp_path / "in", lines, "caption_col: null", "filter: {languages: [en]}")
    corpus = tmp_path / "corpus"
    assert run_build(recipe, corpus).manifest.samples == 25
    assert members(corpus) == [("jpg", "json")] * 25
    assert [r["reason"] for r in rows(corpus, "rejects")] == ["duplicate_pair"] * 5
    assert {row["caption"] for row in rows(corpus, "shards")} == {None}
    assert check_corpus(str(corpus), True, Console(quiet=True)) == []


def test_all_kinds_together(tmp_path: Path) -> None:
    both = [{"url": f"{n}.jpg", "caption": f"A picture and a text {n}"} for n in range(10)]
    alone = [{"url": f"{n}.jpg"} for n in range(20)]
    texts = [{"caption": f"A picture and a text {n}"} for n in range(5)]
    recipe = write(tmp_path / "in", [*both, *alone, *texts, {"caption": ""}, {"url": "gone.jpg"}],
                   more="curate: {identical_images: keep_all}")  # fmt: skip
    corpus = tmp_path / "corpus"
    assert run_build(recipe, corpus).manifest.samples == 35
    kinds = members(corpus)
    assert kinds.count(("jpg", "json", "txt")) == 10
    assert kinds.count(("jpg", "json")) == 20
    assert kinds.count(("json", "txt")) == 5
    lost = sorted(r["reason"] for r in rows(corpus, "rejects"))
    assert lost == ["missing_file", "no_image_or_text"]
    one = write(tmp_path / "in", [*both, *alone, *texts],
                more="curate: {identical_images: keep_one}")  # fmt: skip
    assert run_build(one, corpus).manifest.samples == 25
    found = {(row["url"], row["caption"]) for row in rows(corpus, "shards")}
    assert ("img/3.jpg", "A picture and a text 3") in found, "the longest caption stays"
    assert (None, "A picture and a text 3") in found
    assert ("img/13.jpg", None) in found


@pytest.mark.parametrize("identical", ["keep_distinct_captions", "keep_all"])
def test_annotations_are_part_of_a_sample(tmp_path: Path, identical: str) -> None:
    words = "The man on the left side"
    lines = [
        {"url": "1.jpg", "caption": words, "box": [0, 0, 5, 5]},
        {"url": "1.jpg", "caption": words, "box": [9, 9, 20, 20]},
        {"url": "1.jpg", "caption": words, "box": [9, 9, 20, 20]},
        {"url": "2.jpg", "box": [1, 2, 3, 4]},
        {"url": "2.jpg", "box": [1, 2, 3, 5]},
    ]
    recipe = write(tmp_path / "in", lines, "annotation_cols: [box]",
                   f"curate: {{identical_images: {identical}}}")  # fmt: skip
    corpus = tmp_path / "corpus"
    assert run_build(recipe, corpus).manifest.samples == 4
    boxes = sorted(json.loads(sample["json"])["annotations"]["box"] for sample in
                   Corpus(str(corpus)))  # fmt: skip
    assert boxes == [[0, 0, 5, 5], [1, 2, 3, 4], [1, 2, 3, 5], [9, 9, 20, 20]]
    (lost,) = rows(corpus, "rejects")
    assert (lost["reason"], json.loads(lost["annotations"])) == (
        "duplicate_pair", {"box": [9, 9, 20, 20]},
    )  # fmt: skip


def test_two_folders_with_the_same_names(tmp_path: Path) -> None:
    lines = [{"url": "1.jpg", "caption": f"A picture of the {one} folder"} for one in ("a", "b")]
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}/1.jpg").write_bytes(random_image(number))
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(lines[number]))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: two\nsources:\n"
        + "".join(f"  - {{kind: list, paths: [{n}.jsonl], image_root: {n}}}\n" for n in "ab")
    )
    run_build(recipe, tmp_path / "corpus")
    found = {sample["txt"].decode(): sample["jpg"] for sample in Corpus(str(tmp_path / "corpus"))}
    assert found == {lines[n]["caption"]: random_image(n) for n in range(2)}


def test_a_replaced_image_is_read_again(tmp_path: Path) -> None:
    recipe = write(tmp_path, [{"url": "1.jpg", "caption": "A picture that is replaced"}])
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    assert run_build(recipe, corpus).nothing_to_do
    (tmp_path / "img/1.jpg").write_bytes(random_image(77))
    assert not run_build(recipe, corpus).nothing_to_do
    assert [sample["jpg"] for sample in Corpus(str(corpus))] == [random_image(77)]


def test_one_image_with_very_many_captions(tmp_path: Path) -> None:
    lines = [{"url": "1.jpg", "caption": f"A caption with the number {n}"} for n in range(1500)]
    recipe = write(tmp_path, lines)
    assert run_build(recipe, tmp_path / "corpus").manifest.samples == 1000
    lost = rows(tmp_path / "corpus", "rejects")
    assert {(r["reason"]) for r in lost} == {"duplicate_image_url"}
    assert len(lost) == 500


def test_more_shards_than_ranges_of_shards(tmp_path: Path) -> None:
    lines = [{"caption": f"A text that has the number {n}"} for n in range(160)]
    recipe = write(tmp_path, lines, "url_col: null", "write: {samples_per_shard: 1}")
    corpus = tmp_path / "corpus"
    assert shards_a_range(160, 160) == 2
    run_build(recipe, corpus)
    found = [row["key"] for row in rows(corpus, "shards")]
    assert found == sorted(sample_id(None, line["caption"]) for line in lines)
    plans = list((corpus / "stages/plans").rglob("*.parquet"))
    assert len(plans) == 160
    assert check_corpus(str(corpus), True, Console(quiet=True)) == []
