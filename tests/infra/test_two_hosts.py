"""Training on two hosts, one of which dies: two network namespaces with a cable between them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.conftest import FLAGS, STEPS, assert_same_run
from tests.trainers.runs import completed, figures

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout


class Host:
    """A network namespace with one network card."""

    def __init__(self, number: int):
        self.number = number
        self.name = f"septet-{os.getpid()}-{number}"
        self.card, self.address = f"sep{number}", f"10.213.77.{number + 1}"
        self.started: subprocess.Popen[str] | None = None
        ip("netns", "add", self.name)

    def plug(self, up: bool) -> None:
        ip("-n", self.name, "link", "set", self.card, "up" if up else "down")

    def start(self, log: Path, *command: str) -> None:
        """Start a run's part on this host, after `MASTER`, which is host 0."""
        environment = {
            **os.environ, "NODES": "2", "NODE": str(self.number), "MASTER": "10.213.77.1:29500",
            "ADDRESS": self.address, "GLOO_SOCKET_IFNAME": self.card, "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        with log.open("a") as out:
            self.started = subprocess.Popen(
                ["ip", "netns", "exec", self.name, ROOT / "infra/train/launch.sh", *command],
                env=environment, stdout=out, stderr=out, text=True,
            )  # fmt: skip

    def die(self) -> int:
        """Kill everything that runs here; how much that was."""
        killed: set[str] = set()
        while found := ip("netns", "pids", self.name).split():
            for pid in found:
                os.kill(int(pid), signal.SIGKILL)
            killed |= {*found}
            if self.started is not None:
                self.started.wait(30)
        return len(killed)

    def remove(self) -> None:
        self.die()
        ip("netns", "del", self.name)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    if shutil.which("ip") is None:
        pytest.skip("the test of two hosts needs ip (Debian: iproute2)")
    made: list[Host] = []
    try:
        try:
            made += [Host(0), Host(1)]
            ends = ["netns", made[0].name, "type", "veth", "peer", "name", made[1].card]
            ip("link", "add", made[0].card, *ends, "netns", made[1].name)
            for host in made:
                ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.card)
                ip("-n", host.name, "link", "set", "lo", "up")
                host.plug(True)
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield made
    finally:
        for host in made:
            host.remove()


def test_a_host_that_dies_and_comes_back_costs_only_the_steps_since_the_last_checkpoint(
    hosts: list[Host], corpus: Path, whole: Path, tmp_path: Path
) -> None:
    """The second host is cut off and then killed, so that nothing tells the first one. What was
    started on the first goes on, once the second one starts again."""
    out = tmp_path / "run"
    command = ["clip", str(corpus), *FLAGS, "--out", str(out)]
    logs = [tmp_path / f"host-{host.number}.log" for host in hosts]
    for host, log in zip(hosts, logs, strict=True):
        host.start(log, *command)

    def told() -> str:
        return "\n".join(log.read_text()[-3000:] for log in logs)

    first, second = hosts
    end = time.monotonic() + 240
    while len(completed(out / "checkpoints")) < 2:
        assert first.started.poll() is None and time.monotonic() < end, told()
        time.sleep(0.02)
    second.plug(False)
    assert second.die() >= 2
    cut = max(figures(out))
    assert cut < STEPS
    second.plug(True)
    second.start(logs[1], *command)
    for host in hosts:
        assert host.started.wait(300) == 0, told()

    assert_same_run(out, whole)
    starts = [line for line in logs[0].read_text().splitlines() if "parameters, 2 x cpu" in line]
    assert starts[0].startswith("starting:") and starts[-1].startswith("resuming after step")
