"""The fetch store: what is asked of servers, over many builds of one corpus."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from septet.pipelines.build import _run_stage, chain
from septet.pipelines.check import check_corpus
from septet.pipelines.inputs import find_inputs
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import make_runner
from septet.pipelines.stages import missing
from septet.pipelines.stages.fetch import FetchTask
from septet.pipelines.store.reader import StoreError
from septet.preprocess.shards.reader import Corpus
from septet.schemas.recipe import Recipe
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import digests, quiet_progress, random_image, rows, run_build
from tests.http_server import HostileServer


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({f"/{n}.jpg": random_image(n) for n in range(40)}) as running:
        yield running


def write_list(path: Path, server: HostileServer, numbers: range) -> None:
    lines = [
        {"url": server.url(f"/{n}.jpg"), "caption": f"A picture with the number {n}"}
        for n in numbers
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_recipe(folder: Path, server: HostileServer, more: str = "", fetch: str = "") -> Path:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: store\nsources: [{kind: list, paths: ['*.jsonl']}]\n"
        f"fetch: {{allowed_hosts: ['{server.host}'], backoff: 0.01, {fetch}}}\n{more}\n"
    )
    return recipe


def asked(server: HostileServer) -> int:
    """How many requests came since the last call."""
    count = server.hits.total()
    server.hits.clear()
    return count


def numbers_of(corpus: Path) -> set[int]:
    """Checks that each sample has the image that its caption names; returns the numbers."""
    found = set()
    for sample in Corpus(str(corpus)):
        number = int(sample["txt"].decode().rsplit(" ", 1)[1])
        assert sample["jpg"] == random_image(number), number
        found.add(number)
    return found


def age_store(corpus: Path) -> None:
    """Make of a store one of Septet before 2026-12, whose generations had no folders."""
    for path in [*corpus.glob("store/*/*/?/??/*")]:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            at = table.column_names.index("file")
            flat = pc.replace_substring_regex(table["file"], "/./../", "/")
            pq.write_table(table.set_column(at, table.schema.field("file"), flat), path)
        path.rename(path.parents[2] / path.name)


def test_only_what_the_store_lacks_is_asked_for(server: HostileServer, tmp_path: Path) -> None:
    """An earlier Septet's store is that of the first build."""
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(10))
    recipe = write_recipe(tmp_path, server)
    run_build(recipe, corpus)
    assert asked(server) == 10
    age_store(corpus)
    for more, fetch in (
        ("filter: {min_chars: 6}", ""),
        ("dedup: {images_per_caption: 11, captions_per_image: 3}", ""),
        ("write: {samples_per_shard: 3}", ""),
        ("", "retries: 7"),
        ("", "total_timeout: 33, concurrency: 5"),
        ("curate: {min_side: 10, identical_images: keep_one}", ""),
    ):
        result = run_build(write_recipe(tmp_path, server, more, fetch), corpus)
        assert (asked(server), result.manifest.samples) == (0, 10), more
        assert not result.nothing_to_do
        fresh = tmp_path / f"fresh{more}{fetch}".replace(" ", "")
        run_build(recipe, fresh)
        asked(server)
        assert digests(fresh) == digests(corpus), more

    write_list(tmp_path / "b.jsonl", server, range(10, 12))
    assert run_build(recipe, corpus).manifest.samples == 12
    assert asked(server) == 2
    assert {len(path.relative_to(corpus).parts) for path in corpus.glob("store/*/0*/**/*.bin")} == {
        4, 6,
    }  # fmt: skip
    (tmp_path / "a.jsonl").unlink()
    assert run_build(recipe, corpus).manifest.samples == 2
    assert asked(server) == 0
    assert numbers_of(corpus) == {10, 11}
    write_list(tmp_path / "a.jsonl", server, range(10))  # and back
    assert run_build(recipe, corpus).manifest.samples == 12
    assert asked(server) == 0
    assert numbers_of(corpus) == set(range(12))
    run_build(write_recipe(tmp_path, server, "image: {image_size: 64}"), corpus)
    assert asked(server) == 12, "other bytes are another store"


THRESHOLDS: dict[str, dict[str, float]] = {
    "filter": {
        "min_chars": 6, "min_chars_compact": 4, "min_chars_unspaced": 3, "max_chars": 99,
        "min_words": 3, "min_words_compact": 2, "max_words": 9, "min_ideographs": 0,
        "min_letters": 0.5, "max_digits": 0.5, "min_script": 0.5, "max_word_repetition": 0.9,
        "max_char_repetition": 0.9, "max_punctuation_run": 3, "max_capitalised": 0.9,
        "max_capitals": 0.9, "language_score": 0.4,
    },
    "dedup": {"captions_per_image": 3, "images_per_caption": 11, "pages_per_pair": 5},
    "balance": {"most_of_an_entry": 30, "most_of_a_domain": 30, "seed": 1},
    "curate": {
        "min_bytes": 1, "min_side": 2, "min_pixels": 3, "max_aspect_ratio": 4,
        "near_text_similarity": 0.8, "near_images_radius": 10,
    },
}  # fmt: skip


def test_no_threshold_fetches_anything_again(server: HostileServer, tmp_path: Path) -> None:
    """All thresholds of a section are changed at once: whichever fetched would be seen."""
    corpus, more = tmp_path / "corpus", ""
    write_list(tmp_path / "a.jsonl", server, range(4))
    run_build(write_recipe(tmp_path, server, more), corpus)
    assert asked(server) == 4
    for section, values in THRESHOLDS.items():
        fields = Recipe.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        numbers = {
            name for name, field in fields.items()
            if {int, float} & {field.annotation, *get_args(field.annotation)}
        }  # fmt: skip
        assert values.keys() == numbers, "a threshold that this test does not know"
        others = {"filter": {"scripts": ["Latin"]}, "balance": {"entries": ["picture"]},
                  "curate": {"near_images": True}}  # fmt: skip
        more += f"{section}: {json.dumps(values | others.get(section, {}))}\n"
        result = run_build(write_recipe(tmp_path, server, more), corpus)
        assert not result.nothing_to_do, section
        assert (asked(server), result.manifest.samples) == (0, 4), section


def test_one_more_input_reads_itself_alone(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for that may be an earlier Septet's, which had all in one folder."""
    corpus, told = tmp_path / "corpus", []
    monkeypatch.setattr(BuildProgress, "warn", lambda _, text: told.append(text))
    write_list(tmp_path / "a.jsonl", server, range(3))
    recipe = write_recipe(tmp_path, server)
    run_build(recipe, corpus)
    first = written(corpus / "stages/filtered")
    for path in (files := [*(corpus / "stages").glob("*/?/??/*")]):
        path.rename(path.parents[2] / path.name)
    write_list(tmp_path / "b.jsonl", server, range(3, 5))
    run_build(recipe, corpus)
    then = written(corpus / "stages/filtered")
    assert len(first) == 1
    assert len(then) == 2
    assert first.items() <= then.items()
    assert [text.partition(" were")[0] for text in told] == [
        f"stages/: {len(files)} files of a build by an earlier Septet"
    ]
    folders = [path for path in (corpus / "stages").rglob("*") if path.is_dir()]
    assert all(any(path.iterdir()) for path in folders)  # nor is one left of what went


def written(folder: Path) -> dict[Path, int]:
    """The files of an artifact, with the times when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_failures_are_kept_until_they_are_to_be_tried_again(
    server: HostileServer, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(6))
    with (tmp_path / "a.jsonl").open("a") as file:
        for status in (404, 503):
            row = {"url": server.url(f"/status/{status}"), "caption": f"An answer of {status}"}
            file.write(json.dumps(row) + "\n")
        flaky = server.url("/flaky/503/1", to="/30.jpg")
        file.write(json.dumps({"url": flaky, "caption": "A picture with the number 30"}) + "\n")
    recipe = write_recipe(tmp_path, server, fetch="retries: 0")
    run_build(recipe, corpus)
    assert asked(server) == 9
    assert sorted(r["value"] for r in rows(corpus, "rejects")) == ["404", "503", "503"]
    assert run_build(recipe, corpus).nothing_to_do
    assert asked(server) == 0
    assert run_build(recipe, corpus, retry=["passing"]).manifest.samples == 7
    assert set(server.hits) == {"/status/503", "/flaky/503/1"}
    assert asked(server) == 2
    assert numbers_of(corpus) == {*range(6), 30}
    assert run_build(recipe, corpus, retry=["network"]).manifest.samples == 7
    assert set(server.hits) == {"/status/404"}
    asked(server)
    assert run_build(recipe, corpus, retry=["http_status"]).manifest.samples == 7
    assert set(server.hits) == {"/status/404", "/status/503"}
    asked(server)
    again = write_recipe(tmp_path, server, fetch="retries: 0, retry_failed: [passing]")
    for _ in range(2):  # each build does
        assert run_build(again, corpus).manifest.samples == 7
        assert set(server.hits) == {"/status/503"} and asked(server) == 1
    with pytest.raises(ValueError, match="no class 'netwrok' of failures"):
        run_build(recipe, corpus, retry=["netwrok"])


def test_a_bound_that_changes_is_tried_again(server: HostileServer, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(8))
    sizes = sorted(len(random_image(n)) for n in range(8))
    small = write_recipe(tmp_path, server, fetch=f"max_bytes: {sizes[3]}")
    assert run_build(small, corpus).manifest.samples == 4
    assert asked(server) == 8
    assert run_build(write_recipe(tmp_path, server), corpus).manifest.samples == 8
    assert asked(server) == 4, "those that were too large"
    small = write_recipe(tmp_path, server, fetch=f"max_bytes: {sizes[3]}")
    assert run_build(small, corpus).manifest.samples == 4
    assert asked(server) == 0
    assert {r["reason"] for r in rows(corpus, "rejects")} == {"too_large"}


def test_a_format_that_is_asked_for_later_is_fetched_alone(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    corpus, jxl = tmp_path / "corpus", random_image(90, kind="JXL")
    with HostileServer({f"/{n}.jpg": random_image(n) if n else jxl for n in range(8)}) as server:
        write_list(tmp_path / "a.jsonl", server, range(8))
        for formats, samples, requests in (([], 7, 8), (["jxl"], 8, 1), ([], 7, 0)):
            recipe = write_recipe(tmp_path, server, f"image: {{more_formats: {formats}}}")
            assert run_build(recipe, corpus).manifest.samples == samples
            assert asked(server) == requests
            lost = [(row["reason"], row["value"]) for row in rows(corpus, "rejects")]
            assert lost == [("unsupported", "jxl")] * (8 - samples)


def fetch_task(
    recipe: Path, corpus: Path, workers: int | None = None
) -> tuple[FetchTask, list[Any]]:
    """The stages of a build up to the fetch, which is left to the test."""
    parsed = parse_recipe(recipe.read_text(), str(recipe))
    folder, runner = str(recipe.parent), make_runner("local", 1, [], str(corpus))
    inputs = find_inputs(parsed, folder, str(corpus))
    stages = chain(parsed, inputs, folder, str(corpus), workers)
    with quiet_progress() as progress:
        for stage in stages[:3]:
            _run_stage(stage, runner, progress)
    passes = stages[3].passes()
    missing = next(passes)
    runner.run(missing.label, missing.graph(missing.todo()))
    fetch = next(passes)
    task = fetch.graph(fetch.todo()).work
    assert isinstance(task, FetchTask)
    return task, fetch.todo()


@pytest.mark.parametrize("killed", [True, False])
def test_overlapping_attempts_at_one_task(
    server: HostileServer, tmp_path: Path, killed: bool
) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(40))
    recipe = write_recipe(tmp_path, server, fetch="concurrency: 3, per_host: 3")
    task, keys = fetch_task(recipe, corpus)
    assert keys == ["0.0"]
    server.pause = 0.02
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=task.run, args=("0.0",)) for _ in range(2)]
    for one in both:
        one.start()
    if killed:
        while server.hits.total() < 30:
            time.sleep(0.005)
        os.kill(both[0].pid or 0, signal.SIGKILL)
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [-signal.SIGKILL if killed else 0, 0]
    assert asked(server) > 40
    assert run_build(recipe, corpus).manifest.samples == 40
    assert asked(server) == 0
    assert numbers_of(corpus) == set(range(40))
    assert check_corpus(str(corpus), True, Console(quiet=True)) == []


def test_other_bytes_in_the_store_are_noticed(server: HostileServer, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(10))
    run_build(write_recipe(tmp_path, server), corpus)
    (images,) = corpus.glob("store/*/*/?/??/*.bin")
    data = bytearray(images.read_bytes())
    data[len(data) // 2] ^= 1
    images.write_bytes(data)
    recipe = write_recipe(tmp_path, server, "write: {samples_per_shard: 3}")
    with pytest.raises(Exception, match=f"{images.name}.*should be the image") as caught:
        run_build(recipe, corpus)
    assert StoreError.__name__ in f"{type(caught.value).__name__} {caught.value}"


def test_a_killed_task_asks_only_for_the_rest(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(40))
    recipe = write_recipe(tmp_path, server, fetch="concurrency: 2, per_host: 2")
    task, _ = fetch_task(recipe, corpus)
    server.pause = 0.02
    monkeypatch.setattr("septet.pipelines.store.writer.IMAGES_A_BLOCK", 10)
    child = multiprocessing.get_context("fork").Process(target=task.run, args=("0.0",))
    child.start()
    while len(list(corpus.glob("store/*/*/?/??/*.parquet"))) < 3:
        time.sleep(0.005)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    first = asked(server)
    assert 30 <= first < 40
    assert run_build(recipe, corpus).manifest.samples == 40
    assert asked(server) == 10
    assert numbers_of(corpus) == set(range(40))
    assert not list(corpus.rglob("*.septet-tmp"))


def test_a_resumed_fetch_keeps_to_the_new_bounds_and_asks_for_the_rest(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(40))
    monkeypatch.setattr(missing, "_URLS_A_SLICE", 5)
    server.pause = 0.01
    left = 40
    for per_host, slices in ((4, 4), (2, 2), (4, 3)):
        recipe = write_recipe(tmp_path, server, fetch=f"per_host: {per_host}")
        task, keys = fetch_task(recipe, corpus, 4)  # stopped after one slice
        assert keys == [f"0.{number}" for number in range(slices)]
        task.run(keys[-1])
        assert asked(server) == left // slices
        left -= left // slices
    server.busiest = 0
    recipe = write_recipe(tmp_path, server, fetch="per_host: 2")
    assert run_build(recipe, corpus, workers=4).manifest.samples == 40
    assert asked(server) == left and server.busiest <= 2
    assert numbers_of(corpus) == set(range(40))


def test_a_project_moved_in_the_middle_of_a_build_is_built_on(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "disk1/project", tmp_path / "disk2/project"
    there.mkdir(parents=True)
    here.parent.mkdir()
    write_list(there / "a.jsonl", server, range(40))
    recipe = write_recipe(there, server, fetch="concurrency: 2, per_host: 2")
    run_build(recipe, tmp_path / "whole")
    assert asked(server) == 40
    server.pause = 0.02
    monkeypatch.setattr("septet.pipelines.store.writer.IMAGES_A_BLOCK", 10)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=run_build, args=(recipe, there / "corpus"))
    child.start()
    while len(list(there.glob("corpus/store/*/*/?/??/*.parquet"))) < 2:
        time.sleep(0.005)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    first = server.hits.copy()
    assert 20 <= asked(server) < 40
    stored = {p: p.stat().st_mtime_ns for p in there.rglob("*.parquet") if "known" not in p.name}
    there.rename(here)
    assert run_build(here / "recipe.yaml", here / "corpus").manifest.samples == 40
    again = first & server.hits
    assert asked(server) == 20 and again.total() <= first.total() - 20, "asked twice"
    assert digests(here / "corpus") == digests(tmp_path / "whole")
    for path, time_ns in stored.items():
        moved = here / path.relative_to(there)
        assert not moved.exists() or moved.stat().st_mtime_ns == time_ns, moved
    assert not any(str(there).encode() in p.read_bytes() for p in here.rglob("*") if p.is_file())
