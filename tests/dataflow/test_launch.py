"""A build on Dataflow without an account: `launch.sh` submits it to the services of `conftest.py`,
and workers that have what the container file installs run what was staged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.corpora import digests, write_site
from tests.dataflow.conftest import BUCKET, CHECKOUT, DATAFLOW, Dataflow, may_hide
from tests.dataflow.container import instructions

pytestmark = pytest.mark.slow

IMAGE = "europe-docker.pkg.dev/a-project/septet/septet:1"
OUT = f"gs://{BUCKET}/corpus"


@pytest.fixture(scope="module")
def recipe(dataflow: Dataflow) -> Path:
    """A recipe over pages that are in the bucket, and nowhere else."""
    recipe = write_site(dataflow.launcher / "in", parts=2, pages=6, images=6)
    for part in recipe.parent.glob("*.warc.gz"):
        dataflow.upload(f"in/{part.name}", part.read_bytes())
        part.unlink()
    text = recipe.read_text().replace("'*.warc.gz'", f"'gs://{BUCKET}/in/*.warc.gz'")
    recipe.write_text(text + "annotate: [{column: image-quality, name: quality}]\n")
    return recipe


@pytest.fixture(scope="module")
def launched(dataflow: Dataflow, recipe: Path) -> CompletedProcess[str]:
    """The build that all tests here look at."""
    return dataflow.launch(
        IMAGE, ["--extras", "formats", "--max-workers", "20", "--machine", "n2-standard-8",
                "--autoscaling", "THROUGHPUT_BASED", "--column-machine", "g2-standard-8",
                "--column-accelerator", "nvidia-l4:2"],
        recipe, "--out", OUT,
    )  # fmt: skip


def test_the_corpus_is_the_local_ones(
    dataflow: Dataflow, recipe: Path, launched: CompletedProcess[str], tmp_path: Path
) -> None:
    assert launched.returncode == 0, launched.stderr
    assert dataflow.service.refused == []
    local = dataflow.shell(IMAGE, "septet", "build", str(recipe), "--out", str(tmp_path / "local"))
    assert local.returncode == 0, local.stderr
    found = digests(dataflow.download("corpus", tmp_path / "found"))
    assert found == digests(tmp_path / "local")
    assert {name.partition("/")[0] for name in found if name.endswith(".tar")} == {
        "shards", "columns",
    }  # fmt: skip


def test_a_job_for_each_pipeline(dataflow: Dataflow, launched: CompletedProcess[str]) -> None:
    names = [job["name"] for job in dataflow.service.jobs]
    assert names[:2] == ["septet-source", "septet-filter-sites"] and "septet-write" in names
    for job in dataflow.service.jobs:
        (pool,) = job["environment"]["workerPools"]
        assert pool["workerHarnessContainerImage"] == IMAGE
        assert pool["numThreadsPerWorker"] == 1
        assert "packages" not in pool  # nothing is uploaded but the graph
        scaling = pool["autoscalingSettings"]
        assert scaling["maxNumWorkers"] == 20
        is_column = job["name"] == "septet-annotate-quality"
        assert pool["machineType"] == ("g2-standard-8" if is_column else "n2-standard-8")
        gpus = "worker_accelerator=type:nvidia-l4;count:2;install-nvidia-driver"
        assert job["environment"].get("serviceOptions", []) == ([gpus] if is_column else [])
    assert "septet-annotate-quality" in names


def test_the_image_has_the_extras(dataflow: Dataflow, launched: CompletedProcess[str]) -> None:
    done = dataflow.shell(IMAGE, "python", "-c", "import pillow_heif, pillow_jxl")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def mistakes(dataflow: Dataflow, recipe: Path, launched: CompletedProcess[str]) -> dict[str, str]:
    """What the mistakes of `mistakes.py` came to. It is launched from an image with gcsfs, and one
    of its builds has workers of another, without."""
    text = (DATAFLOW / "Containerfile").read_text()
    assert text.count(" gcsfs ") == 1
    file = dataflow.folder / "Containerfile"
    file.write_text(text.replace(" gcsfs ", " "))
    build = ["build", "-f", str(file), "-t", "forgetful", str(CHECKOUT)]
    built = dataflow.shell(IMAGE, str(dataflow.folder / "container"), *build)
    assert built.returncode == 0, built.stderr
    folder = dataflow.launcher / "mistakes"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("mistakes.py"), folder)
    (folder / "only_here.py").write_text("def length(text):\n    return len(text)\n")
    script = [str(folder / "mistakes.py"), dataflow.service.url, IMAGE, "forgetful", str(recipe)]
    done = dataflow.shell(IMAGE, "python", *script)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_package_that_the_image_lacks(mistakes: dict[str, str]) -> None:
    found = mistakes["no_package"]
    assert found.startswith("StageFailed: stage source failed") and "pip install gcsfs" in found


def test_mistakes_that_show_on_other_machines(mistakes: dict[str, str]) -> None:
    assert mistakes["no_mistake"] == ""
    assert "No module named 'only_here'" in mistakes["own_module"]
    assert "cannot pickle" in mistakes["generator"]
    assert "job.labels: 'Team' is no key of a label" in mistakes["label"]
    if may_hide():
        assert "FileNotFoundError" in mistakes["local_path"]


def test_who_launches_has_the_images_versions() -> None:
    """The base image's Beam is the one that is pinned for those who launch, its Python theirs."""
    names = dict(
        argument.split("=")
        for name, argument in instructions((DATAFLOW / "Containerfile").read_text())
        if name == "ARG" and "=" in argument
    )
    assert (
        f"apache-beam=={names['BEAM']}" in (CHECKOUT / "constraints.txt").read_text().splitlines()
    )
    assert names["PYTHON"] == "3.11"


def test_an_image_is_pushed_only_once_it_is_built(dataflow: Dataflow) -> None:
    push = [str(dataflow.folder / "container"), "push", "never-built"]
    done = subprocess.run(
        push, env=dataflow.environment() | {"PATH": str(Path(sys.executable).parent)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "there is no image never-built" in done.stderr
