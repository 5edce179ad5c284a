"""A run's rates: what counts as a stretch of steps, how fast it was, and of what the device could
do."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from septet.trainers.engine import metrics, run
from septet.trainers.engine.metrics import Flops, Meter, Reporter, peak_flops, sample_flops
from septet.trainers.engine.world import World
from tests.trainers.conftest import settings, train
from tests.trainers.corpora import scenes_corpus
from tests.trainers.runs import figures

CPU = torch.device("cpu")


class Clock:
    """A clock that stands still unless it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metrics, "clock", clock)
    return clock


class Waiting(World):
    """Four ranks, of which the slowest waited for 60 % of the time."""

    def max(self, x):
        return torch.tensor(0.6, dtype=x.dtype)


def reporter(out: Path, world: World, trackers=(), start=0) -> tuple[Reporter, io.StringIO]:
    said = io.StringIO()
    return Reporter(out, world, 100, start, Console(file=said, width=200), trackers), said


def test_a_stretch_leaves_out_the_first_step_and_pauses(clock):
    meter = Meter()
    clock.now += 7  # until the first step
    for seconds in (100, 2, 3):
        meter.begin_step()
        with meter.waiting():
            clock.now += 0.5
        clock.now += seconds
        meter.steps += 1
        meter.samples += 8
    with meter.paused():
        clock.now += 50
    assert (meter.seconds, meter.waited, meter.steps, meter.samples) == (6, 1, 2, 16)
    clock.now += 1
    assert meter.seconds == 7
    meter.restart()
    clock.now += 4
    assert (meter.seconds, meter.waited, meter.steps, meter.samples) == (4, 0, 0, 0)


@pytest.mark.parametrize("peak", [None, 1e12])
def test_rates_are_those_of_all_ranks_and_the_wait_that_of_the_slowest(
    clock, monkeypatch, tmp_path, peak
):
    monkeypatch.setattr(metrics, "peak_flops", lambda device: peak)
    report, said = reporter(tmp_path, Waiting(0, 4, CPU))
    meter = Meter()
    meter.samples, meter.tokens, meter.steps, meter.flops = 400, 8000, 5, 2e12
    clock.now += 10
    rates = report.rates(meter, 20)
    assert rates == pytest.approx(
        {"samples_per_second": 40, "tokens_per_second": 800, "data_wait_percent": 60,
         "seconds_left": 40} | ({"mfu_percent": 5} if peak else {})
    )  # fmt: skip
    report.show(7, {"loss": 1.23456}, rates)
    mfu = "MFU 5.0 %  " if peak else ""
    expected = f"loss 1.2346  40 samples/s  800 tokens/s  data wait 60 %  {mfu}0:00:40 left"
    assert said.getvalue() == f"step   7/100  {expected}\n"


def test_only_the_main_rank_reports(tmp_path):
    class Forbidden:
        def begin(self, folder):
            raise AssertionError

        log = close = begin

    report, said = reporter(tmp_path, World(1, 2, CPU), [Forbidden()])
    report.log(1, {"loss": 1.0})
    report.show(1, {"loss": 1.0}, {})
    report.say("a word")
    assert said.getvalue() == "" and not list(tmp_path.iterdir())


def test_a_resumed_run_hides_from_tensorboard_what_was_logged_after_its_checkpoint(tmp_path):
    report, _ = reporter(tmp_path, World(0, 1, CPU), start=5)
    report.log(6, {"loss": 1.5})
    report.close()  # All is written then.
    (path,) = (tmp_path / "tensorboard").iterdir()
    events = list(EventFileLoader(str(path)).Load())
    begun = [e.step for e in events if e.session_log.status == SessionLog.START]
    assert begun == [6]
    logged = [(e.step, v.tag, v.tensor.float_val[:]) for e in events for v in e.summary.value]
    assert logged == [(6, "loss", [1.5])]


def test_a_report_without_figures_leaves_tensorboard_alone(tmp_path):
    report, _ = reporter(tmp_path, World(0, 1, CPU))
    report.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("name,peak", [
    ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12),
    ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12),
    ("NVIDIA L40", None), ("NVIDIA RTX A1000", None), ("Tesla T4", None),
])  # fmt: skip
def test_peaks_are_of_devices_that_are_known(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda")) == peak
    assert peak_flops(CPU) is None


def test_frozen_parts_have_no_backward_pass():
    assert Flops(10, 0).training == 30
    assert Flops(10, 4).training == 10 + 2 * (10 - 4)


def test_a_run_on_a_device_that_is_known_reports_its_share_of_the_peak(tmp_path, monkeypatch):
    for module in (metrics, run):
        monkeypatch.setattr(module, "peak_flops", lambda device: 1e12)
    corpus = scenes_corpus(tmp_path / "corpus", 1, 40)
    preset = settings("train.steps=3")
    assert train(preset, corpus, tmp_path / "run") == 0
    of_sample = sample_flops(preset.task())["pairs"].training
    shares = figures(tmp_path / "run", "mfu_percent")
    speeds = figures(tmp_path / "run", "samples_per_second")
    assert shares.keys() == speeds.keys() == {1, 2, 3}
    for step, share in shares.items():
        assert share == pytest.approx(100 * speeds[step] * of_sample / 1e12)
