import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from septet.preprocess.regions.checkpoint import read_state, split_state, torchvision_name
from septet.preprocess.regions.network import C4Options, FasterRcnnC4
from septet.preprocess.regions.unpickle import loads_plain
from tests.preprocess.regions.reference import State

OPTIONS = C4Options(proposals=5, anchor_sizes=(16, 24, 32, 64))


def small(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if tensor.numel() < 3000}


def test_every_form_of_file_gives_the_same_tensors(state: State, tmp_path: Path) -> None:
    part = small(state)
    arrays = {name: tensor.numpy() for name, tensor in part.items()}
    zoo = {"model": OrderedDict(arrays), "__author__": "someone"}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(zoo, protocol=2))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(arrays, protocol=5))
    torch.save({"model": part, "iteration": 7}, tmp_path / "c.pth")
    torch.save({"state_dict": {f"module.{n}": t for n, t in part.items()}}, tmp_path / "d.pt")
    save_file(part, tmp_path / "e.safetensors")
    save_file({n: t.half() for n, t in part.items()}, tmp_path / "f.safetensors")
    for name in ("a.pkl", "b.pkl", "c.pth", "d.pt", "e.safetensors", "f.safetensors"):
        found = read_state(str(tmp_path / name))
        assert found.keys() == part.keys()
        half = name.startswith("f")
        assert all(torch.equal(t, part[n].half().float() if half else part[n])
                   for n, t in found.items())  # fmt: skip


def test_the_names_are_those_of_torchvision(state: State) -> None:
    theirs = set(resnet50(weights=None).state_dict())
    theirs = {n for n in theirs if not n.startswith("fc.") and "num_batches" not in n}
    resnet, rest = split_state(state)
    assert set(resnet) == theirs
    assert len(rest) == 10
    assert torchvision_name("backbone.res4.5.conv3.norm.bias") == "layer3.5.bn3.bias"
    assert torchvision_name("roi_heads.res5.0.shortcut.weight") == "layer4.0.downsample.0.weight"
    assert torchvision_name("backbone.stem.conv1.norm.weight") == "bn1.weight"


def test_norms_without_statistics_are_plain_scales(state: State) -> None:
    folded = {n: t for n, t in state.items() if "running" not in n}
    resnet, _ = split_state(folded)
    assert resnet["layer1.0.bn1.running_mean"].abs().sum() == 0
    assert (resnet["layer3.0.downsample.1.running_var"] == 1).all()
    FasterRcnnC4(folded, OPTIONS)


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_that_does_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"model": {"a": Evil()}}, protocol=protocol)
    with pytest.raises(ValueError, match="system"):
        loads_plain(data)
    Path("w.pkl").write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        read_state("w.pkl")
    torch.save({"model": {"a": Evil()}}, "w.pth")
    with pytest.raises(ValueError, match="holds no weights by name"):
        read_state("w.pth")
    assert not Path("evil").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "numpy.load", "numpy.core.x"])
def test_nothing_but_arrays_is_found(name: str) -> None:
    module, _, what = name.rpartition(".")
    with pytest.raises(ValueError, match=re.escape(name)):
        loads_plain(f"c{module}\n{what}\n(S'1'\ntR.".encode())


def test_plain_data_comes_through() -> None:
    value = {"a": [1, 2.5, "x", b"y", None, True, (1, 2)], "n": np.float32(3), "i": np.int64(4),
             "array": np.arange(6, dtype=np.float32).reshape(2, 3)}  # fmt: skip
    for protocol in range(6):
        found = loads_plain(pickle.dumps(value, protocol=protocol))
        assert np.array_equal(found.pop("array"), value["array"])
        assert found == {k: v for k, v in value.items() if k != "array"}
    for broken in (b"", b"\x80", b"hello", pickle.dumps(value)[:-20]):
        with pytest.raises(ValueError, match="no pickle"):
            loads_plain(broken)


def test_weights_that_do_not_fit_say_why(state: State, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_state(str(tmp_path / "none.pth"))
    (tmp_path / "x.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_state(str(tmp_path / "x.safetensors"))
    with pytest.raises(ValueError, match="no such file"):
        read_state(str(tmp_path / "none.pkl"))
    with pytest.raises(ValueError, match="--set weights=PATH"):
        read_state("")
    without = {n: t for n, t in state.items() if "cls_score" not in n}
    with pytest.raises(ValueError, match="cls_score"):
        FasterRcnnC4(without, OPTIONS)
    with pytest.raises(ValueError, match="res4 has 5 blocks"):
        FasterRcnnC4({n: t for n, t in state.items() if "res4.5" not in n}, OPTIONS)
    lacking = {n: t for n, t in state.items() if n != "backbone.res2.0.conv1.weight"}
    with pytest.raises(ValueError, match="do not fit"):
        FasterRcnnC4(lacking, OPTIONS)
