"""A decoder or parser that crashes, or never ends, costs one image or page and not the build."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpora import rows
from tests.preprocess.images.photos import photo, saved
from tests.warcs import html, image, write_warc

ROOT = Path(__file__).resolve().parents[2]

# Python runs it in every process of the build: files that end so do what real ones did to decoders.
HOOK = """
import ctypes, importlib.machinery, os, sys

FUNCTIONS = {
    "septet.preprocess.images.process": "_process",
    "septet.preprocess.html.pages": "read_page",
    "septet.preprocess.html.outlinks": "read_outlinks",
}

class Hook(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in FUNCTIONS:
            return None
        spec = super().find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            function = getattr(module, FUNCTIONS[name])

            def trapped(data, *more):
                if data.endswith(b"crash"):
                    ctypes.string_at(0)
                if data.endswith(b"abort"):
                    os.abort()
                while data.endswith(b"for ever"):
                    pass
                return function(data, *more)

            setattr(module, FUNCTIONS[name], trapped)
            module.DECODE_SECONDS = 1.0

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Hook)
"""
BUILD = """
import sys, threading
import septet.pipelines.store.writer as writer
writer._DECODE_WALL_SECONDS = 5.0
if sys.argv[2] == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
import septet
septet.build("recipe.yaml", out="corpus", workers=int(sys.argv[1]))
"""
BAD = {"crash": "SIGSEGV", "abort": "SIGABRT", "for ever": "1"}


def make_inputs(folder: Path, bad: list[str]) -> None:
    (folder / "images").mkdir()
    rows = []
    for n in range(30):
        (folder / "images" / f"{n}.jpg").write_bytes(saved(photo(40 + n, 30), "jpeg"))
        rows.append(f"{n}.jpg\tA photograph of number {n}")
    for word in bad:
        data = saved(photo(90, len(word) + 60), "jpeg")
        (folder / "images" / f"{word}.jpg").write_bytes(data + word.encode())
        rows.insert(7, f"{word}.jpg\tA photograph that ends in {word}")
    (folder / "list.tsv").write_text("url\tcaption\n" + "\n".join(rows) + "\n")
    (folder / "recipe.yaml").write_text(
        "name: crashing\nsources: [{kind: list, paths: [list.tsv], image_root: images}]\n"
    )
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)


def build(folder: Path, workers: int, how: str = "plain") -> int:
    path = os.pathsep.join([str(folder / "hook"), str(ROOT)])
    command = [sys.executable, "-c", BUILD, str(workers), how]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def found(folder: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Number of samples, and reason and value of each reject by its file."""
    rejects = rows(folder / "corpus", "rejects")
    return len(rows(folder / "corpus", "shards")), {
        row["image_url"].rpartition("/")[2]: (row["reason"], row["value"]) for row in rejects
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_images_that_crash_their_decoder_are_lost_alone(tmp_path: Path, workers: int) -> None:
    make_inputs(tmp_path, list(BAD))
    assert build(tmp_path, workers) == 0
    samples, rejects = found(tmp_path)
    assert samples == 30
    assert rejects == {
        "crash.jpg": ("decode_crash", "SIGSEGV"),
        "abort.jpg": ("decode_crash", "SIGABRT"),
        "for ever.jpg": ("decode_timeout", "1"),
    }
    stages = json.loads((tmp_path / "corpus/stats/build.json").read_text())["stages"]
    assert {one["stage"]: one["retries"] for one in stages if one["retries"]} == {"fetch": 1}


def test_where_the_driver_itself_decodes_the_next_build_goes_on(tmp_path: Path) -> None:
    make_inputs(tmp_path, ["crash"])
    assert build(tmp_path, 1, "threads") == -signal.SIGSEGV
    assert build(tmp_path, 1, "threads") == 0
    assert found(tmp_path) == (30, {"crash.jpg": ("decode_crash", "SIGSEGV")})
    assert not list(tmp_path.glob("corpus/store/**/*.begun"))


@pytest.mark.parametrize("workers", [1, 2])
def test_pages_that_crash_their_parser_are_lost_alone(tmp_path: Path, workers: int) -> None:
    make_inputs(tmp_path, [])
    host, answers = "http://127.0.0.1", []
    for n in range(12):
        page = f'<img src="/{n}.jpg" alt="A photograph of number {n}">'
        answers.append(html(f"{host}/{n}.html", page + "crash" * (n in (3, 8))))
        answers.append(image(f"{host}/{n}.jpg", saved(photo(40 + n, 30), "jpeg")))
    write_warc(tmp_path / "a.warc.gz", answers)
    (tmp_path / "recipe.yaml").write_text(
        "name: crashing\nsources: [{kind: warc, paths: [a.warc.gz]}]\n"
    )
    assert build(tmp_path, workers) == 0
    lost = rows(tmp_path / "corpus", "rejects")
    assert [(row["reason"], row["value"]) for row in lost] == [("page_crash", "SIGSEGV")] * 2
    assert {row["page_url"] for row in lost} == {f"{host}/3.html", f"{host}/8.html"}
    assert len(rows(tmp_path / "corpus", "shards")) == 10
