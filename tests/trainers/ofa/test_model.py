import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from septet.trainers.ofa import positions
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import GRID, PAD, OfaSettings
from septet.trainers.ofa.weights import FORMS
from tests.trainers.ofa.small import ORACLE, SMALL, inputs, module, oracle, words


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Ofa:
    weights, _, _, _ = oracle()
    path = tmp_path_factory.mktemp("ofa") / "ofa_tiny.pt"
    torch.save({"model": weights, "cfg": {}}, path)  # As the released files are.
    found = Ofa(SMALL).eval()
    found.load_state_dict(FORMS.read(path, SMALL).weights)
    return found


def test_states_and_logits_are_the_reference_modules(loaded):
    _, given, expected, within = oracle()
    source, pixels, seen = given["source"], given["pixels"], given["image_present"]
    real = given["previous"] != PAD
    assert (source == PAD).any() and not seen.all() and not real.all()  # Pads on all sides.

    def close(a, b):
        return (a - b).abs().max() < within / 10

    with torch.no_grad():
        cache = loaded.encode(source, pixels, seen)
        assert close(cache.memory, expected["encoder_states"])
        logits = loaded.logits(loaded.decode(given["previous"], cache))
        assert close(logits[real], expected["logits"][real])
        alone = loaded.encode(source)
        logits = loaded.logits(loaded.decode(given["previous"], alone))
        assert close(logits[real], expected["logits_text_only"][real])
        cache = loaded.encode(source, pixels, seen, codes=torch.ones(3, dtype=torch.bool))
        logits = loaded.logits(loaded.decode(given["previous_codes"], cache))
        assert close(logits, expected["logits_codes"])


@pytest.mark.parametrize("change", ["scale", "c_attn", "ffn_layernorm", "rel_pos", "pos_q"])
def test_the_oracle_notices_each_part(loaded, change):
    _, given, expected, within = oracle()
    other = Ofa(SMALL).eval()
    other.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        for name, x in other.named_parameters():
            if change in name:
                x.mul_(1.5)
        if change == "scale":
            other.encoder.layers[0].self_attn.scale *= 1.5
        memory = other.encode(given["source"], given["pixels"], given["image_present"]).memory
    assert (memory - expected["encoder_states"]).abs().max() > within


def test_parameters_are_counted_to_the_unit():
    from septet.trainers.ofa.presets import PRESETS

    published = {
        "tiny": 33_488_336, "medium": 92_892_000, "base": 182_238_536, "large": 472_977_152,
        "huge": 929_486_848,
    }  # fmt: skip
    resnets = {(3, 4, 6): 8_543_296, (3, 4, 23): 27_535_424, (3, 8, 36): 43_179_072}
    for name, count in published.items():
        s = PRESETS[name].model
        d, h = s.width, s.heads
        closed = (
            59_457 * d + resnets[s.stages] + s.encoder_layers * (12 * d * d + 23 * d + h)
            + s.decoder_layers * (16 * d * d + 31 * d + 2 * h) + 5_582 * d + 6 * (d * d + d)
            + 7_403 * h * (s.encoder_layers + s.decoder_layers) + 1_047 * d
        )  # fmt: skip
        with torch.device("meta"):
            built = sum(p.numel() for p in Ofa(s).parameters())
        assert built == closed == count, name
        assert s.vocabulary_size == 59_457 and s.inner == 4 * d


def test_rows_of_relative_positions_by_the_equations():
    rows = positions.text_rows(1024, torch.device("cpu"))
    assert rows.min() == 0 and rows.max() == 510 and rows[5, 5] == 255
    assert rows[9, 2] - 255 == 7 and rows[2, 9] - 255 == -7 and rows[128, 0] - 255 == 128
    assert rows[129, 0] - 255 == 129 and rows[1023, 0] == 510 and rows[0, 1023] == 0
    ids = torch.tensor([0, 1, 1 + GRID, 2 + GRID, GRID**2])
    rows = positions.image_rows(ids)
    assert rows[0].tolist() == [6891, *[6889] * 4] and rows[1:, 0].tolist() == [6890] * 4
    assert rows[2, 1] == (1 + 41) * 83 + 41 and rows[1, 3] == (-1 + 41) * 83 + (-1 + 41)
    assert rows[4, 1] == 6888 and rows[1, 4] == 0
    ids = positions.code_ids(16, 260, torch.device("cpu"))
    assert ids[:3].tolist() == [0, 1, 2] and ids[17] == 1 + GRID and ids[256] == 1 + 15 * GRID + 15
    assert ids[257:].tolist() == [1024] * 3


@pytest.mark.parametrize("way,interpolated", [("resized", 64), ("further_rows", None)])
@pytest.mark.parametrize("size", ["96x96", "64x112", "48x64"])
def test_images_of_another_size_are_the_reference_modules(loaded, size, way, interpolated):
    _, given, _, within = oracle()
    sizes = load_file(ORACLE.parent / "ofa_tiny_sizes.safetensors")
    mine = Ofa(SMALL.model_copy(update={"interpolated": interpolated})).eval()
    mine.load_state_dict(loaded.state_dict())
    pixels, previous = sizes[f"inputs/pixels_{size}"].float() / 32, given["previous"]
    states, logits = (sizes[f"outputs/{way}/{name}_{size}"] for name in ("states", "logits"))
    with torch.no_grad():
        cache = mine.encode(given["source"], pixels, given["image_present"])
        assert (cache.memory - states).abs().max() < within / 10
        found = mine.logits(mine.decode(previous, cache))
    assert (found - logits)[previous != PAD].abs().max() < within / 10


@pytest.mark.parametrize("size", [(96, 96), (64, 112)])
def test_larger_images_resize_the_table_of_absolute_positions(size):
    s = SMALL.model_copy(update={"interpolated": 64})
    mine, given = module(s), inputs(s)
    plain = module()
    height, width = (side // 16 for side in size)
    given["pixels"] = torch.randn(3, 3, *size)
    square = mine.encoder.embed_image_positions.weight[1:].view(GRID, GRID, -1)[:4, :4]
    resized = F.interpolate(
        square.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    with torch.no_grad():
        # The same by hand: a model whose table has the resized rows at the grid's places.
        table = plain.encoder.embed_image_positions.weight[1:].view(GRID, GRID, -1)
        table[:height, :width] = resized
        assert torch.allclose(mine.encode(**given).memory, plain.encode(**given).memory, atol=1e-5)
        extended = module().encode(**given).memory
        assert not torch.allclose(extended, plain.encode(**given).memory, atol=1e-2)
        given["pixels"] = torch.randn(3, 3, 64, 48)  # No larger: rows of the table as they are.
        assert torch.equal(mine.encode(**given).memory, module().encode(**given).memory)


def test_kept_tokens_keep_their_positions():
    mine, given = module(), inputs()
    everything = torch.arange(16).expand(3, -1)
    with torch.no_grad():
        whole = mine.encode(**given)
        same = mine.encode(**given, patches=everything)
        turned = mine.encode(**given, patches=everything.flip(1))
        assert torch.allclose(same.memory, whole.memory, atol=1e-5)
        assert torch.allclose(turned.memory[:, :16].flip(1), whole.memory[:, :16], atol=1e-5)
        assert torch.allclose(turned.memory[:, 16:], whole.memory[:, 16:], atol=1e-5)
        few = mine.encode(**given, patches=torch.tensor([[3, 5], [0, 15], [1, 2]]))
        assert few.memory.shape == (3, 2 + 9, 64)
        # Decoding sees the positions of what was kept.
        a = mine.decode(words(), turned), mine.decode(words(), whole)
        assert torch.allclose(*a, atol=1e-5)


def test_examples_of_one_image_are_the_same_as_the_image_twice():
    mine, given = module(), inputs(rows=4)
    pixels, seen = given["pixels"][:2], torch.tensor([True, False])
    twice = {"pixels": pixels.repeat_interleave(2, 0), "seen": seen.repeat_interleave(2, 0)}
    with torch.no_grad():
        once = mine.encode(given["ids"], pixels, seen).memory
        assert torch.allclose(once, mine.encode(given["ids"], **twice).memory, atol=1e-6)


def test_pads_change_nothing():
    mine, given = module(), inputs()
    longer = {**given, "ids": F.pad(given["ids"], (0, 5), value=PAD)}
    before = words()
    with torch.no_grad():
        a = mine.decode(before, mine.encode(**given))
        b = mine.decode(before, mine.encode(**longer))
        assert torch.allclose(a, b, atol=1e-5)
        changed = {**given, "pixels": given["pixels"].clone()}
        changed["pixels"][2] += 1  # That image is not there.
        assert torch.equal(a, mine.decode(before, mine.encode(**changed)))


def test_blank_images_may_be_left_out():
    with_blanks, without = module(), module(SMALL.model_copy(update={"blanks": False}))
    given = inputs()
    with torch.no_grad():
        expected = with_blanks.encode(**given).memory
        assert torch.allclose(without.encode(**given).memory, expected, atol=1e-5)
        looked_at = []
        without.encoder.embed_images.register_forward_pre_hook(
            lambda _, given: looked_at.append(len(given[0]))
        )
        shown = given["seen"].nonzero()[:, 0]
        assert torch.allclose(without.encode(**given, shown=shown).memory, expected, atol=1e-5)
        given["seen"][:] = False
        expected = with_blanks.encode(**given).memory
        found = without.encode(**given, shown=shown[:0]).memory
        assert torch.allclose(found, expected, atol=1e-5)
        assert looked_at == [2, 1]  # Of three.


def test_token_by_token_is_the_same_as_all_at_once():
    mine, given, ids = module(), inputs(), words(length=30)
    codes = torch.tensor([True, False, True])
    for asked in ({}, {"codes": codes}):
        with torch.no_grad():
            whole = mine.decode(ids, mine.encode(**given, **asked))
            cache, parts = mine.encode(**given, **asked), []
            for piece in (ids[:, :7], *ids[:, 7:].split(1, 1)):
                parts.append(mine.decode(piece, cache))
            assert torch.allclose(torch.cat(parts, 1), whole, atol=2e-5)
            assert torch.equal(
                mine.logits(torch.cat(parts, 1)).argmax(-1), mine.logits(whole).argmax(-1)
            )
            order = torch.tensor([2, 0, 0])
            cache = mine.encode(**given, **asked)
            mine.decode(ids[:, :7], cache)
            cache.select(order)
            found = mine.decode(ids[order, 7:8], cache)
            assert torch.allclose(found[:, 0], whole[order, 7], atol=2e-5)


NORMS = (".bn", "downsample.1")
"""What a ResNet's norms have in their names."""


@pytest.mark.parametrize(
    ("change", "still"),
    [({"batch_norm": "frozen"}, NORMS), ({"frozen": "resnet"}, ("embed_images",))],
)
def test_what_is_frozen_goes_by_its_statistics_and_is_not_trained(change, still):
    s = SMALL.model_copy(update=change)
    mine, given = module(s), inputs(s)
    expected = mine.encode(**given).memory
    mine.train()
    before = {n: x.clone() for n, x in mine.named_buffers()}
    assert torch.allclose(mine.encode(**given).memory, expected, atol=1e-6)
    assert all(torch.equal(x, before[n]) for n, x in mine.named_buffers())
    fresh = Ofa(s)  # As a run builds it, which never says `train()`.
    fresh.load_state_dict(mine.state_dict())
    assert torch.allclose(fresh.encode(**given).memory, expected, atol=1e-6)
    frozen = {n for n, p in mine.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in mine.named_parameters() if any(each in n for each in still)}


def test_images_beyond_the_table_are_refused():
    given = inputs(rows=2)
    given["pixels"] = torch.randn(2, 3, 16, 16 * 43)
    given["seen"] = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"672 pixels a side.*found 1 x 43"):
        module().encode(**given)
    with pytest.raises(ValueError, match="672 pixels"):
        OfaSettings(image_size=700)
