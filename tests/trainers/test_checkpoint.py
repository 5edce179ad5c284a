import json
import resource
import shutil
import signal
from pathlib import Path

import pytest

from septet.trainers.engine.checkpoint import CheckpointError
from septet.trainers.engine.update import NonFiniteError
from septet.trainers.loader import order
from tests.trainers.conftest import fit_alone, run_of, settings, train
from tests.trainers.runs import completed, figures, same, stop_after


def non_finite_at(step: int, preset):
    task, steps = preset.task(), iter(range(1, 1000))
    losses = task.pooled_losses

    def pooled_losses(outputs, batch, gather):
        scale = float("nan") if next(steps) == step else 1.0
        return {name: x * scale for name, x in losses(outputs, batch, gather).items()}

    task.pooled_losses = pooled_losses
    object.__setattr__(preset, "task", lambda: task)
    return preset


@pytest.mark.parametrize("background", ["false", "true"])
def test_a_run_that_fails_keeps_the_checkpoint_that_was_being_written(scenes, tmp_path, background):
    preset = non_finite_at(5, settings(f"train.async_save={background}"))  # it saves after step 4
    with pytest.raises(NonFiniteError, match="step 5"):
        train(preset, scenes, tmp_path)
    assert [path.name for path in completed(tmp_path / "checkpoints")] == ["step-00000004"]


@pytest.mark.parametrize("background", ["false", "true"])
def test_a_measure_that_fails_does_not_cost_the_last_checkpoint(scenes, tmp_path, background):
    class Failing:
        name = "failing"

        def __call__(self, module, device):
            raise RuntimeError("no memory left")

    preset = settings(f"train.async_save={background}")
    with pytest.raises(RuntimeError, match="no memory left"):
        train(preset, scenes, tmp_path, evaluators=[Failing()])
    names = [path.name for path in completed(tmp_path / "checkpoints")]
    assert names == ["step-00000004", "step-00000008"]


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory) -> tuple[Path, Path]:
    """A run of 8 steps with checkpoints at 4 and 8, and one of 10 that was never stopped."""
    short, whole = tmp_path_factory.mktemp("short"), tmp_path_factory.mktemp("whole")
    train(settings("optimizer.schedule=constant"), scenes, short)
    train(settings("optimizer.schedule=constant", "train.steps=10"), scenes, whole)
    return short, whole


FILES = (".metadata", "COMPLETE", "__0_0.distcp", "state.json")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 0x40
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [cut, flipped, None], ids=["cut", "flipped", "lost"])
def test_damage_is_named_and_an_older_checkpoint_used(
    finished, scenes, tmp_path, capsys, name, harm
):
    short, whole = finished
    out = tmp_path / "run"
    shutil.copytree(short, out)
    newest = out / "checkpoints/step-00000008"
    assert {path.name for path in newest.iterdir()} == set(FILES)
    path = newest / name
    if harm is None:
        path.unlink()
    else:
        path.write_bytes(harm(path.read_bytes()))
    longer = settings("optimizer.schedule=constant", "train.steps=10")
    if not (name == "COMPLETE" and harm is None):  # Without a seal it is no checkpoint.
        refusing = settings("optimizer.schedule=constant", "train.steps=10", "train.damaged=refuse")
        with pytest.raises(CheckpointError, match=rf"step-00000008 is damaged: {name}"):
            train(refusing, scenes, out)
        assert path.exists() == (harm is not None)
    capsys.readouterr()
    assert train(longer, scenes, out) == 0
    said = capsys.readouterr().out
    assert "resuming after step 4" in said
    if not (name == "COMPLETE" and harm is None):
        assert f"step-00000008 is damaged: {name}" in said
        assert "going on from" in said
    assert figures(out) == figures(whole)
    assert same(out, whole)


def test_no_intact_checkpoint_is_an_error(finished, scenes, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    for path in (out / "checkpoints").glob("*/__0_0.distcp"):
        path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"no checkpoint is intact: .*step-00000008 .* bytes"):
        train(settings("optimizer.schedule=constant"), scenes, out)


def test_a_full_disk_is_one_sentence(scenes, tmp_path):
    assert train(settings("train.steps=4"), scenes, tmp_path) == 0
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step-00000008 could not be written: .*large"):
            train(settings(), scenes, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in completed(tmp_path / "checkpoints")] == ["step-00000004"]
    assert train(settings(), scenes, tmp_path) == 0
    names = [path.name for path in completed(tmp_path / "checkpoints")]
    assert names == ["step-00000004", "step-00000008"]


@pytest.mark.parametrize(
    "change,phrase",
    [
        ("model.activation=gelu", "model.activation was 'quick_gelu', now is 'gelu'"),
        ("train.shuffle_window=999", "train.shuffle_window was 131072, now is 999"),
        ("train.ema=0.5", "train.ema was None, now is 0.5"),
        ("train.complete_only=true", "train.complete_only was False, now is True"),
    ],
)
def test_another_function_or_order_is_refused(finished, scenes, tmp_path, change, phrase):
    with pytest.raises(CheckpointError, match="does not belong to this run") as error:
        train(settings("optimizer.schedule=constant", change), scenes, finished[0])
    assert phrase in str(error.value)


def test_a_version_that_draws_another_order_is_refused(finished, scenes, monkeypatch):
    """As versions did whose streams over one corpus had one order."""
    draw = order.generator
    monkeypatch.setattr(order, "generator", lambda purpose, *of: draw(purpose, of[0], *of[2:]))
    with pytest.raises(CheckpointError, match="the samples of pairs come in another order"):
        train(settings("optimizer.schedule=constant"), scenes, finished[0])


def test_whatever_else_differs_is_told(finished, scenes, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    changes = {
        "optimizer.lr=0.0001": "optimizer.lr was 0.001, now is 0.0001",
        "optimizer.schedule=linear": "optimizer.schedule was 'constant', now is 'linear'",
        "train.precision=bf16": "train.precision was 'fp32', now is 'bf16'",
        "train.steps=9": "train.steps was 8, now is 9",
        "optimizer.kind=adafactor": "optimizer.kind was 'adamw', now is 'adafactor'",
    }
    run = run_of(settings(*changes), scenes, out, initial=["nosuch.pt"])
    assert fit_alone(run) == 0
    said = capsys.readouterr().out.splitlines()
    for phrase in changes.values():
        assert phrase in said
    assert any(line.startswith("--initial nosuch.pt is not looked at") for line in said)
    assert any(line.startswith("the optimizer keeps other moments than") for line in said)
    record = json.loads((out / "checkpoints/step-00000009/state.json").read_text())
    assert record["optimizer"]["lr"] == 0.0001 and record["model"]["layers"] == 1


def test_starting_anew_moves_the_old_run_only_when_all_is_well(finished, scenes, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    preset = settings("optimizer.schedule=constant")
    with pytest.raises(ValueError, match=r"nosuch\.pt"):
        fit_alone(run_of(preset, scenes, out, initial=[tmp_path / "nosuch.pt"], resume=False))
    assert not (tmp_path / "run.1").exists() and completed(out / "checkpoints")
    capsys.readouterr()
    assert fit_alone(run_of(preset, scenes, out, resume=False)) == 0
    assert f"the earlier run is kept in {out}.1" in capsys.readouterr().out
    assert same(tmp_path / "run.1", out)


def test_a_run_stopped_at_once_resumes(scenes, tmp_path):
    stop_after(1, settings(), scenes, tmp_path)
    assert train(settings(), scenes, tmp_path) == 0
