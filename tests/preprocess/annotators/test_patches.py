import argparse
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet50
from torchvision.transforms.functional import normalize

from septet.preprocess.annotators.patches import (
    MEAN,
    STD,
    Patches,
    PatchesSettings,
    pieces,
    resnet_trunk,
)
from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.columns.members import check_member, unpack
from septet.preprocess.weights import read_state


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = resnet50()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(network.state_dict(), path)
    return str(path)


def file(seed, size=(90, 70)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(out, "jpeg")
    return out.getvalue()


def test_pieces_are_row_major():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = pieces(Image.fromarray(pixels), 64)
    assert found.shape == (16, 16, 16, 3)
    for row in range(4):
        for column in range(4):
            expected = pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            assert np.array_equal(found[4 * row + column], expected)


def test_equals_torchvision(network, weights):
    column = Patches(PatchesSettings(weights=weights, size=128))
    column.setup()
    items = [Item(str(i), {"jpg": file(i)}, {}) for i in range(3)]
    values = column.annotate(items)
    trunk = torch.nn.Sequential(*list(network.children())[:-1])  # up to the average
    for item, value in zip(items, values, strict=True):
        check_member(value.data, column.member)
        assert len(value.data) == 16 * 2048 * 2
        with Image.open(io.BytesIO(item.image)) as image:
            square = image.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
        x = torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255
        x = normalize(x, MEAN, STD)
        grid = torch.stack(
            [x[:, i : i + 32, j : j + 32] for i in range(0, 128, 32) for j in range(0, 128, 32)]
        )
        with torch.no_grad():
            expected = trunk(grid).flatten(1)
        found = torch.from_numpy(unpack(value.data, column.member).astype(np.float32))
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()
    alone = [column.annotate([item])[0] for item in items]
    assert alone == values


def test_broken_and_missing_images(weights):
    column = Patches(PatchesSettings(weights=weights, size=128))
    column.setup()
    good = Item("a", {"jpg": file(0)}, {})
    found = column.annotate([Item("b", {}, {}), good, Item("c", {"jpg": b"no picture"}, {})])
    assert [x.reason for x in found if isinstance(x, NoValue)] == ["no_image", "image"]
    assert found[1] == column.annotate([good])[0]


def test_the_trunk_has_the_published_count(network):
    trunk = resnet_trunk(network.state_dict())
    assert sum(x.numel() for x in trunk.parameters()) == 23_508_032


def test_old_and_other_weights(network):
    old = {n: x for n, x in network.state_dict().items() if "num_batches" not in n}
    without_fc = {n: x for n, x in old.items() if not n.startswith("fc.")}
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(resnet_trunk(without_fc)(x), resnet_trunk(network.state_dict())(x))
    with pytest.raises(ValueError, match="no torchvision resnet50's"):
        resnet_trunk({"conv1.weight": torch.zeros(1)})


def dinos(state, prefix, bottleneck=8):
    """The weights of DINO's teacher or student: a backbone whose `fc` is an identity, and a head
    whose last layer is split into direction and length."""
    trunk = {f"{prefix}backbone.{n}": x for n, x in state.items() if not n.startswith("fc.")}
    head = {f"mlp.{i}.{kind}": torch.zeros(bottleneck) for i in (0, 2, 4)
            for kind in ("weight", "bias")}  # fmt: skip
    head |= {"last_layer.weight_g": torch.ones(16, 1), "last_layer.weight_v": torch.zeros(16, 8)}
    return trunk | {f"{prefix}head.{n}": x for n, x in head.items()}


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_dinos_full_checkpoint_gives_its_teacher(network, tmp_path, prefix):
    state = network.state_dict()
    other = {n: x + 1 if x.is_floating_point() else x for n, x in state.items()}
    checkpoint = {
        "student": dinos(other, "module."), "teacher": dinos(state, prefix),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []},
        "epoch": 800, "args": argparse.Namespace(arch="resnet50"),
        "dino_loss": {"center": torch.zeros(1, 16)},
    }  # fmt: skip
    torch.save(checkpoint, tmp_path / "full.pth")
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found = resnet_trunk(read_state(str(tmp_path / "full.pth")))(x)
        assert torch.equal(found, resnet_trunk(state)(x))


def test_what_is_no_resnet50_is_told_in_one_sentence():
    vit = {
        "backbone.cls_token": torch.zeros(1, 1, 8),
        "backbone.blocks.0.norm1.weight": torch.ones(8),
    }
    wide = {n: torch.zeros(x.shape) for n, x in resnet_trunk_shapes().items()}
    wide["layer1.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    for state, told in (
        (vit, r"missing bn1.bias, .* and \d+ more; unknown blocks.0.norm1.weight, cls_token"),
        (wide, r"layer1.0.conv1.weight is \[128, 64, 1, 1\], expected \[64, 64, 1, 1\]"),
    ):
        with pytest.raises(
            ValueError, match=f"^these weights are no torchvision resnet50's: {told}$"
        ):
            resnet_trunk(state)


def resnet_trunk_shapes():
    with torch.device("meta"):
        return resnet50().state_dict()


def test_no_number_is_a_reason(network, tmp_path):
    state = {n: x.clone() for n, x in network.state_dict().items()}
    state["layer4.2.bn3.bias"] += 1e6
    torch.save(state, tmp_path / "wild.pth")
    column = Patches(PatchesSettings(weights=str(tmp_path / "wild.pth"), size=128))
    column.setup()
    assert column.annotate([Item("a", {"jpg": file(0)}, {})]) == [NoValue("not_finite")]
