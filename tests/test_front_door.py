"""`import septet` and the command line: what they import, and what they give."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import septet
from septet.pipelines import build as stages_of_a_build
from septet.pipelines import up_to_date
from septet.pipelines.cli import COMMANDS, ENTRY_POINTS, TRAINERS, app
from septet.pipelines.sources.listing import listing_digest
from septet.pipelines.stages.stage import Stage
from septet.preprocess.columns.registry import make_column
from tests.corpora import random_image, write_site

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {
    "apache_beam", "pyarrow", "numpy", "torch", "cv2", "PIL", "yaml", "fsspec",
    "aiohttp", "grpc", "jinja2", "fastwarc", "selectolax", "spacy",
}  # fmt: skip
"""None of these may be imported by a command that has nothing to do (typer imports pydantic)."""

_LISTS_MODULES = """
import json, sys
from septet.pipelines.cli import main
sys.argv = ["septet", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code or 0
print()
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def modules_after(*arguments: str, cwd: Path | None = None) -> tuple[int, set[str], str]:
    """Status, top-level modules and output of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _LISTS_MODULES, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, "annotate"),
        (["-h"], 0, "train"),
        ([], 2, "annotate"),
        (["--version"], 0, "septet 0."),
        (["biuld"], 2, "Did you mean 'build'"),
        (["build", "--help"], 0, "--workers"),
        (["annotate", "--help"], 0, "--column"),
        (["stats", "-h"], 0, "--against"),
        (["check", "--no-such-flag"], 2, "No such option"),
        (["build", "gone.yaml"], 2, "no such recipe file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_an_answer_imports_nothing_heavy(arguments: list[str], code: int, says: str) -> None:
    found, modules, text = modules_after(*arguments)
    assert (found, modules & HEAVY) == (code, set()), text
    assert says in text


def test_a_build_that_is_up_to_date_imports_nothing_heavy(tmp_path: Path) -> None:
    recipe = write_site(tmp_path, parts=1, pages=4, images=6)
    for path in tmp_path.iterdir():  # written long enough ago to be trusted
        os.utime(path, (1e9, 1e9))
    os.utime(tmp_path, (1e9, 1e9))
    out = tmp_path.parent / f"{tmp_path.name}-out"

    def build() -> tuple[set[str], str]:
        code, modules, text = modules_after("build", str(recipe), f"--out={out}", "--workers=1")
        assert code == 0, text
        return modules & HEAVY, text

    first, text = build()
    assert "pyarrow" in first and "apache_beam" not in first and "nothing to do" not in text
    again, text = build()
    assert again == set() and "nothing to do" in text
    assert re.search(r"\d+ samples in [1-9]\d* shards", text)


@pytest.mark.parametrize(
    "change", ["recipe", "input", "another input", "manifest", "stages", "code", "nothing"]
)
def test_what_makes_a_build_no_longer_up_to_date(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = tmp_path / "in", tmp_path / "corpus"
    folder.mkdir()
    (corpus / "stages").mkdir(parents=True)
    (corpus / "corpus.json").write_text("{}")
    recipe, part = folder / "recipe.yaml", folder / "a.warc.gz"
    recipe.write_text("name: x")
    part.write_bytes(b"1")
    for path in (part, folder):
        os.utime(path, (1e9, 1e9))
    figures = {"samples": 1, "shards": 1}
    text = recipe.read_text()
    before = up_to_date.look(["*.warc.gz"], recipe)
    up_to_date.note(str(corpus), recipe, text, before, [str(part)], {}, figures)
    assert up_to_date.is_noted(str(corpus), recipe, text) == figures
    match change:
        case "recipe":
            text += "\n"
        case "input":
            part.write_bytes(b"2")
        case "another input":
            (folder / "b.warc.gz").write_bytes(b"1")
        case "manifest":
            (corpus / "corpus.json").write_text("{ }")
        case "stages":
            up_to_date.forget(str(corpus))
        case "code":
            monkeypatch.setattr(up_to_date, "_packages", lambda: [str(tmp_path)])
    wanted = figures if change == "nothing" else None
    assert up_to_date.is_noted(str(corpus), recipe, text) == wanted


MINE = """
from tests.pipelines.annotate.columns_to_test import Words

class Mine(Words):
    pass
"""


@pytest.mark.parametrize(
    "change", ["labels", "labels gone", "config comes", "class", "manifest", "removed", "nothing"]
)
def test_what_makes_a_build_with_columns_no_longer_up_to_date(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, labels, config = (tmp_path / name for name in ("corpus", "labels.txt", "config.yaml"))
    folder, module = corpus / "columns/regions", tmp_path / f"own_{change.replace(' ', '_')}.py"
    folder.mkdir(parents=True)
    (corpus / "stages").mkdir()
    for path in (corpus / "corpus.json", folder / "column.json", labels):
        path.write_text("{}")
    module.write_text(MINE)
    for path in (labels, module):
        os.utime(path, (1e9, 1e9))
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x")
    settings = {"labels": str(labels), "config": str(config)}
    columns = [make_column("regions", settings), make_column(f"{module.stem}:Mine", {})]
    found = up_to_date.column_files(columns)
    assert found is not None and found[str(config)] is None
    before = up_to_date.look([], recipe)
    up_to_date.note(str(corpus), recipe, "", before, [], {}, {"samples": 1}, ["regions"], found)
    assert up_to_date.is_noted(str(corpus), recipe, "") == {"samples": 1}
    match change:
        case "labels":
            labels.write_text("{ }")
        case "labels gone":
            labels.unlink()
        case "config comes":
            config.touch()
        case "class":
            module.write_text(MINE + "    version = 2")
        case "manifest":
            (folder / "column.json").write_text("{ }")
        case "removed":
            shutil.rmtree(folder)
    wanted = {"samples": 1} if change == "nothing" else None
    assert up_to_date.is_noted(str(corpus), recipe, "") == wanted


@pytest.mark.parametrize("change", [{"source": "s3://bucket/x.tsv"}, {"model": "ViT-B-32"}])
def test_columns_of_files_elsewhere_are_not_noted(tmp_path: Path, change: dict[str, str]) -> None:
    column = make_column("regions" if "source" in change else "clip", change)
    assert up_to_date.column_files([column]) is None


@pytest.mark.parametrize("change", ["replaced", "deep", "nothing"])
def test_folders_of_images_are_looked_through(tmp_path: Path, change: str) -> None:
    folder, corpus = tmp_path / "in [1]/pictures", tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (corpus / "stages").mkdir(parents=True)
    (corpus / "corpus.json").write_text("{}")
    (folder / "sub/1.jpg").write_bytes(b"1")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "circle").symlink_to(".")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x")
    for path in (folder / "sub/1.jpg", folder / "sub", folder, tmp_path / "in [1]"):
        os.utime(path, (1e9, 1e9))
    patterns = ["in [1]/pic*"]
    up_to_date.note(
        str(corpus),
        recipe,
        "",
        up_to_date.look(patterns, recipe),
        [str(folder)],
        {str(folder): listing_digest(str(folder))[1]},
        {"samples": 1},
    )
    assert up_to_date.is_noted(str(corpus), recipe, "") == {"samples": 1}
    if change == "replaced":
        (folder / "sub/1.jpg").write_bytes(b"2")
    elif change == "deep":
        (folder / "sub/new").mkdir()
        (folder / "sub/new/2.jpg").write_bytes(b"2")
    noted = up_to_date.is_noted(str(corpus), recipe, "")
    assert noted == ({"samples": 1} if change == "nothing" else None)


@pytest.mark.parametrize(
    ("changed", "begun", "is_noted"), [(100, 99, False), (100, 101, False), (100, 103, True)]
)
def test_an_input_that_changed_when_the_build_began_or_later_is_not_trusted(
    tmp_path: Path, changed: int, begun: int, is_noted: bool
) -> None:
    (tmp_path / "stages").mkdir()
    part, recipe = tmp_path / "corpus.json", tmp_path / "recipe.yaml"
    part.write_text("{}")
    os.utime(part, (changed, changed))
    before = replace(up_to_date.look(["*.json"], recipe), at=begun * 10**9)
    up_to_date.note(str(tmp_path), recipe, "", before, [str(part)], {}, {})
    assert (tmp_path / up_to_date.NOTES).exists() == is_noted


@pytest.mark.parametrize("moved", ["a.jsonl", "in", "deep", None])
def test_an_older_input_that_is_moved_into_place_during_a_build_is_built_from(
    tmp_path: Path, moved: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = {"a.jsonl": "deep/in/a.jsonl", "in": "deep/in", "deep": "deep"}
    for root, captions in (("", range(4)), ("other/", range(2))):
        folder = tmp_path / f"{root}deep/in"
        folder.mkdir(parents=True)
        lines = [f'{{"url": "1.jpg", "caption": "A house number {n}"}}\n' for n in captions]
        (folder / "a.jsonl").write_text("".join(lines))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.jpg").write_bytes(random_image(1))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: x\nsources: [{kind: list, paths: [deep/in/*.jsonl], image_root: images}]\n"
    )
    for path in [*tmp_path.rglob("*")]:
        os.utime(path, (1e9, 1e9))
    run_stage = stages_of_a_build._run_stage

    def move_first(stage: Stage, *rest: Any) -> Any:
        if stage.name == "filter" and moved is not None:
            (tmp_path / at[moved]).rename(tmp_path / "away")
            (tmp_path / "other" / at[moved]).rename(tmp_path / at[moved])
        return run_stage(stage, *rest)

    corpus, figures = tmp_path / "corpus", {"samples": 4, "shards": 1}
    monkeypatch.setattr(stages_of_a_build, "_run_stage", move_first)
    monkeypatch.setattr(up_to_date, "_SETTLED_NS", 0)
    septet.build(recipe, corpus, workers=1)
    noted = up_to_date.is_noted(str(corpus), recipe, recipe.read_text())
    assert noted == (figures if moved is None else None)


@pytest.mark.parametrize("out", [None, "~/x", "~nobody-here/x", "x/y", "s3://bucket/x"])
def test_the_corpus_folder_of_a_recipe(out: str | None) -> None:
    text = "sources: []\nname: my-corpus # of mine\n"
    wanted = {None: "corpora/my-corpus", "~/x": str(Path.home() / "x")}
    assert up_to_date.find_corpus(text, out) == wanted.get(out, out)
    assert up_to_date.find_corpus("name: >-\n  x\n", None) is None


def test_help_lists_each_command_with_its_first_line() -> None:
    import typer

    group = typer.main.get_command(app)
    for name, (_, text) in COMMANDS.items():
        command = group.get_command(None, name)
        assert command.help is not None
        first = " ".join(command.help.split("\n\n")[0].split())
        assert first == text, name


def test_help_lists_the_trainers_commands_with_their_first_lines() -> None:
    ours = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)
            if entry.module.startswith("septet.")}  # fmt: skip
    assert ours.keys() == TRAINERS.keys()
    for name, entry in ours.items():
        tree = ast.parse(Path(ROOT, *entry.module.split(".")[1:]).with_suffix(".py").read_text())
        (command,) = [one for one in tree.body if getattr(one, "name", None) == entry.attr]
        assert " ".join(ast.get_docstring(command).split("\n\n")[0].split()) == TRAINERS[name]


def test_importing_septet_imports_nothing_heavy() -> None:
    code = "import sys, septet; print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in eval(done.stdout)}
    assert loaded & (HEAVY | {"typer", "rich"}) == set()


def test_the_front_door_is_documented_and_typed() -> None:
    assert (Path(septet.__file__).parent / "py.typed").exists()
    for name in septet.__all__:
        function = getattr(septet, name)
        assert inspect.getdoc(function)
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter)
            if parameter.name not in ("console",):
                assert f"{parameter.name}: " in (inspect.getdoc(function) or ""), (name, parameter)


def test_all_of_the_front_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/columns"))
    recipe = write_site(tmp_path / "in", parts=1, pages=6, images=8)
    result = septet.build(recipe, tmp_path / "corpus", workers=1)
    assert result.corpus == str(tmp_path / "corpus") and not result.nothing_to_do
    corpus = septet.open(tmp_path / "corpus")
    assert len(corpus) == result.manifest.samples > 0
    assert "txt" in corpus[0]
    assert septet.build(recipe, tmp_path / "corpus", workers=1).nothing_to_do
    assert septet.check(tmp_path / "corpus") == []
    assert septet.stats(tmp_path / "corpus").samples == len(corpus)
    column = septet.annotate(tmp_path / "corpus", "brightness:Brightness", name="light", workers=1)
    assert column.values == len(corpus)
    with pytest.raises(ValueError, match="no such recipe file"):
        septet.build(tmp_path / "gone.yaml")
    with pytest.raises(ValueError, match="no preset"):
        septet.train("clip", result.corpus, preset="no-such")


def test_the_readme_shows_python_that_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    recipe = write_site(tmp_path / "in", parts=1, pages=6, images=20)
    code = block.replace("my.yaml", str(recipe)).replace("corpora/demo", str(tmp_path / "corpus"))
    assert str(recipe) in code and str(tmp_path) in code
    (tmp_path / "block.py").write_text(code)  # without an `if __name__ == "__main__"`
    done = subprocess.run(
        [sys.executable, "block.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


COLUMN = '''
"""A column of a user whose folders are called as Septet's rooms are."""

from brightness import Brightness
from schemas.mine import FACTOR


class Mine(Brightness):
    """Brightness, by a user's own factor."""

    assert FACTOR == 2
'''


@pytest.mark.slow
def test_a_users_own_folders_never_hide_septets(tmp_path: Path) -> None:
    for name in ("schemas", "trainers", "pipelines", "preprocess"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "schemas/mine.py").write_text("FACTOR = 2\n")
    (tmp_path / "mine.py").write_text(COLUMN)
    recipe = write_site(tmp_path / "in", parts=1, pages=6, images=8)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "examples/columns"), str(ROOT)]),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "septet", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "boxes" in run("columns")
    run("build", str(recipe), "--out", "corpus", "--workers", "2")
    text = run("annotate", "corpus", "--column", "mine:Mine", "--name", "mine", "--workers", "2")
    assert re.search(r"[1-9]\d* values", text)
    assert "no fault found" in run("check", "corpus")


@pytest.mark.slow
def test_the_wheel_holds_the_rooms_as_plain_folders(tmp_path: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    assert uv.exists(), "run `make setup`"
    done = subprocess.run(
        [uv, "build", "--wheel", "--out-dir", tmp_path, ROOT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert not any(
            (entry.external_attr >> 16) & 0o170000 == 0o120000 for entry in archive.infolist()
        )
    tracked = subprocess.run(
        ["git", "ls-files", "pipelines", "preprocess", "schemas", "trainers", "septet/*.py",
         "septet/py.typed"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wanted = {name if name.startswith("septet/") else f"septet/{name}" for name in tracked}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert "septet/pipelines/report/templates/report.html.j2" in names
    assert "septet/preprocess/tokenizers/data/bpe_simple_vocab_16e6.txt.gz" in names
