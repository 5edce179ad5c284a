"""Figures elsewhere: in Weights & Biases, by the real package without its network; for Prometheus,
over a real socket; and as lines on the terminal."""

import json
import socket
import struct
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from prometheus_client.parser import text_string_to_metric_families
from wandb.proto.wandb_internal_pb2 import Record

from septet.trainers.tracking.prometheus import Prometheus
from septet.trainers.tracking.wandb import Wandb
from tests.trainers.conftest import settings, train
from tests.trainers.runs import figures, stop_after

BLOCK, HEADER = 2**15, 7


def records(path: Path) -> Iterator[Record]:
    """What the package wrote: LevelDB's log format after a header of seven bytes."""
    data, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, size, part = struct.unpack_from("<IHB", data, at)
        whole += data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if part in (1, 4):  # whole, or last
            yield Record.FromString(whole)
            whole = b""


def logged(out: Path, name: str) -> dict[int, float]:
    found = {}
    for path in sorted(out.glob("wandb/offline-run-*/run-*.wandb")):
        for record in records(path):
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            if name in items:
                found[int(items["_step"])] = json.loads(items[name])
    return found


def test_a_resumed_run_goes_on_in_its_own(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out, changes = tmp_path / "run", ("train.steps=4", "train.save_every=2")
    stop_after(2, settings(*changes), scenes, out, [Wandb("septet")])
    assert train(settings(*changes), scenes, out, trackers=[Wandb("septet")]) == 0
    wandb.teardown()  # Its process may write on after a run's end.
    ids = {path.name for path in out.glob("wandb/offline-run-*/run-*.wandb")}
    assert ids == {f"run-{(out / 'wandb-id.txt').read_text()}.wandb"}
    for name in ("loss", "loss/contrastive", "tokens_per_second"):
        assert logged(out, name) == figures(out, name), name
    assert len(figures(out)) == 4


def test_tokens_are_counted(scenes, tmp_path):
    preset = settings("train.steps=2")
    assert train(preset, scenes, tmp_path) == 0
    tokens, samples = (figures(tmp_path, f"{name}_per_second")[2] for name in ("tokens", "samples"))
    model = preset.model
    patches = (model.image_size // model.patch) ** 2
    assert tokens / samples == pytest.approx(patches + model.context)


class Scraping:
    """Fetches what is served at each report; a tracker, so that it does while the run trains."""

    def __init__(self, port: int):
        self._url, self.seen = f"http://127.0.0.1:{port}/metrics", {}

    def begin(self, folder: Path) -> None:
        self.fetch()

    def log(self, step: int, figures: dict[str, float]) -> None:
        self.seen[step] = self.fetch()

    def fetch(self) -> dict[tuple[str, str], float]:
        with urllib.request.urlopen(self._url, timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
        self.labels = {sample.name: sample.labels for sample in samples}
        return {(s.name, s.labels.get("part", "")): s.value for s in samples}

    def close(self) -> None: ...


def test_prometheus_fetches_the_figures_while_the_run_trains(scenes, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scraping = Scraping(port)
    trackers = [Prometheus(f"127.0.0.1:{port}"), scraping]
    assert train(settings("train.steps=3"), scenes, tmp_path, trackers=trackers) == 0
    assert [*scraping.seen] == [1, 2, 3]
    for step, seen in scraping.seen.items():
        assert seen["septet_step", ""] == step and seen["septet_steps", ""] == 3
        for name in ("loss", "samples_per_second", "data_wait_percent", "skipped_samples"):
            assert seen[f"septet_{name}", ""] == figures(tmp_path, name)[step], name
        part = figures(tmp_path, "loss/contrastive")[step]
        assert seen["septet_loss", "contrastive"] == part
        assert seen["process_resident_memory_bytes", ""] > 10**8
        assert 0 <= time.time() - seen["septet_reported_time_seconds", ""] < 600
    assert scraping.labels["septet_run_info"]["out"] == str(tmp_path)
    with pytest.raises(OSError):
        scraping.fetch()  # it ended with the run


@pytest.mark.parametrize("address", ["9400", "localhost:", ":9400", "a:b", "a:99999"])
def test_an_address_that_is_none_is_told(address):
    with pytest.raises(ValueError, match=r"--prometheus is HOST:PORT, such as 0\.0\.0\.0:9400"):
        Prometheus(address)


def test_a_port_in_use_is_told_before_the_first_step(scenes, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"--prometheus {address}: Address already in use"):
            train(settings("train.steps=3"), scenes, tmp_path, trackers=[Prometheus(address)])


def test_a_run_tells_its_steps_as_lines_for_machines(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPTET_LOG", "json")
    capsys.readouterr()
    assert train(settings("train.steps=2"), scenes, tmp_path) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = {line["step"]: line for line in lines if "loss" in line}
    assert {step: line["loss"] for step, line in steps.items()} == figures(tmp_path)
    assert steps[2]["gradient_norm"] == figures(tmp_path, "gradient_norm")[2]
    assert steps[2]["message"].startswith("step 2/2  loss ")
    assert lines[0]["message"].startswith("starting: ")
