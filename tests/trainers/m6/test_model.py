import numpy as np
import pytest
import torch
import torch.nn.functional as F

from septet.preprocess.annotators.patches import pieces
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import write
from septet.trainers.m6.model import M6
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.settings import END, PAD, START, M6Settings
from septet.trainers.nets.experts import Experts
from tests.preprocess.codes.oracles import count
from tests.trainers.m6.small import ONLINE, SMALL, SPARSE, features, ids, inputs, module

TABLE = {
    "base": 326_594_184,
    "10b": 10_166_067_848,
    "m6t-1.4b": 1_387_638_408,
    "m6t-10b": 10_805_038_728,
    "m6t-100b": 103_216_942_728,
    "m6t-1t": 1_002_755_165_832,
    "m610t": 10_050_952_793_736,
}
"""The sheet's counts, with two segments in place of our three."""

RESNET_50 = 23_508_032
"""Without its classifier."""

KINDS = ("language_modelling", "captioning", "denoising", "image_denoising")


def closed_form(s: M6Settings) -> int:
    """Tables of words, positions and two segments; two norms; the layer of images; the output's
    bias; blocks."""
    w, f, e = s.width, s.inner, s.experts
    dense = 2 * w * f + f + w
    sparse = e.experts * (2 * w * e.inner + w) if e else 0
    feeds = [sparse if e and i % s.experts_every == s.experts_every - 1 else dense
             for i in range(s.layers)]  # fmt: skip
    tables = (s.words + s.codes) * (w + 1) + 512 * w + 2 * w
    attention = 4 * w * (w + 1) + 4 * w
    return tables + 2 * 2 * w + (s.features + 1) * w + s.layers * attention + sum(feeds)


@pytest.mark.parametrize("name", TABLE)
def test_parameter_counts_are_the_published_ones(name):
    s = PRESETS[name].model
    with torch.device("meta"):
        mine = M6(s)
    assert count(mine) == TABLE[name] + s.width == closed_form(s) + s.width


def test_a_thousand_experts_in_every_second_layer_are_another_100_billion():
    s = PRESETS["m6t-100b-gshard"].model
    with torch.device("meta"):
        mine = M6(s)
    assert count(mine) == closed_form(s) + s.width
    assert round(count(mine) / 1e9, 3) == 103.318
    sparse = [isinstance(block.feed, Experts) for block in mine.blocks]
    assert sparse == [False, True] * 12


def test_the_resnet_in_the_graph_and_image_codes_are_what_other_presets_add():
    with torch.device("meta"):
        base, online, drawing = (
            count(M6(PRESETS[name].model)) for name in ("base", "online", "base-drawing")
        )
    assert online - base == RESNET_50
    assert drawing - base == 8192 * 1025


def pattern(prefix: torch.Tensor, length: int) -> torch.Tensor:
    """Who may look at whom, written down place by place: [B, P + T, P + T]."""
    rows, width = prefix.shape
    found = torch.zeros(rows, width + length, width + length, dtype=torch.bool)
    for row in range(rows):
        for query in range(width + length):
            for key in range(width + length):
                if key < width:
                    found[row, query, key] = bool(prefix[row, key])
                else:
                    found[row, query, key] = query >= width and key <= query
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_where_the_mask_lets_them_and_nowhere_else(kind):
    """From each final state back to each embedded token: no source sees a target, no target a later
    one, nobody a pad, and everybody all else."""
    mine, given, target = module(), inputs(kind), ids(3, 7, seed=6)
    caught = {}
    mine.blocks[0].register_forward_pre_hook(lambda _, given: caught.update(first=given[0]))
    mine.blocks[-1].register_forward_hook(lambda _, given, out: caught.update(last=out[0]))
    mine.states(target, **given)
    first, last = caught["first"], caught["last"]
    source = given.get("source")
    seen = torch.ones(3, 16 if "patches" in given else 0, dtype=torch.bool)
    if source is not None:
        seen = torch.cat([seen, source != PAD], 1)
    expected = pattern(seen, 7)
    assert first.shape[1] == expected.shape[1] == seen.shape[1] + 7
    itself = torch.eye(first.shape[1], dtype=torch.bool)  # By the residual path.
    weight = torch.randn(last.shape[2])
    for query in range(first.shape[1]):
        (gradient,) = torch.autograd.grad((last[:, query] @ weight).sum(), first, retain_graph=True)
        assert torch.equal(gradient.abs().sum(2) > 0, expected[:, query] | itself[query])


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [SMALL, SPARSE], ids=["dense", "experts"])
def test_decoding_by_pieces_is_decoding_at_once(settings, kind, step):
    mine, given, target = module(settings), inputs(kind), ids(3, 9, seed=6)
    before = F.pad(target[:, :-1], (1, 0), value=START)
    with torch.no_grad():
        whole = mine.states(target, **given)
        cache = mine.encode(**given)
        parts = [mine.decode(part, cache) for part in before.split(step, 1)]
    assert cache.length == before.shape[1]
    real = target != PAD  # Experts are not given what stands behind a target's end.
    found, expected = torch.cat(parts, 1)[real], whole[real]
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.equal(mine.logits(found).argmax(-1), mine.logits(expected).argmax(-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [SMALL, SPARSE], ids=["dense", "experts"])
def test_what_is_written_token_by_token_is_what_whole_passes_write(settings, kind):
    """Greedily; and of beam search the scores are those of a whole pass over what was written."""
    mine, given = module(settings), inputs(kind)
    decoding = Decoding(most=8)
    found = write(mine, given, decoding, START, END, PAD).ids[:, 0]
    told = torch.zeros(3, 0, dtype=torch.int64)
    with torch.no_grad():
        for _ in range(8):
            states = mine.states(F.pad(told, (0, 1)), **given)
            told = torch.cat([told, mine.logits(states[:, -1:]).argmax(-1)], 1)
    ended = (told == END).cumsum(1) - (told == END).long() > 0
    assert torch.equal(found, told.masked_fill(ended, PAD))
    searched = write(mine, given, Decoding(most=8, beams=3), START, END, PAD)
    best = searched.ids[:, 0]
    with torch.no_grad():
        logs = mine.logits(mine.states(best, **given)).log_softmax(-1)
    real = best != PAD
    scores = (logs.gather(2, best[..., None])[..., 0] * real).sum(1) / real.sum(1)
    assert torch.allclose(searched.scores[:, 0], scores, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [SMALL, SPARSE], ids=["dense", "experts"])
def test_what_stands_behind_the_padding_changes_nothing(settings, kind):
    """Where each row is a group of its own, in training, too: pads take no place at an expert."""
    mine, given, target = module(settings).train(), inputs(kind), ids(3, 9, seed=6)
    whole = mine.states(target, **given)
    for row in range(3):
        one = {name: x[row : row + 1] for name, x in given.items()}
        if "source" in one:
            one["source"] = one["source"][:, : int((one["source"] != PAD).sum())]
        length = int((target[row] != PAD).sum())
        alone = mine.states(target[row : row + 1, :length], **one)
        assert torch.allclose(alone[0], whole[row, :length], atol=1e-4)


def test_each_text_numbers_its_own_tokens_from_behind_the_image_on():
    mine = module()
    embedding, tokens = mine.embedding, ids(1, 6)
    table, rows = embedding.positions.weight, embedding.segments.weight
    assert rows.shape[0] == 3
    for segment in (1, 2):
        expected = embedding.norm(embedding.words(tokens) + table[16:22] + rows[segment])
        assert torch.equal(embedding.text(tokens, segment), expected)
        later = embedding.text(tokens[:, 4:], segment, first=4)
        assert torch.equal(later, expected[:, 4:])
    seen = features(1)
    expected = embedding.norm(embedding.image(seen) + table[:16] + rows[0])
    assert torch.equal(embedding.patches(seen), expected)


def test_the_pieces_that_the_resnet_sees_are_those_of_the_column():
    """Row by row from the top left, each by itself."""
    from PIL import Image

    mine = module(ONLINE)
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cut = torch.from_numpy(pieces(Image.fromarray(image), 64)).permute(0, 3, 1, 2).float()
    features = mine.embedding.resnet(cut).mean((2, 3))
    expected = mine.embedding.patches(features[None])
    whole = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
    assert torch.allclose(mine.embedding.pixels(whole), expected, atol=1e-5)


def test_the_output_is_the_table_of_words_and_a_bias():
    mine, hidden = module(), torch.randn(2, SMALL.width)
    scores = mine.logits(hidden)
    assert scores.shape == (2, 338)
    words = mine.embedding.words.weight
    assert torch.allclose(scores, hidden @ words.T + mine.bias, atol=1e-6)
    assert mine.bias.any()


def test_initial_values_are_small_and_the_same_for_all_layers():
    s = SMALL.model_copy(update={"width": 128, "heads": 4, "initial_std": 0.02})
    torch.manual_seed(0)
    for name, x in M6(s).named_parameters():
        if x.ndim > 1:
            assert x.std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            assert bool((x == (1.0 if "norm" in name and name.endswith("weight") else 0.0)).all())
