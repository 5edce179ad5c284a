"""Training on a Slurm of this machine, that `infra/slurm/cluster.sh` brings up."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.conftest import FLAGS, RANKS, STEPS, assert_same_run
from tests.ports import free_ports
from tests.trainers.runs import figures

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NODES = RANKS
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch")


class Slurm:
    """A Slurm that runs."""

    def __init__(self, environment: dict[str, str]):
        self.environment = environment

    def __call__(self, *command: str | Path, **more: object) -> str:
        done = subprocess.run(
            [*map(str, command)], env=self.environment, capture_output=True, text=True,
            timeout=60, **more,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job."""
        told = self("scontrol", "--oneliner", "show", "job", number)
        return dict(word.partition("=")[::2] for word in told.split() if "=" in word)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=path) is None]:
        pytest.skip(f"Slurm tests need {', '.join(missing)} (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("Slurm tests bring up a Slurm of their own, which needs root")
    script, state = ROOT / "infra/slurm/cluster.sh", tmp_path_factory.mktemp("slurm")
    where = ["--nodes", str(NODES), "--port", str(free_ports(NODES + 1, 26817))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment = {**kept, "PATH": path, "OMP_NUM_THREADS": "1"}
    started = subprocess.run(
        [script, "start", "--state", state, *where],
        env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    if started.returncode:
        pytest.fail(f"Slurm did not start:\n{started.stderr}")
    try:
        yield Slurm({**environment, "SLURM_CONF": str(state / "slurm.conf")})
    finally:
        subprocess.run([script, "stop", "--state", state], check=True, timeout=60)


def wait_until(true: object, seconds: float, told: object) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def test_a_run_that_is_preempted_goes_on_in_the_same_job_and_ends_the_same(
    slurm: Slurm, corpus: Path, whole: Path, tmp_path: Path
) -> None:
    """Two nodes with a rank each. The job gets, early, the signal that Slurm sends it before its
    time is up. It is started again from its snapshot: what it was submitted from is gone by then.
    """
    checkout, out = tmp_path / "checkout", tmp_path / "run"
    for name in ("septet", "schemas", "preprocess", "pipelines", "trainers", "infra"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    with (checkout / "trainers/__init__.py").open("a") as code:
        code.write('print("the code that was submitted")\n')
    said = slurm(
        checkout / "infra/slurm/submit.sh", out, "--parsable", "--nodes", str(NODES),
        "--time", "30", "--", "clip", corpus, *FLAGS,
        cwd=tmp_path,
    )  # fmt: skip
    job = said.strip()
    snapshot = out / "submitted/1"
    log = snapshot / f"job-{job}.log"

    def told() -> str:
        return f"{slurm.job(job)}\n{log.read_text() if log.exists() else 'no log'}"

    metrics = out / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(figures(out)) >= 3, 240, told)
    slurm("scancel", "--batch", "--signal", "USR1", job)
    shutil.rmtree(checkout)
    wait_until(lambda: slurm.job(job)["Restarts"] == "1", 240, told)
    cut = figures(out)
    assert len(cut) < STEPS
    wait_until(lambda: slurm.job(job)["JobState"] in ("COMPLETED", "FAILED"), 240, told)

    assert slurm.job(job)["JobState"] == "COMPLETED", told()
    assert_same_run(out, whole)
    assert f"resuming after step {max(cut)}" in log.read_text()
    assert log.read_text().count("the code that was submitted") == 2 * NODES
    assert json.loads((out / "run.json").read_text())["world"]["ranks"] == NODES
    assert f"clip {corpus} --set " in (snapshot / "command").read_text()
    assert "torch==" in (snapshot / "packages.txt").read_text()
