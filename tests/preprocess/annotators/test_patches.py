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
        with Image.open(io.BytesIO(item.image)) as picture:
            square = picture.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
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


def test_broken_and_missing_pictures(weights):
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


def test_no_number_is_a_reason(network, tmp_path):
    state = {n: x.clone() for n, x in network.state_dict().items()}
    state["layer4.2.bn3.bias"] += 1e6
    torch.save(state, tmp_path / "wild.pth")
    column = Patches(PatchesSettings(weights=str(tmp_path / "wild.pth"), size=128))
    column.setup()
    assert column.annotate([Item("a", {"jpg": file(0)}, {})]) == [NoValue("not_finite")]
