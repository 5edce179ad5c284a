import numpy as np
import pytest
import torch
import torch.nn.functional as F

from septet.trainers.nets.mt5 import mt5_name
from septet.trainers.nets.t5 import PAD, T5Settings
from septet.trainers.pali.model import Pali
from septet.trainers.pali.presets import SIZES
from septet.trainers.pali.settings import PaliSettings, VitSettings
from septet.trainers.pali.vit import resize_positions
from septet.trainers.pali.vit_weights import to_siglip
from tests.preprocess.codes.oracles import count
from tests.trainers.pali.small import SMALL, ids, images, module, mt5, siglip
from tests.trainers.test_clip import close

COUNTS = {
    "3b": (3_074_058_624, 1_842_772_352, 1_229_581_312),
    "15b": (14_770_649_472, 1_842_772_352, 12_921_057_280),
    "17b": (16_733_819_136, 3_805_417_728, 12_921_057_280),
    "5b": (5_036_835_072, 3_805_417_728, 1_229_581_312),
    "1.5b": (1_533_807_616, 303_176_704, 1_229_581_312),
    "public": (1_643_204_336, 412_442_352, 1_229_581_312),
}
"""All, vision half, language half."""

STACKS = {1024: (308_332_032, 409_019_904), 4096: (4_630_714_368, 6_241_425_408)}
"""mT5's encoder and decoder, by width."""


def vit_count(s: VitSettings) -> int:
    block = 4 * s.width * (s.width + 1) + 2 * s.width * s.inner + s.inner + s.width + 4 * s.width
    return (3 * s.patch**2 + 1 + s.grid**2 + 2) * s.width + s.layers * block


def stack_count(s: T5Settings, attentions: int) -> int:
    attention = 4 * s.width * s.heads * s.head_width + s.width
    block = attentions * attention + 3 * s.width * s.inner + s.width
    return s.layers * block + s.buckets * s.heads + s.width


def closed_form(s: PaliSettings) -> int:
    language = 2 * s.language.words * s.language.width
    language += stack_count(s.language, 1) + stack_count(s.language, 2)
    return vit_count(s.vision) + language + (s.vision.width + 1) * s.language.width


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    s = SIZES[name]
    with torch.device("meta"):
        mine = Pali(s)
    assert (count(mine), count(mine.vision), count(mine.language)) == COUNTS[name]
    t5 = mine.language
    assert (count(t5.encoder), count(t5.decoder)) == STACKS[s.language.width]
    assert COUNTS[name][0] == closed_form(s)


def test_positions_of_the_high_resolution_stage_are_the_only_further_weights():
    for name, wanted in (("3b", 1_845_281_664), ("17b", 3_808_120_064)):
        vision = SIZES[name].vision.model_copy(update={"image_size": 588})
        assert vision.grid == 42 and vit_count(vision) == wanted


def shifted(target):
    return F.pad(target[:, :-1], (1, 0), value=PAD)


def test_the_language_half_is_transformers_mt5_in_states_loss_and_gradients():
    mine = module()
    theirs = mt5(mine)
    assert not torch.equal(theirs.lm_head.weight, theirs.shared.weight)
    source, target = ids(4, 150), ids(4, 140, seed=6)  # Longer than the reach of positions.
    labels = target.masked_fill(target == PAD, -100)
    expected = theirs(
        input_ids=source, attention_mask=source != PAD, labels=labels, output_hidden_states=True
    )
    hidden = mine.language(source, shifted(target))
    logits = mine.logits(hidden)
    memory = mine.language.encode(source).memory
    real = source != PAD
    last = expected.encoder_last_hidden_state
    assert float((memory - last)[real].detach().abs().max()) < 1e-5 * float(
        last.detach().abs().max()
    )
    kept = target != PAD
    scale = float(expected.logits.detach().abs().max())
    assert float((logits - expected.logits)[kept].detach().abs().max()) < 1e-5 * scale
    loss = F.cross_entropy(logits[kept], target[kept])
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    loss.backward()
    expected.loss.backward()
    found = dict(theirs.named_parameters())
    for name, p in mine.language.named_parameters():
        assert p.grad is not None and close(p.grad, found[mt5_name(name)].grad), name


def test_the_vision_half_is_transformers_vit_in_states_and_gradients():
    mine = module()
    theirs, pixels = siglip(mine), images(3)
    found, expected = mine.vision(pixels), theirs(pixel_values=pixels).last_hidden_state
    assert float((found - expected).detach().abs().max()) < 1e-5 * float(
        expected.detach().abs().max()
    )
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    gradients = to_siglip({n: p.grad for n, p in mine.vision.named_parameters()})
    for name, p in theirs.named_parameters():
        ours = gradients.get(name, gradients.get(f"vision_model.{name}"))
        assert ours is not None and close(ours, p.grad), name


def test_the_whole_is_their_encoder_over_patches_then_prompt():
    mine = module()
    theirs, pixels, source, target = mt5(mine), images(4), ids(4, 12), ids(4, 9, seed=6)
    patches = mine.connector(siglip(mine)(pixel_values=pixels).last_hidden_state)
    embedded = torch.cat([patches, theirs.shared(source)], 1)
    seen = torch.cat([torch.ones(patches.shape[:2]), (source != PAD).float()], 1)
    labels = target.masked_fill(target == PAD, -100)
    expected = theirs(inputs_embeds=embedded, attention_mask=seen, labels=labels)
    logits = mine.logits(mine.states(target, source, pixels))
    kept = target != PAD
    loss = F.cross_entropy(logits[kept], target[kept])
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    scale = float(expected.logits.detach().abs().max())
    assert float((logits - expected.logits)[kept].detach().abs().max()) < 1e-5 * scale


def test_what_stands_behind_the_padding_changes_nothing():
    mine, pixels, source, target = module().eval(), images(3), ids(3, 12), ids(3, 9, seed=6)
    whole = mine.states(target, source, pixels)
    for row in range(3):
        length = int((source[row] != PAD).sum())
        one = slice(row, row + 1)
        alone = mine.states(target[one], source[one, :length], pixels[one])
        assert torch.allclose(alone[0], whole[row], atol=1e-4)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_decoding_by_pieces_is_decoding_at_once(step):
    mine, pixels, source, target = module().eval(), images(3), ids(3, 12), ids(3, 9, seed=6)
    before = shifted(target)
    with torch.no_grad():
        whole = mine.states(target, source, pixels)
        cache = mine.encode(source, pixels)
        parts = [mine.decode(part, cache) for part in before.split(step, 1)]
    assert cache.length == before.shape[1]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)
    assert torch.equal(mine.logits(torch.cat(parts, 1)).argmax(-1), mine.logits(whole).argmax(-1))


def test_positions_are_resized_linearly_with_corners_on_corners():
    """As `scipy.ndimage.zoom` of order 1, which samples an axis of 16 at linspace(0, 15, 42)."""
    table = torch.randn(1, 16 * 16, 5)
    found = resize_positions(table, 42).view(42, 42, 5).numpy()
    at, old = np.linspace(0, 15, 42), np.arange(16)
    square = table.view(16, 16, 5).numpy().astype(np.float64)
    rows = np.apply_along_axis(lambda x: np.interp(at, old, x), 0, square)
    expected = np.apply_along_axis(lambda x: np.interp(at, old, x), 1, rows)
    assert np.abs(found - expected).max() < 1e-5
    assert resize_positions(table, 16) is table


def test_a_frozen_vision_half_has_no_gradient_and_keeps_nothing_for_one():
    mine = module(SMALL.model_copy(update={"frozen": "vision"}))
    mine(ids(2, 5), torch.arange(8), ids(2, 6), images(2))["tokens"].backward()
    assert all(p.grad is None and not p.requires_grad for p in mine.vision.parameters())
    rest = [p for n, p in mine.named_parameters() if not n.startswith("vision.")]
    assert all(p.grad is not None and p.grad.any() for p in rest)
