import json
import math
import os
import signal
import time
from pathlib import Path

import cv2
import pytest
import torch
import typer
from typer.testing import CliRunner

from septet.preprocess.synthetic.scenes import COLOURS, SHAPES, make_scene, render
from septet.trainers.clip.presets import PRESETS
from septet.trainers.clip.task import ClipTask
from septet.trainers.commands import train as cli
from septet.trainers.engine.checkpoint import CheckpointError
from septet.trainers.engine.update import NonFiniteError
from septet.trainers.loader.source import TooManyBadSamplesError
from tests.trainers.conftest import settings, train
from tests.trainers.corpora import scenes_corpus, write_corpus
from tests.trainers.ranks import start
from tests.trainers.runs import completed, figures, same, stop_after, weights

KINDS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


def one_thing_corpus(folder: Path, count: int) -> Path:
    """Scenes of one thing each, labelled with its colour and shape."""
    samples = []
    for index in range(count):
        scene = make_scene(77, index, things=(1, 1))
        png = cv2.imencode(".png", render(scene)[:, :, ::-1])[1].tobytes()
        label = KINDS.index(f"{scene.things[0].colour} {scene.things[0].shape}")
        samples.append((f"{index:032x}", {"png": png, "cls": str(label).encode()}))
    return write_corpus(folder, samples)


def unsealed(checkpoints: Path) -> list[Path]:
    """Checkpoints that are being written, or were when their run was killed."""
    return [path for path in checkpoints.glob("step-*") if not (path / "COMPLETE").exists()]


@pytest.mark.slow
def test_debug_preset_learns_scenes(scenes, held_out, tmp_path):
    out, classes = tmp_path / "run", tmp_path / "classes.json"
    templates = ["a picture of a small {}", "a picture of a large {}"]
    classes.write_text(json.dumps({"classes": KINDS, "templates": templates}))
    labelled = one_thing_corpus(tmp_path / "labelled", 240)
    arguments = ["clip", scenes, "--out", out, "--steps", 200, "--held-out", held_out,
                 "--zero-shot", labelled, "--classes", classes]  # fmt: skip
    app = typer.Typer()
    app.command()(cli.train)
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    assert found.exit_code == 0, found.output
    losses = figures(out)
    chance = math.log(PRESETS["debug"].train.global_batch)
    assert losses[200] < 0.4 * chance  # 1.66; a run came to about 0.9
    for direction in ("image_to_text", "text_to_image"):
        assert figures(out, f"retrieval/{direction}_r1")[200] > 0.2  # chance is 1 in 256
    # Never trained on a scene of one thing, nor on these descriptions.
    assert figures(out, "zero_shot/accuracy_1")[200] > 0.06  # chance is 1 in 48
    assert figures(out, "zero_shot/accuracy_5")[200] > 0.25  # chance is 5 in 48


def test_interrupted_and_resumed_equals_uninterrupted(scenes, tmp_path):
    assert train(settings(), scenes, tmp_path / "whole") == 0
    early, rest = settings("train.save_every=3"), settings("train.workers=0")
    stop_after(5, early, scenes, tmp_path / "cut")
    assert [p.name for p in completed(tmp_path / "cut/checkpoints")][-1] == "step-00000005"
    assert train(rest, scenes, tmp_path / "cut") == 0
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


def saving(corpus: Path, out: Path, background: str) -> None:
    """Train with a checkpoint of every step."""
    more = "train.steps=6", "train.save_every=1", f"train.async_save={background}"
    assert train(settings(*more), corpus, out) == 0


@pytest.mark.slow
@pytest.mark.parametrize("background", ["false", "true"])
def test_killed_while_a_checkpoint_is_written(scenes, tmp_path, background, capsys):
    assert train(settings("train.steps=6"), scenes, tmp_path / "whole") == 0
    out = tmp_path / "killed"
    process = start(saving, scenes, out, background)
    checkpoints, deadline = out / "checkpoints", time.monotonic() + 120
    while time.monotonic() < deadline and process.exitcode is None:
        time.sleep(0.001)
        if completed(checkpoints) and unsealed(checkpoints):
            # Stopped first, so that it can not finish between the look and the kill.
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.05)
            if unsealed(checkpoints):
                break
            os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.join()
    assert unsealed(checkpoints) and completed(checkpoints)
    saving(scenes, out, background)
    assert "resuming after step" in capsys.readouterr().out
    assert figures(out) == figures(tmp_path / "whole")
    assert same(out, tmp_path / "whole")
    assert not unsealed(checkpoints)


@pytest.mark.parametrize("change", ["train.async_save=true", "train.ema=0.9"])
def test_saving_in_the_background_and_averaging_resume_exactly(scenes, tmp_path, change):
    preset = settings(change, "train.save_every=3")
    assert train(preset, scenes, tmp_path / "whole") == 0
    stop_after(5, settings(change, "train.save_every=3"), scenes, tmp_path / "cut")
    assert train(preset, scenes, tmp_path / "cut") == 0
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_corrupt_samples_are_skipped_within_the_budget(tmp_path):
    def spoil(i, members):
        return {**members, "png": members["png"][:40]} if i % 20 == 0 else members

    corpus = scenes_corpus(tmp_path / "corpus", 2, 64, change=spoil)
    out = tmp_path / "run"
    assert train(settings("train.max_bad_samples=0.2"), corpus, out) == 0
    skipped = [json.loads(line) for line in (out / "skipped-0.jsonl").read_text().splitlines()]
    assert skipped and all("image cannot be used: decode_error" in row["reason"] for row in skipped)
    assert figures(out, "skipped_samples")[8] >= 4
    with pytest.raises(TooManyBadSamplesError, match="septet check"):
        train(settings("train.max_bad_samples=0.01", "train.steps=40"), corpus, tmp_path / "strict")


def test_a_loss_that_is_not_finite_stops_before_the_update(scenes, tmp_path):
    stop_after(4, settings(), scenes, tmp_path)
    before = weights(tmp_path)

    class Poisoned(ClipTask):
        def pooled_losses(self, outputs, batch, gather):
            sums = super().pooled_losses(outputs, batch, gather)
            return {name: value * math.nan for name, value in sums.items()}

    preset = settings()
    task = Poisoned(preset.model, preset.train.global_batch)
    object.__setattr__(preset, "task", lambda: task)
    with pytest.raises(NonFiniteError, match="step 5: losses"):
        train(preset, scenes, tmp_path)
    after = weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert completed(tmp_path / "checkpoints")[-1].name == "step-00000004"


def test_what_does_not_belong_together_is_refused(scenes, tmp_path):
    stop_after(2, settings(), scenes, tmp_path / "run")
    for change, message in (
        ("train.global_batch=32", r"train\.global_batch was 16, now is 32"),
        ("train.seed=9", r"train\.seed was 0, now is 9"),
        ("model.embed=16", r"model\.embed was 32, now is 16; parameters\..* was .*, now is"),
        ("model.layers=2", r"parameters\..* was absent"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(settings(change), scenes, tmp_path / "run")
    other = scenes_corpus(tmp_path / "other", 8, 64)
    with pytest.raises(CheckpointError, match=r"corpora\.pairs was"):
        train(settings(), other, tmp_path / "run")
    assert train(settings(), scenes, tmp_path / "run") == 0


def test_newest_checkpoints_stay_and_a_run_tells_what_it_was(scenes, tmp_path):
    preset = settings("train.save_every=2", "train.keep=2")
    assert train(preset, scenes, tmp_path) == 0
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000006", "step-00000008"]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["train"] == preset.train.model_dump(mode="json")
    assert record["paths"]["pairs"] == [str(scenes)]
    assert record["parameters"] == sum(p.numel() for p in preset.task().build().parameters())
    assert list((tmp_path / "tensorboard").iterdir())
    found = figures(tmp_path, "samples_per_second")
    assert set(found) == set(range(1, 9)) and all(value > 0 for value in found.values())
    assert all(0 <= value <= 100 for value in figures(tmp_path, "data_wait_percent").values())
    assert not figures(tmp_path, "mfu_percent")  # has no meaning on a CPU


def test_a_checkpoint_without_its_marker_does_not_count(scenes, tmp_path):
    assert train(settings(), scenes, tmp_path) == 0
    newest = completed(tmp_path / "checkpoints")[-1]
    (newest / "COMPLETE").unlink()
    (tmp_path / "checkpoints/step-00000003").mkdir()
    assert [p.name for p in completed(tmp_path / "checkpoints")] == ["step-00000004"]
    before = figures(tmp_path)
    assert train(settings(), scenes, tmp_path) == 0
    assert figures(tmp_path) == before
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-00000004", "step-00000008"}
