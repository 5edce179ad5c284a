import json
import subprocess
import sys

import pytest
import torch
import typer
from safetensors.torch import load, load_file
from typer.testing import CliRunner

from septet.preprocess import files
from septet.trainers.clip.presets import PRESETS
from septet.trainers.commands.export import export
from septet.trainers.commands.train import _parse, train
from septet.trainers.commands.weights import weights
from tests.object_store import object_store
from tests.trainers.conftest import TINY

APP = typer.Typer()
APP.command("train")(train)
QUICK = [item for change in TINY for item in ("--set", change)]


def call(*arguments: str):
    return CliRunner().invoke(APP, [str(a) for a in arguments])


def test_help_teaches_by_example_and_does_not_import_torch():
    code = "import sys, septet.trainers.commands.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    found = call("--help")
    assert found.exit_code == 0 and "septet train clip corpora/demo --preset debug" in found.output


def test_trains_and_resumes(scenes, held_out, tmp_path):
    common = ("clip", scenes, "--out", tmp_path / "run", *QUICK)
    first = call(*common, "--steps", "3", "--workers", "0", "--held-out", held_out)
    assert first.exit_code == 0, first.output
    assert "retrieval/image_to_text_r1" in first.output
    second = call(*common, "--steps", "3")
    assert second.exit_code == 0 and "resuming after step 3" in second.output
    again = call(*common, "--steps", "3", "--no-resume", "--seed", "5")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run.1/metrics.jsonl").exists() and (tmp_path / "run/run.json").exists()


def test_exports_a_run_and_starts_another_from_it(scenes, tmp_path):
    """Through an object store: a run's weights go there, and another run takes them from there."""
    exporting = typer.Typer()
    exporting.command()(export)
    common = ("clip", scenes, *QUICK, "--steps", "1", "--set", "optimizer.lr=1e-9")
    assert call(*common, "--out", tmp_path / "a", "--set", "train.ema=0.5").exit_code == 0
    with object_store() as bucket:
        arguments = [str(tmp_path / "a"), f"{bucket}/exports/a", "--form", "hf"]
        found = CliRunner().invoke(exporting, arguments)
        first = f"{bucket}/exports/a/model.safetensors"
        assert found.exit_code == 0 and first in found.output, found.output
        assert json.loads(files.read_bytes(f"{bucket}/exports/a/config.json"))
        again = call(*common, "--out", tmp_path / "b", "--seed", "9", "--initial", first)
        assert again.exit_code == 0, again.output
        one = load(files.read_bytes(first))
    CliRunner().invoke(exporting, [str(tmp_path / "b"), str(tmp_path / "hf2"), "--form", "hf"])
    two = load_file(tmp_path / "hf2/model.safetensors")
    assert all((one[name] - two[name]).abs().max() < 1e-6 for name in one)
    nothing = CliRunner().invoke(exporting, [str(tmp_path), str(tmp_path / "x")])
    assert nothing.exit_code == 1 and "give the folder of a run" in nothing.output


@pytest.mark.parametrize("arguments,message", [
    (("clipp", "x"), "there is no model 'clipp'; there are: clip"),
    (("clip", "x", "--preset", "vit"), "it has: rn50"),
    (("clip", "/nowhere"), "has no corpus.json"),
    (("clip", "x", "--set", "train.global_bach=8"), "did you mean 'train.global_batch'?"),
    (("clip", "x", "--set", "train.steps"), "expected KEY=VALUE"),
    (("clip", "x", "--set", "train.steps=many"), "train.steps"),
    (("clip", "x", "--set", "train.micro_batch=48"), "no multiple of micro_batch 48"),
    (("clip", "x", "--zero-shot", "y"), "go together"),
    (("clip", "images=x"), "there is no stream 'images'"),
    (("clip", "x", "--set", "model.width=100"), "multiple of 64"),
    (("clip", "x", "--set", "model.layers=["), "--set model.layers=[: not YAML"),
    (("clip", "x", "--set", "optimizer.betas=(0.9,0.98)"), "write lists as [0.9,0.98]"),
    (("clip", "x@0"), "a weight must be above zero"),
    (("clip", "x@heavy"), "as a weight 'heavy' is no number"),
    (("clip", "x", "--held-out", "x"), "which is trained on: both have sample"),
    (("clip", "x", "--held-out", "a=x", "--held-out", "a=x"), "a name of its own"),
])  # fmt: skip
def test_what_users_get_wrong_is_told_clearly(arguments, message, scenes, tmp_path):
    # Typer joins both streams; a path to a real corpus stands in for x.
    real = [
        str(scenes) + a[1:] if a == "x" or a.startswith("x@") else a.replace("=x", f"={scenes}")
        for a in arguments
    ]
    found = call(*real, "--out", tmp_path / "run")
    assert found.exit_code == 1
    assert message in found.output and "Traceback" not in found.output
    assert "{'" not in found.output  # No dump of all settings.


def test_paths_may_have_any_characters(held_out, tmp_path):
    for name in ("a=b", "pairs@2", "with blank, comma", "pairs=x@1"):
        folder = tmp_path / name
        folder.symlink_to(held_out)
        assert _parse(str(folder), ["pairs"]) == (None, str(folder), 1.0)
        assert _parse(f"pairs={folder}@0.5", ["pairs"]) == ("pairs", str(folder), 0.5)
    with pytest.raises(ValueError, match=r"no stream .a.; there are: pairs\. A path with"):
        _parse("a=nowhere", ["pairs"])


def test_class_names_that_are_no_json_are_told_with_their_file(scenes, tmp_path):
    classes = tmp_path / "classes.json"
    classes.write_text("{classes: []}")
    found = call("clip", scenes, "--zero-shot", scenes, "--classes", classes, *QUICK)
    assert found.exit_code == 1 and f"{classes} is no JSON" in found.output.replace("\n", "")
    assert call("clip", scenes, "--dry-run", "--ranks", "0").exit_code == 2


def test_what_a_file_of_weights_holds_is_told(tmp_path):
    command = typer.Typer()
    command.command()(weights)
    for name in ("debug", "vit-b-32"):
        with torch.device("meta"):
            state = PRESETS[name].task().build().state_dict()
        state = {f"module.{n}": torch.zeros(x.shape) for n, x in state.items()}
        state["module.attn_mask"] = torch.zeros(2, 2)
        torch.save({"state_dict": state}, tmp_path / f"{name}.pt")

    def told(file, preset, *more):
        arguments = ["clip", str(tmp_path / file), "--preset", preset, *map(str, more)]
        return CliRunner().invoke(command, arguments)

    found = told("debug.pt", "debug", "--out", tmp_path / "out.safetensors")
    assert found.exit_code == 0 and "it lacks: none" in found.output, found.output
    assert "not read: 1; clip has no use for them\n  attn_mask" in found.output
    assert (
        load_file(tmp_path / "out.safetensors").keys()
        == PRESETS["debug"].task().build().state_dict().keys()
    )
    other = told("vit-b-32.pt", "vit-b-16")
    assert other.exit_code == 1 and "The nearest preset is vit-b-32, of which 100%" in other.output
    assert "visual.conv1.weight is [768, 3, 32, 32], the model's [768, 3, 16, 16]" in other.output


def test_without_torch_the_error_names_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; import typer, septet.trainers.commands.train; "
        "sys.argv = ['train', 'clip', 'x']; typer.run(septet.trainers.commands.train.train)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    assert "pip install 'septet[train]'" in found.stderr and "Traceback" not in found.stderr
