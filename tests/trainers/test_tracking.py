"""Figures in Weights & Biases, by the real package without its network."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from septet.trainers.engine.tracking import Wandb
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
