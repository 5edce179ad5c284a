import json
import re

import pytest
import torch
from safetensors.torch import load_file

from septet.trainers.ofa import positions
from septet.trainers.ofa.weights import FORMS, TABLE, TIED, to_hugging_face
from tests.trainers.ofa.small import SMALL, inputs, module, oracle, words

PORTED = SMALL.model_copy(update={"stages": (3, 4, 6)})
COMPUTED = {f"{side}.{kind}_rp_bucket" for side in ("encoder", "decoder")
            for kind in ("token", "image")}  # fmt: skip


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def read(path, s):
    return FORMS.read(path, s).weights


def test_round_trip_under_fairseqs_names(tmp_path):
    mine = module()
    (path,) = FORMS.write(mine.state_dict(), SMALL, tmp_path, "ofa")
    file = torch.load(path, weights_only=True)
    released, _, _, _ = oracle()
    # No name is missing and none is unexpected; the oracle leaves out what the sizes say.
    assert file["model"].keys() == released.keys() | COMPUTED
    assert all(file["model"][n].shape == x.shape for n, x in released.items())
    for name in ("decoder.image_position_idx", "encoder.version", "decoder.version"):
        assert torch.equal(file["model"][name], released[name])
    assert equal(read(path, SMALL), mine.state_dict())
    other = module(seed=2)
    other.load_state_dict(read(path, SMALL))  # Statistics of the norms, too (OFA-Sys/OFA 229).
    ids = words()
    with torch.no_grad():
        a, b = (m.decode(ids, m.encode(**inputs())) for m in (mine, other))
    assert torch.equal(a, b)


def test_round_trip_under_the_ports_names(tmp_path):
    mine = module(PORTED)
    config, path = FORMS.write(mine.state_dict(), PORTED, tmp_path, "hf")
    file = load_file(path)
    assert not any(re.search(r"attn_ln|encoder_attn|ffn_layernorm|version", n) for n in file)
    for name in (
        "encoder.layers.0.self_attn_mid_layer_norm.weight", "encoder.layers.1.ffn_layer_norm.bias",
        "decoder.layers.0.cross_attn.c_attn", "decoder.layers.1.cross_attn_layer_norm.weight",
        "decoder.layers.1.cross_attn_mid_layer_norm.bias", "decoder.image_position_idx",
        "decoder.layers.0.self_attn_mid_layer_norm.bias", *TIED, *COMPUTED,
    ):  # fmt: skip
        assert name in file
    assert len(file) == len(mine.state_dict()) + len(TIED) + len(COMPUTED) + 1
    told = json.loads(config.read_text())
    assert told["resnet_type"] == "resnet50" and told["vocab_size"] == 120
    for given in (path, tmp_path):  # A file, or the folder as it is downloaded.
        assert equal(read(given, PORTED), mine.state_dict())
    with pytest.raises(ValueError, match=r"ResNets of .* this one has \(1, 1, 1\) and 64"):
        FORMS.write(module().state_dict(), SMALL, tmp_path, "hf")
    with pytest.raises(ValueError, match="exported as hf or ofa; found 'onnx'"):
        FORMS.write(mine.state_dict(), PORTED, tmp_path, "onnx")


def test_starts_from_bart(tmp_path):
    state = module().state_dict()
    lacks = re.compile(r"image|pos_|type_|code_|patch_|c_attn|attn_ln\.|ffn_layernorm|\.version")
    bart = {n: x for n, x in state.items() if not lacks.search(n)}
    bart = {n: x for n, x in bart.items() if not re.match(r"(en|de)coder\.layer_norm\.", n)}
    bart[TABLE] = torch.randn(105, 64)  # Some fillers before <mask>.
    bart[TIED[0]] = bart[TABLE]
    torch.save({"model": bart}, tmp_path / "bart.pt")
    found = read(tmp_path / "bart.pt", SMALL)
    assert torch.equal(found[TABLE][:99], bart[TABLE][:99])
    assert torch.equal(found[TABLE][99], bart[TABLE][-1]) and found[TABLE].shape == (120, 64)
    rows = "decoder.embed_positions.weight"
    assert torch.equal(found[rows][:1024], bart[rows][2:])
    assert found.keys() == bart.keys() - {TIED[0]}
    told = module().load_state_dict(found, strict=False)
    assert not told.unexpected_keys and all(
        lacks.search(n) or ".layer_norm." in n or "layernorm_embedding" in n
        for n in told.missing_keys
    )


def test_starts_from_a_resnet(tmp_path):
    state = module(PORTED).state_dict()
    prefix = "encoder.embed_images."
    resnet = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}
    more = {"layer4.0.conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1000)}
    torch.save({**resnet, **more}, tmp_path / "resnet50.pth")
    found = read(tmp_path / "resnet50.pth", PORTED)
    assert equal(found, {n: x for n, x in state.items() if n.startswith(prefix)})


@pytest.mark.parametrize("change,message", [
    ({"words": 101}, r"embed_tokens\.weight is \[120, 64\], the model's \[121, 64\]"),
    ({"decoder_layers": 3}, r"decoder\.layers\.2\..* is missing"),
    ({"encoder_layers": 1}, r"no place for encoder\.(image_rel_pos|layers)"),
])  # fmt: skip
def test_what_does_not_fit_is_told(tmp_path, change, message):
    (path,) = FORMS.write(module().state_dict(), SMALL, tmp_path, "ofa")
    with pytest.raises(ValueError, match=message):
        read(path, SMALL.model_copy(update=change))


def test_a_second_table_of_words_is_refused(tmp_path):
    (path,) = FORMS.write(module().state_dict(), SMALL, tmp_path, "ofa")
    file = torch.load(path)
    file["model"][TIED[1]] = file["model"][TIED[1]] + 1
    torch.save(file, path)
    with pytest.raises(ValueError, match=r"output_projection\.weight is not encoder\.embed_tokens"):
        read(path, SMALL)


def test_buffers_that_follow_from_the_sizes():
    found = to_hugging_face({TABLE: torch.zeros(120, 64)}, SMALL)
    assert found["encoder.token_rp_bucket"].shape == (1024, 1024)
    assert found["decoder.image_rp_bucket"].shape == (positions.IMAGE_IDS,) * 2
    assert FORMS.shapes(SMALL)[TABLE] == (120, 64)
