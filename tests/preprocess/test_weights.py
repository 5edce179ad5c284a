import argparse
import io
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


def test_foreign_classes_are_not_unpickled(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": STATE, "hparams": SimpleNamespace(lr=1)}, path)
    with pytest.raises(ValueError, match=r"objects of types\.SimpleNamespace .*any code") as error:
        read_state(str(path))
    assert 'torch.save(found["state_dict"]' in str(error.value)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="a whole module was saved"):
        read_state(str(path))


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
