import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from septet.pipelines.input_cache import InputCache
from septet.pipelines.inputs import find_inputs, image_roots
from septet.pipelines.sources.base import Input, InputError
from septet.pipelines.sources.lists import UrlList
from septet.pipelines.sources.paths import beside, folder_label, locate
from septet.pipelines.sources.patterns import match_local
from septet.schemas.recipe import Recipe
from septet.schemas.recipe_file import RecipeError

ROW = '{"url": "http://e.org/1.jpg", "caption": "a cat"}\n'


def recipe_of(*sources: dict) -> Recipe:
    return Recipe.model_validate({"name": "t", "sources": [{"kind": "list"} | s for s in sources]})


def find(folder: Path, *patterns: str, corpus: Path | None = None, **more: object) -> tuple[Input, ...]:  # fmt: skip
    recipe = recipe_of({"paths": list(patterns)} | more)
    return find_inputs(recipe, str(folder), str(corpus or folder / "corpora/t"), remember=True)


def put(path: Path, text: str = ROW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def labels(inputs: tuple[Input, ...]) -> list[str]:
    return [one.label for one in inputs]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("data/*.jsonl", ["data/a.jsonl", "data/b.jsonl"]),
        ("../r/data/*.jsonl", ["../r/data/a.jsonl", "../r/data/b.jsonl"]),
        ("./data/a.jsonl", ["data/a.jsonl"]),
        ("data/**/*.jsonl", ["data/a.jsonl", "data/b.jsonl", "data/sub/c.jsonl"]),
        ("data/[ab].jsonl", ["data/a.jsonl", "data/b.jsonl"]),
        ("data/?.jsonl", ["data/a.jsonl", "data/b.jsonl"]),
    ],
)
def test_labels_are_as_the_recipe_spells_them(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    for name in ("a.jsonl", "b.jsonl", "sub/c.jsonl"):
        put(tmp_path / "r/data" / name)
    found = find(tmp_path / "r", pattern)
    assert labels(found) == expected
    assert all(Path(one.path).samefile(locate(one.label, str(tmp_path / "r"))) for one in found)


def test_absolute_and_home_patterns_keep_their_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "home/a.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "r").mkdir()
    assert labels(find(tmp_path / "r", "~/*.jsonl")) == ["~/a.jsonl"]
    assert find(tmp_path / "r", "~/*.jsonl")[0].path == str(tmp_path / "home/a.jsonl")
    whole = str(tmp_path / "home/*.jsonl")
    assert labels(find(tmp_path / "r", whole)) == [str(tmp_path / "home/a.jsonl")]


def test_a_name_that_begins_with_a_tilde_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's `~$pairs.csv`; a folder that somebody made by `mkdir '~'`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home/private.jsonl", "r/~$a.jsonl", "r/~/b.jsonl"):
        put(tmp_path / name)
    folder = str(tmp_path / "r")
    assert labels(find(tmp_path / "r", "*.jsonl")) == ["./~$a.jsonl"]
    assert labels(find(tmp_path / "r", "~$a.jsonl")) == ["./~$a.jsonl"]
    assert labels(find(tmp_path / "r", "*/*.jsonl")) == ["./~/b.jsonl"]
    assert labels(find(tmp_path / "r", "./~/*.jsonl")) == ["./~/b.jsonl"]
    assert locate("./~/b.jsonl", folder) == f"{folder}/~/b.jsonl"
    assert locate("~$a.jsonl", folder) == f"{folder}/~$a.jsonl"
    assert folder_label("./~/") == beside("./~/b.jsonl") == "./~"
    assert folder_label("~/a/") == "~/a"
    assert labels(find(tmp_path / "r", "~/*.jsonl")) == ["~/private.jsonl"]


@pytest.mark.parametrize(
    "name",
    ["crawl [2024-10]", "a?b", "a*b", "a::b", "a#b", "year=2024", "a@b", "ü b", "%20", "{x}"],
)
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    """As the recipe's own folder, and within a pattern."""
    put(tmp_path / name / "pairs.jsonl")
    put(tmp_path / name / "sub/pairs.jsonl")
    assert labels(find(tmp_path / name, "*.jsonl")) == ["pairs.jsonl"]
    assert labels(find(tmp_path, f"{name}/pairs.jsonl")) == [f"{name}/pairs.jsonl"]
    assert labels(find(tmp_path, f"{name}/*/*.jsonl")) == [f"{name}/sub/pairs.jsonl"]


def test_a_pattern_that_is_a_files_name_is_that_file(tmp_path: Path) -> None:
    put(tmp_path / "pairs[1].jsonl")
    put(tmp_path / "pairs1.jsonl")
    assert labels(find(tmp_path, "pairs[1].jsonl")) == ["pairs[1].jsonl"]
    (tmp_path / "pairs[1].jsonl").unlink()
    assert labels(find(tmp_path, "pairs[1].jsonl")) == ["pairs1.jsonl"]


def test_links_keep_their_names(tmp_path: Path) -> None:
    """As in a cache of the Hub: snapshots are links to files whose names have no ending."""
    put(tmp_path / "blobs/94c5")
    (tmp_path / "snapshots/rev").mkdir(parents=True)
    (tmp_path / "snapshots/rev/pairs.jsonl").symlink_to("../../blobs/94c5")
    (one,) = find(tmp_path, "snapshots/*/*.jsonl")
    assert one.label == "snapshots/rev/pairs.jsonl" and one.path.endswith(one.label)


def test_a_file_of_many_names_is_read_under_the_shortest(tmp_path: Path) -> None:
    put(tmp_path / "data/z.jsonl")
    put(tmp_path / "data/b.jsonl")
    (tmp_path / "data/a").symlink_to(".")  # a folder within itself
    (tmp_path / "data/later.jsonl").symlink_to("z.jsonl")
    assert labels(find(tmp_path, "data/**/*.jsonl")) == ["data/b.jsonl", "data/z.jsonl"]
    assert labels(find(tmp_path, "data/later.jsonl", "data/*.jsonl")) == [
        "data/later.jsonl", "data/b.jsonl",
    ]  # fmt: skip


def test_folders_that_all_link_to_each_other_are_entered_once(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(14)]  # 14! ways through them
    for name in names:
        put(tmp_path / f"data/{name}/a.jsonl")
        for other in names:
            (tmp_path / f"data/{name}/to{other}").symlink_to(f"../{other}")
    for pattern in ("**/*.jsonl", "data/**/*.jsonl", "**/**/a.jsonl", "data/**"):
        assert labels(find(tmp_path, pattern)) == [f"data/{name}/a.jsonl" for name in names]


@pytest.mark.parametrize(
    "pattern", ["**", "a/**", "**/x", "a/**/b/**/x", "**/b/*", "a/**/*", "**/.h/x", "[a]/**/x"]
)
def test_patterns_match_what_glob_matches(tmp_path: Path, pattern: str) -> None:
    for name in ("x", "a/x", "a/b/x", "a/b/c/x", "a/.h/x", ".h/x", "b/b/x", "a/b/[c]/x", "a/b/.y"):
        put(tmp_path / name)
    for spelled in (pattern, f"{tmp_path}/{pattern}"):
        found = glob.glob(spelled, root_dir=tmp_path, recursive=True)  # noqa: PTH207
        assert match_local(spelled, tmp_path) == sorted({one.rstrip("/") for one in found} - {""})


def test_the_corpus_is_never_its_own_input(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl")
    put(tmp_path / "corpora/t/stages/x.jsonl")
    put(tmp_path / "corpora/other/y.jsonl")
    assert labels(find(tmp_path, "**/*.jsonl")) == ["a.jsonl", "corpora/other/y.jsonl"]
    (tmp_path / "link").symlink_to("corpora/t")
    with pytest.raises(RecipeError, match=r"paths: 'corpora/t/\*\*/\*' matches only files of the corpus"):  # fmt: skip
        find(tmp_path, "corpora/t/**/*")
    with pytest.raises(RecipeError, match="only files of the corpus"):
        find(tmp_path, "link/stages/*")


def test_what_is_named_twice_in_a_source_is_one_input(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl")
    assert labels(find(tmp_path, "*.jsonl", "a.jsonl")) == ["a.jsonl"]


def test_pipes_and_devices_are_no_inputs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl is a pipe"):
        find(tmp_path, "*.jsonl")
    with pytest.raises(InputError, match="is a device"):
        find(tmp_path, "/dev/null")


def test_an_input_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"a\xff.jsonl"))
    with pytest.raises(InputError, match=r"'a\\udcff\.jsonl': the name is not UTF-8; rename it"):
        find(tmp_path, "*.jsonl")


def test_what_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=rf"sources.0.paths: no file matches 'x/\*' .*{tmp_path}"):
        find(tmp_path, "x/*")
    (tmp_path / "a.jsonl").symlink_to("gone")
    with pytest.raises(InputError, match=r"a\.jsonl: No such file"):
        find(tmp_path, "*.jsonl")


def test_faults_of_whole_inputs_end_before_work_starts_or_are_left_to_it(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", '{"link": "http://e.org", "caption": "x"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl has no column 'url'; it has link, caption"):
        find(tmp_path, "*.jsonl")
    put(tmp_path / "b.parquet", "nope")
    with pytest.raises(InputError, match=r"b\.parquet: is no whole Parquet file"):
        find(tmp_path, "*.parquet")
    assert len(find(tmp_path, "*.jsonl", "*.parquet", on_broken_input="reject")) == 2


def settle(path: Path) -> None:
    """Make a file look as if it had not changed for a while."""
    then = time.time_ns() - 10**10
    os.utime(path, ns=(then, then))


@pytest.fixture()
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []
    describe = UrlList.describe

    def counted(self: UrlList, path: str, size: int) -> object:
        seen.append(Path(path).name)
        return describe(self, path, size)

    monkeypatch.setattr(UrlList, "describe", counted)
    yield seen


def test_inputs_are_read_once_while_they_stay_the_same(tmp_path: Path, reads: list[str]) -> None:
    first, second = put(tmp_path / "a.jsonl"), put(tmp_path / "b.jsonl")
    settle(first)
    settle(second)
    before = find(tmp_path, "*.jsonl")
    assert find(tmp_path, "*.jsonl") == before and sorted(reads) == ["a.jsonl", "b.jsonl"]
    put(second, ROW * 2)
    after = find(tmp_path, "*.jsonl")
    assert reads[2:] == ["b.jsonl"] and after[0].digest == before[0].digest
    assert after[1].digest != before[1].digest
    put(first, ROW.replace("cat", "dog"))  # the same size, another time
    assert find(tmp_path, "*.jsonl")[0].digest != before[0].digest


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path: Path, reads: list[str]) -> None:
    put(tmp_path / "a.jsonl")
    find(tmp_path, "*.jsonl")
    find(tmp_path, "*.jsonl")
    assert reads == ["a.jsonl", "a.jsonl"]


def test_without_a_corpus_nothing_is_noted(tmp_path: Path) -> None:
    settle(put(tmp_path / "a.jsonl"))
    cache = InputCache(None)
    assert cache.get("a.jsonl", str(tmp_path / "a.jsonl"), UrlList()).size == len(ROW)
    cache.write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_damaged_notes_are_no_notes(tmp_path: Path) -> None:
    settle(put(tmp_path / "a.jsonl"))
    found = find(tmp_path, "*.jsonl")
    notes = tmp_path / "corpora/t/stages/inputs/known.parquet"
    assert notes.exists() and str(tmp_path).encode() not in notes.read_bytes()
    notes.write_bytes(b"PAR1")
    assert find(tmp_path, "*.jsonl") == found


def test_a_moved_folder_has_the_same_inputs(tmp_path: Path) -> None:
    put(tmp_path / "one/a.jsonl")
    before = find(tmp_path / "one", "*.jsonl")
    (tmp_path / "one").rename(tmp_path / "two")
    after = find(tmp_path / "two", "*.jsonl")
    assert [(i.label, i.digest, i.slice) for i in after] == [(i.label, i.digest, i.slice) for i in before]  # fmt: skip
    assert after[0].path == str(tmp_path / "two/a.jsonl")


def test_image_roots_change_with_their_files(tmp_path: Path) -> None:
    put(tmp_path / "pics/sub/1.jpg", "one")
    (tmp_path / "pics/self").symlink_to(".")  # a circle
    (tmp_path / "pics/gone.jpg").symlink_to("nowhere")
    recipe = recipe_of({"paths": ["x"], "image_root": "./pics/"}, {"paths": ["y"], "image_root": "pics"})  # fmt: skip
    (root,) = image_roots(recipe, (), str(tmp_path)).values()
    assert (root.label, root.path) == ("pics", str(tmp_path / "pics"))
    assert image_roots(recipe, (), str(tmp_path))["pics"] == root
    settle(tmp_path / "pics/sub/1.jpg")
    touched = image_roots(recipe, (), str(tmp_path))["pics"]
    put(tmp_path / "pics/sub/2.jpg")
    assert (
        len({root.digest, touched.digest, image_roots(recipe, (), str(tmp_path))["pics"].digest})
        == 3
    )
    with pytest.raises(InputError, match=r"sources\.0\.image_root: there is no folder 'gone'"):
        image_roots(recipe_of({"paths": ["x"], "image_root": "gone"}), (), str(tmp_path))


def test_remote_inputs(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a/1.jsonl", ROW.encode())
    memory.pipe("/bucket/a/2.jsonl", ROW.encode())
    found = find(tmp_path, "memory://bucket/a/*.jsonl")
    assert labels(found) == ["memory:///bucket/a/1.jsonl", "memory:///bucket/a/2.jsonl"]
    assert found[0].digest == find(tmp_path, str(put(tmp_path / "x.jsonl")))[0].digest
    memory.rm("/bucket", recursive=True)
