"""The container file of training, as far as it goes without a container: what it copies is built and
installed as it says, and starts."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "infra/train/Containerfile"


def steps(text: str) -> list[tuple[str, str]]:
    """Instructions and what follows them, of lines that go on put together."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


STEPS = steps(CONTAINER.read_text())


def copied(folder: Path) -> None:
    """Do what the COPY instructions say."""
    for word, rest in STEPS:
        if word == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                to = folder / target / (source if target == "./" else "")
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / source, to, symlinks=True, ignore=ignored)
                else:
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, to)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    copied(folder)
    return folder


def test_what_is_copied_installs_and_starts(context: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=context, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("septet-*.whl")
    install = ["-m", "uv", "pip", "install", "--offline", "--no-deps", "--target"]
    where = tmp_path / "installed"
    subprocess.run(
        [sys.executable, *install, where, wheel], check=True, capture_output=True, timeout=120
    )
    code = "import septet, septet.trainers.commands.train as t; print(septet.__file__, t.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=context, env={"PYTHONPATH": str(where), "PATH": ""},
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert all(path.startswith(str(where)) for path in done.stdout.split())
    launched = subprocess.run(
        [context / "infra/train/launch.sh"], capture_output=True, text=True, timeout=30
    )
    assert launched.returncode == 2 and launched.stderr.startswith("usage: launch.sh MODEL CORPUS")


def test_extras_that_are_installed_exist_and_have_what_the_image_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (given,) = (rest for word, rest in STEPS if word == "ARG" and rest.startswith("EXTRAS="))
    extras = set(given.removeprefix("EXTRAS=").strip('"').split(","))
    assert extras <= set(project["optional-dependencies"])
    assert {"train", "s3", "gcs", "prometheus"} <= extras
    (installs,) = (rest for word, rest in STEPS if word == "RUN" and "pip install" in rest)
    assert '--constraint constraints.txt ".[${EXTRAS}]"' in installs
