import pytest
import torch

from septet.trainers.beit3.weights import FORMS
from tests.trainers.beit3.small import PAPER, SMALL, batch, module, task
from tests.trainers.test_clip import close

CONTRASTIVE = SMALL.model_copy(update={"stage": "contrastive"})
HEADS = {"mlm_head.weight", "mlm_head.bias", "mim_head.weight", "mim_head.bias"}
PROJECTIONS = {"vision_head.weight", "language_head.weight", "logit_scale"}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def read(path, s):
    return FORMS.read(path, s).weights


def backbone(state):
    return {n: x for n, x in state.items() if n.startswith("beit3.")}


@pytest.mark.parametrize("s", [SMALL, PAPER, CONTRASTIVE], ids=["released", "paper", "itc"])
def test_round_trip(s, tmp_path):
    state = module(s).state_dict()
    (path,) = FORMS.write(state, SMALL, tmp_path, "beit3")
    found = torch.load(path, weights_only=True)["model"]  # As the released code loads its files.
    assert found.keys() == state.keys()
    if s.stage == "contrastive":
        assert found["logit_scale"].shape == ()
    assert equal(read(path, s), state)
    told = module(s, seed=2).load_state_dict(read(path, s))
    assert not told.missing_keys and not told.unexpected_keys
    with pytest.raises(ValueError, match="exported as beit3; found 'hf'"):
        FORMS.write(state, SMALL, tmp_path, "hf")


@pytest.mark.parametrize("theirs,mine,heads", [
    (SMALL, CONTRASTIVE, PROJECTIONS), (CONTRASTIVE, SMALL, HEADS),
])  # fmt: skip
def test_each_stage_starts_from_the_other(theirs, mine, heads, tmp_path):
    state = module(theirs).state_dict()
    (path,) = FORMS.write(state, SMALL, tmp_path, "beit3")
    told = task(mine).initial(path)
    found = told.weights
    assert set(told.lacking) == heads and len(told.unread) == len(state) - len(found) > 0
    assert equal(found, backbone(state))
    told = module(mine).load_state_dict(found, strict=False)
    assert set(told.missing_keys) == heads and not told.unexpected_keys


def test_another_resolution_interpolates_the_patches_positions(tmp_path):
    mine = module()
    (path,) = FORMS.write(mine.state_dict(), SMALL, tmp_path, "beit3")
    larger = SMALL.model_copy(update={"image_size": 96})
    found = read(path, larger)["beit3.encoder.embed_positions.A.weight"]
    before = mine.state_dict()["beit3.encoder.embed_positions.A.weight"]
    assert found.shape == (2 + 1 + 36, 48) and torch.equal(found[:3], before[:3])
    square = before[3:].T.reshape(1, 48, 4, 4)
    expected = torch.nn.functional.interpolate(square, size=(6, 6), mode="bicubic")
    assert close(found[3:], expected.reshape(48, 36).T)
    again = module(larger)
    again.load_state_dict(read(path, larger))
    data = batch("images", larger)
    assert task(larger).forward(again, data)["mim"].shape == (4 * larger.masked_patches, 512)


def test_what_does_not_fit_is_told(tmp_path):
    state = module().state_dict()
    (path,) = FORMS.write(state, SMALL, tmp_path, "beit3")
    for change, message in (
        ({"words": 300}, r"text_embed\.weight is \[256, 48\], the model's \[300, 48\]"),
        ({"layers": 3}, r"beit3\.encoder\.layers\.2\..* is missing; and 35 more"),
        ({"layers": 1}, r"no place for beit3\.encoder\.layers\.1\..*; and 35 more"),
        ({"attention": "shared", "sub_norm": False},
         r"released architecture, where attention is not shared: model\.attention=decoupled"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read(path, SMALL.model_copy(update=change))
    torch.save({"model": {**state, "head.weight": torch.zeros(2)}}, path)
    with pytest.raises(ValueError, match=r"no place for head\.weight"):
        read(path, SMALL)
    torch.save({"model": {n: x for n, x in state.items() if "fc2.bias" not in n}}, path)
    with pytest.raises(ValueError, match=r"layers\.1\.ffn\.B\.fc2\.bias is missing$"):
        read(path, SMALL)
    with pytest.raises(ValueError, match="no such file of weights"):
        read(tmp_path / "nowhere.pth", SMALL)
    assert "mlm_head.bias" in FORMS.shapes(SMALL)
