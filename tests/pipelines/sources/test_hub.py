"""Inputs in repositories of the Hugging Face Hub, read through its own file system (`hf://`)."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpora import random_image, rows, run_build
from tests.hub import served_hub

RECIPE = """
name: hub
sources:
  - {{kind: list, paths: ['{0}/data/*.parquet'], image_col: image, caption_col: text}}
  - {{kind: list, paths: ['{0}/**/metadata.csv'], url_col: file_name, caption_col: text,
     images_beside: true}}
  - {{kind: folder, paths: ['{0}/pics']}}
image: {{image_size: 64}}
"""
URL = "hf://datasets/someone/pics"


def write(folder: Path) -> None:
    for name in ("data", "imagefolder/train", "pics"):
        (folder / name).mkdir(parents=True)
    for part in range(2):
        images = [{"bytes": random_image(10 * part + n, 64, 48), "path": f"{part}-{n}.jpg"} for n in range(4)]  # fmt: skip
        table = pa.table({"image": images, "text": [f"Image {n} of {part}" for n in range(4)]})
        pq.write_table(table, folder / f"data/train-0000{part}-of-00002.parquet")
    for n in range(3):
        (folder / f"imagefolder/train/{n}.jpg").write_bytes(random_image(30 + n, 64, 48))
        (folder / f"pics/{n}.jpg").write_bytes(random_image(40 + n, 64, 48))
        (folder / f"pics/{n}.txt").write_text(f"An image {n} with its text")
    lines = ["file_name,text", *(f"{n}.jpg,An image {n} in a folder" for n in range(3))]
    (folder / "imagefolder/train/metadata.csv").write_text("\n".join(lines))


def septet(folder: Path, recipe: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build in a process of its own: the endpoint is read when the library is imported."""
    (folder / "remote.yaml").write_text(recipe)
    command = [sys.executable, "-m", "septet", "build", "remote.yaml", "-o", "remote", "--workers", "1"]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_same_samples_as_from_a_disk(tmp_path: Path) -> None:
    write(tmp_path / "in")
    (tmp_path / "local.yaml").write_text(RECIPE.format("in"))
    run_build(tmp_path / "local.yaml", tmp_path / "local")
    with served_hub("someone/pics", tmp_path / "in") as hub:
        done = septet(tmp_path, RECIPE.format(URL), HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        hub.hits.clear()
        again = septet(tmp_path, RECIPE.format(URL), HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path))
        assert again.returncode == 0 and not hub.hits["file"], "stamps tell that nothing changed"
    local, remote = (
        sorted((row["source"].removeprefix(f"{root}/"), row["caption"], row["sha256"]) for row in rows(tmp_path / name, "shards"))
        for name, root in (("local", "in"), ("remote", URL))
    )  # fmt: skip
    assert remote == local and len(local) == 14


def test_a_repository_that_cannot_be_asked_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "in")
    recipe = RECIPE.format(URL)
    done = septet(tmp_path, recipe, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{URL}/data/*.parquet: cannot be listed: ConnectError" in done.stderr
    with served_hub("someone/else", tmp_path / "in") as hub:
        done = septet(tmp_path, recipe, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path))
        assert done.returncode == 2 and "Traceback" not in done.stderr and URL in done.stderr
    (tmp_path / "none/huggingface_hub").mkdir(parents=True)
    (tmp_path / "none/huggingface_hub/__init__.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path / "none"), os.environ.get("PYTHONPATH", "")])
    done = septet(tmp_path, recipe, PYTHONPATH=path)
    assert done.returncode == 2
    assert "what reads hf:// is not installed: pip install huggingface_hub" in done.stderr
