"""Runs whose folder is in an object store."""

import json
import time
from pathlib import Path

import fsspec
import pytest

from septet.preprocess import files, locks
from septet.preprocess.locks import FolderBusyError
from septet.trainers.engine import checkpoint
from septet.trainers.engine.checkpoint import CheckpointError
from septet.trainers.engine.folder import set_aside
from tests.object_store import object_store
from tests.trainers.conftest import fit_alone, run_of, settings
from tests.trainers.runs import figures, same, stopping_after

SAVES = ("train.save_every=3", "train.keep=2")


def download(url: str, folder: Path) -> Path:
    fs, plain = fsspec.url_to_fs(url)
    fs.get(plain, str(folder), recursive=True)
    return folder


@pytest.mark.parametrize("change", ["train.async_save=false", "train.async_save=true"])
def test_a_run_in_a_store_equals_one_on_disk(scenes, tmp_path, capsys, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "whole"
    assert fit_alone(run_of(settings(*SAVES), scenes, local)) == 0
    with object_store() as bucket:
        out = f"{bucket}/runs/one"
        assert fit_alone(run_of(stopping_after(5, settings(*SAVES, change)), scenes, out)) == 143
        assert [path.rsplit("/", 1)[-1] for path in checkpoint.completed(f"{out}/checkpoints")] == [
            "step-00000003",
            "step-00000005",
        ]
        assert fit_alone(run_of(settings(*SAVES, change), scenes, out)) == 0
        said = capsys.readouterr().out
        assert "resuming after step 5" in said and f"checkpoints in {out}/checkpoints" in said
        stored = download(out, tmp_path / "stored")
        assert figures(stored) == figures(local) and same(stored, local)
        assert json.loads((stored / "run.json").read_text())["out"] == out
        assert list((stored / "tensorboard").iterdir())
        assert not (stored / "holder.json").exists()
        assert not list((stored / ".septet-locks").glob("*"))

        newest = f"{out}/checkpoints/step-00000008/state.json"
        files.write_bytes(newest, files.read_bytes(newest)[:-1])
        with pytest.raises(CheckpointError, match=r"step-00000008 is damaged: state\.json"):
            fit_alone(run_of(settings(*SAVES, "train.damaged=refuse"), scenes, out))
        assert fit_alone(run_of(settings(*SAVES), scenes, out, resume=False)) == 0
        assert files.exists(f"{out}.1/checkpoints/step-00000008/COMPLETE")
        assert same(download(out, tmp_path / "anew"), local)
    assert not list(tmp_path.glob("s3*"))  # nothing beside it on this disk


def test_a_run_that_lost_its_lease_leaves_the_files_of_its_successor(scenes, monkeypatch):
    """A machine slept, and another took the run over: its figures stand in the store by now."""
    monkeypatch.setattr(locks, "_RENEW_SECONDS", 0.05)
    with object_store() as bucket:
        out = f"{bucket}/runs/one"
        names = [f"{out}/{name}" for name in ("metrics.jsonl", "run.json", "holder.json")]

        def lose(module: object) -> None:
            now = time.time()
            lease = {"host": "another", "name": "another", "pid": 1, "started": None}
            lease |= {"since": now + 1, "until": now + 600}
            successor = f"{out}/{locks.LEASES}/alone-another.0.json"
            files.write_bytes(successor, json.dumps(lease).encode())
            for name in names:
                files.write_bytes(name, b"the successor's")
            time.sleep(60)
            pytest.fail("the run went on without its lease")

        preset = settings(*SAVES)
        task = preset.task()
        task.after_step = lose
        object.__setattr__(preset, "task", lambda: task)
        with pytest.raises(FolderBusyError, match="another took the folder over"):
            fit_alone(run_of(preset, scenes, out))
        assert [files.read_bytes(name) for name in names] == [b"the successor's"] * 3


def test_an_earlier_run_in_a_store_is_moved_whole():
    """What is below its folders, too, as a store has none."""
    names = ["checkpoints/step-00000001/COMPLETE", "checkpoints/step-00000001/__0_0.distcp",
             "metrics.jsonl", "tensorboard/events"]  # fmt: skip
    with object_store() as bucket:
        out = f"{bucket}/runs/one"

        def stored() -> dict[str, bytes]:
            fs, plain = fsspec.url_to_fs(f"{bucket}/runs")
            fs.invalidate_cache()
            return {path.removeprefix(f"{plain}/"): fs.cat_file(path) for path in fs.find(plain)}

        assert set_aside(out) is None
        for number in (1, 2):
            for name in names:
                files.write_bytes(f"{out}/{name}", f"{number} {name}".encode())
            assert set_aside(f"{out}/") == f"{out}.{number}"
            assert stored() == {
                f"one.{n}/{name}": f"{n} {name}".encode()
                for n in range(1, number + 1)
                for name in names
            }
