import argparse
import io
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from septet.preprocess.codes.load import load_tokenizer, tokenizer_form
from septet.preprocess.weights import read_state
from tests.preprocess.codes.oracles import FOLDER, Oracle

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[n], STATE[n]) for n in STATE)


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.99))},
    ],
    ids=["plain", "state_dict", "model"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_torch_saves(tmp_path, wrapped, zipped):
    path = tmp_path / "weights.ckpt"
    torch.save(wrapped, path, _use_new_zipfile_serialization=zipped)
    assert same(read_state(str(path)))
    with fsspec.open("memory://weights/weights.ckpt", "wb") as out:
        out.write(path.read_bytes())
    assert same(read_state("memory://weights/weights.ckpt"))


def test_reads_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(STATE, path)
    assert same(read_state(str(path)))
    with fsspec.open("memory://weights/weights.safetensors", "wb") as out:
        out.write(path.read_bytes())
    assert same(read_state("memory://weights/weights.safetensors"))


def test_wrappers_in_wrappers_are_taken_off(tmp_path):
    torch.save({"model": {"model_state": STATE}}, tmp_path / "nested.pt")
    assert same(read_state(str(tmp_path / "nested.pt")))


def test_reads_torchscript_archives(tmp_path):
    module = torch.nn.Linear(3, 2)
    torch.jit.script(module).save(str(tmp_path / "openai.pt"))
    with fsspec.open("memory://weights/openai.pt", "wb") as out:
        out.write((tmp_path / "openai.pt").read_bytes())
    for path in (str(tmp_path / "openai.pt"), "memory://weights/openai.pt"):
        found = read_state(path)
        assert found.keys() == {"weight", "bias"} and torch.equal(found["weight"], module.weight)
    (tmp_path / "openai.pt").write_bytes(_without_data(tmp_path / "openai.pt"))
    with pytest.raises(ValueError, match=r"openai\.pt cannot be read as a file of weights"):
        read_state(str(tmp_path / "openai.pt"))


def _without_data(archive: Path) -> bytes:
    """A TorchScript archive that lacks its module."""
    out = io.BytesIO()
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(out, "w") as part:
        for name in whole.namelist():
            if not name.endswith("/data.pkl"):
                part.writestr(name, whole.read(name))
    return out.getvalue()


class Evil:
    """Its pickle runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class Callback:
    """Stands for a class of Lightning that keys a checkpoint's callbacks."""


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run_and_foreign_objects_are_passed_over(tmp_path, zipped):
    path = tmp_path / "last.ckpt"
    content = {
        "state_dict": STATE,
        "hparams": SimpleNamespace(lr=1),
        "callbacks": {Callback: {"best": 1}, "evil": Evil(tmp_path / "ran")},
        "list": [Evil(tmp_path / "ran")],
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(read_state(str(path))) and not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()  # It would have been run.


def test_a_whole_module_gives_its_weights(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save({"model": module}, tmp_path / "whole.pt")
    found = read_state(str(tmp_path / "whole.pt"))
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(x, found[n]) for n, x in module.state_dict().items())


class Scripted(torch.nn.Module):
    """Its archive has code that runs when it is loaded."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(4))
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.w = state[0]
        self.training = state[1]
        raise Exception("setstate ran")


def test_code_of_torchscript_archives_is_not_run(tmp_path):
    path = str(tmp_path / "evil.pt")
    torch.jit.script(Scripted()).save(path)
    with pytest.raises(Exception, match="setstate ran"):
        torch.jit.load(path)
    with pytest.raises(ValueError, match="holds no weights by name"):
        read_state(path)


@pytest.mark.parametrize("wrap", [
    lambda s: {"module": {f"module.{n}": x for n, x in s.items()}},  # DeepSpeed
    lambda s: {"state_dict": {f"model.{n}": x for n, x in s.items()}, "epoch": 1},  # Lightning
    lambda s: {f"module._orig_mod.{n}": x for n, x in s.items()},
    lambda s: {f"_orig_mod.module.model.{n}": x for n, x in s.items()},
    lambda s: {"model": {"state_dict": {n.replace(".", "._orig_mod."): x for n, x in s.items()}}},
])  # fmt: skip
def test_what_trainers_put_around_and_before_names_comes_off(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "wrapped.pt")
    assert same(read_state(str(tmp_path / "wrapped.pt")))
    mixed = {"model.a": STATE["a.bias"], "head.a": STATE["a.bias"]}
    torch.save(mixed, tmp_path / "mixed.pt")
    assert read_state(str(tmp_path / "mixed.pt")).keys() == mixed.keys()


def test_what_holds_no_weights_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_state(str(tmp_path / "none.ckpt"))
    torch.save({"epoch": 1}, tmp_path / "empty.ckpt")
    with pytest.raises(ValueError, match="holds no weights by name"):
        read_state(str(tmp_path / "empty.ckpt"))
    torch.save([torch.zeros(2)], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="but list"):
        read_state(str(tmp_path / "list.ckpt"))
    for name in ("text.ckpt", "text.safetensors", "empty.safetensors"):
        (tmp_path / name).write_bytes(b"" if "empty" in name else b"this is no file of weights")
        with pytest.raises(ValueError, match=name):
            read_state(str(tmp_path / name))
    whole = tmp_path / "cut.ckpt"
    torch.save(STATE, whole)
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.ckpt"):
        read_state(str(whole))


def test_tokenizers_by_name(tmp_path):
    path = str(tmp_path / "vqgan.ckpt")
    torch.save({"state_dict": Oracle("vqgan_gumbel_f8").weights}, path)
    module = load_tokenizer("vqgan", path)
    assert (module.stride, module.codebook_size) == (8, 96)
    form = tokenizer_form("vqgan", path)
    assert (form.stride, form.codebook_size) == (8, 96)
    with pytest.raises(ValueError, match=r"vqgan\.ckpt: these weights are no dVAE encoder's"):
        load_tokenizer("dvae", path)
    with pytest.raises(ValueError, match="expected a tokenizer of vqgan, dvae, vqkd; found 'vae'"):
        load_tokenizer("vae", path)
    with pytest.raises(ValueError, match=r"no VQGAN's"):
        load_tokenizer("vqgan", str(FOLDER / "vqkd.safetensors"))
