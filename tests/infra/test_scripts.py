"""What the scripts of `infra` do before a cluster or a package manager is asked: refusals, snapshots,
and what happens where nothing can be installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBMIT, TOOLS = ROOT / "infra/slurm/submit.sh", ROOT / "infra/tools.sh"


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def run(
    *command: str | Path, path: str, cwd: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(cwd), **more}
    return subprocess.run(
        [*map(str, command)], env=environment, cwd=cwd, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "words,why",
    [
        (["run", "--", "clip", "corpus", "--out", "x"], "the run's folder is the first argument"),
        (["run", "--", "clip", "corpus", "--out=x"], "the run's folder is the first argument"),
        (["run", "--", "clip", "corpus", "--no-resume"], "would begin anew each time"),
        (["s3://bucket/run", "--", "clip", "corpus"], "set SNAPSHOTS to a folder"),
        (["run", "clip", "corpus", "--steps", "2"], "usage: submit.sh OUT"),
        (["run", "--", "clip"], "usage: submit.sh OUT"),
    ],
)
def test_what_cannot_be_submitted_is_told_and_leaves_nothing(
    tmp_path: Path, words: list[str], why: str
) -> None:
    program(tmp_path / "bin", "sbatch", "exit 9")
    done = run(SUBMIT, *words, path=f"{tmp_path}/bin:{os.environ['PATH']}", cwd=tmp_path)
    assert done.returncode == 2 and why in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_each_submission_has_a_snapshot_of_its_own(tmp_path: Path) -> None:
    program(tmp_path / "bin", "sbatch", 'printf "%s\\n" "$@"')
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    where = {"SNAPSHOTS": str(tmp_path / "kept")}
    words = ["s3://bucket/run", "--nodes", "2", "--", "clip", "a corpus"]
    done = [run(SUBMIT, *words, path=path, cwd=tmp_path, **where) for _ in range(2)]
    for number, one in enumerate(done, 1):
        assert one.returncode == 0, one.stderr
        snapshot = tmp_path / f"kept/{number}"
        assert one.stdout.splitlines() == [
            "--output", f"{snapshot}/job-%j.log", "--nodes", "2", f"{ROOT}/infra/slurm/train.sbatch",
            str(snapshot), "clip", "a corpus", "--out", "s3://bucket/run",
        ]  # fmt: skip
        assert (snapshot / "code/septet/trainers/engine/loop.py").read_text() == (
            ROOT / "trainers/engine/loop.py"
        ).read_text()
        assert "--nodes 2 -- clip a\\ corpus" in (snapshot / "command").read_text()


@pytest.mark.parametrize("broken", ["update", "install"])
def test_tests_go_on_where_nothing_can_be_installed(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "bin"
    program(folder, "id", "echo 0")
    program(folder, "timeout", 'shift 3; exec "$@"')
    program(folder, "apt-get", f'echo "$@" >>{tmp_path}/asked; [[ $1 != {broken} ]]')
    done = run("/bin/bash", TOOLS, "chromium", path=str(folder), cwd=tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert done.returncode == 0 and asked == ["update -qq", "install -y -qq chromium"]
    told = "not found: the browser tests will be skipped (packages that they need: chromium)\n"
    assert done.stdout.endswith(told) == (broken == "install")


def test_who_may_not_install_is_told(tmp_path: Path) -> None:
    program(tmp_path / "bin", "id", "echo 1000")
    program(tmp_path / "bin", "apt-get", f"touch {tmp_path}/asked")
    done = run("/bin/bash", TOOLS, "chromium", path=f"{tmp_path}/bin", cwd=tmp_path)
    assert done.returncode == 0 and "browser tests will be skipped" in done.stdout
    assert not (tmp_path / "asked").exists()
