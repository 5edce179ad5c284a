"""Every share that a paper states, over 10,000 draws of what draws it, within three deviations."""

import math

import numpy as np
import pytest

from septet.trainers.beit3.masks import mask_patches
from septet.trainers.beit3.presets import PRESETS as BEIT3
from septet.trainers.draws import generator
from septet.trainers.ernie_vil import samples as ernie_vil_samples
from septet.trainers.ernie_vil.masks import (
    ATTRIBUTE,
    NONE,
    OBJECT,
    RELATION,
    WORD,
    Hidden,
    Parts,
    hide,
    hide_regions,
    replaced,
)
from septet.trainers.ernie_vil.presets import PRESETS as ERNIE_VIL
from septet.trainers.flava import samples as flava_samples
from septet.trainers.flava.presets import PRESETS as FLAVA
from septet.trainers.inputs.masks import choose_words, hide_words
from septet.trainers.ofa import samples as ofa_samples
from septet.trainers.ofa import spans as ofa_spans
from septet.trainers.ofa.presets import PRESETS as OFA
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.pali import objects
from septet.trainers.pali import spans as pali_spans
from septet.trainers.pali.presets import PRESETS as PALI
from septet.trainers.pali.settings import PAPER_MIXTURE
from tests.trainers.ernie_vil.test_masks import PARTS, N
from tests.trainers.flava.small import SMALL as SMALL_FLAVA
from tests.trainers.ofa.test_samples import DEBUG, negatives, sample  # noqa: F401

DRAWS = 10_000


def draw(*of: object) -> np.random.Generator:
    return generator("draw", *map(str, of))


def assert_share(found: float, share: float, draws: int = DRAWS) -> None:
    """Of so many independent draws."""
    assert abs(found - share) <= 3 * math.sqrt(share * (1 - share) / draws), (found, share)


def test_kinds_of_steps():
    """FLAVA (appendix B.1): 70 % pairs, 15 % images, 15 % texts."""
    task = FLAVA["base"].task()
    kinds = [task.plan(3, step)[0].kind for step in range(DRAWS)]
    for kind, share in (("pairs", 0.70), ("images", 0.15), ("texts", 0.15)):
        assert_share(kinds.count(kind) / DRAWS, share)


@pytest.mark.parametrize("model,weights", [("ofa", None), ("pali", PAPER_MIXTURE)])
def test_tasks_of_a_mixture(model, weights):
    """OFA's pairs (as its sets have rows) and PaLI's eight tasks (table 9); rows are dealt, so a
    task's number differs from its share by less than one in each step."""
    task = (OFA if model == "ofa" else PALI)["base" if model == "ofa" else "public"].task()
    mixture = task._mixture if model == "ofa" else task.mixture
    weights = weights or dict(task.settings.shares)
    total, rows = dict.fromkeys(mixture.tasks, 0), 64 * mixture.multiple
    for step in range(DRAWS // 10):
        dealt = mixture.rows(3, step, rows)
        assert sum(dealt.values()) == rows
        for name, n in dealt.items():
            total[name] += n
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        # A step's remainder is a row of one of the kinds, or a multiple of rows.
        deviation = math.sqrt(DRAWS / 10) * mixture.multiple
        assert abs(total[name] - share * rows * DRAWS / 10) <= 3 * deviation, name


def test_words_that_are_predicted():
    """FLAVA and BEiT-3 15 % (50 % of a pair's), ERNIE-ViL each with 15 %; of those 80 % are
    hidden, 10 % another word, 10 % themselves (BERT, section 3.1)."""
    beit3 = BEIT3["base"].model
    assert (FLAVA["base"].model.masked_words, beit3.masked_words) == (0.15, 0.15)
    assert beit3.masked_pair_words == 0.5
    for share in (0.15, 0.5):
        assert choose_words(draw("w", share), DRAWS, share).mean() == share
    free = hide(draw("free"), Parts(), DRAWS, 0.3, ERNIE_VIL["base"].model.masked_words)
    assert_share((free.kinds == WORD).mean(), 0.15)
    ids = np.full(DRAWS, 7)
    bert = hide_words(draw("h"), ids, np.ones(len(ids), bool), mask=1, words=10**6)
    hidden = Hidden(np.full(DRAWS, WORD, np.int8), draw("d").random(DRAWS))
    assert ERNIE_VIL["base"].model.shown_words == 0.2
    ernie = replaced(draw("x"), ids, hidden, 1, 10**6, 0.2)
    for found in (bert, ernie):
        assert_share((found == 1).mean(), 0.8)
        assert_share((found == 7).mean(), 0.1)
    assert (
        replaced(draw("x"), ids, Hidden(np.full(DRAWS, NONE), hidden.dice), 1, 99, 0.2) == 7
    ).all()


def test_whole_words_are_chosen_whatever_their_length():
    """FLAVA's pairs: words of one, two and three pieces alike."""
    starts = [True, False, False, True, True, True, False, True, True] * 3
    words, sizes = np.cumsum(starts) - 1, np.bincount(np.cumsum(starts) - 1)
    source = draw("whole")
    chosen = np.stack([choose_words(source, 27, 0.15, starts) for _ in range(DRAWS)])
    firsts = np.flatnonzero(starts)
    assert (chosen == chosen[:, firsts][:, words]).all()  # Whole, or not at all.
    for size in (1, 2, 3):
        for first in firsts[sizes == size]:
            assert_share(chosen[:, first].mean(), 4 / 27)
    assert chosen.sum(1).mean() == pytest.approx(4, abs=3 * chosen.sum(1).std() / DRAWS**0.5)


def test_patches_that_are_predicted():
    """BEiT-3: 40 % of an image's, exactly. FLAVA's blocks: tests/trainers/test_masks.py."""
    s = BEIT3["base"].model
    masks = [mask_patches(draw("p", i), s.grid, s.masked_patches, s.least_block) for i in range(60)]
    assert {int(mask.sum()) for mask in masks} == {78} == {int(0.4 * s.grid**2)}


def test_pairs_that_do_not_match(monkeypatch):
    """FLAVA 10 % of pairs, of two each that exchange; ERNIE-ViL half of them."""
    assert FLAVA["base"].model.mismatched == 0.1 and ERNIE_VIL["base"].model.mismatched == 0.5
    monkeypatch.setattr(flava_samples, "image_row", lambda *given: {})
    monkeypatch.setattr(ernie_vil_samples, "region_row", lambda *given: {})
    text = {"txt": b"a red circle", "scene-graphs": b""}
    swaps = [
        bool(flava_samples.read("pairs", text, SMALL_FLAVA, draw("f", i))["swap"])
        for i in range(DRAWS)
    ]
    assert_share(np.mean(swaps), 0.1)
    s = ERNIE_VIL["base"].model.model_copy(update={"vocabulary": "scenes", "words": 256})
    swaps = [bool(ernie_vil_samples.read(text, s, draw("e", i))["swap"]) for i in range(DRAWS)]
    assert_share(np.mean(swaps), 0.5)


def test_regions_that_are_predicted():
    """ERNIE-ViL: 15 %, of which 10 % keep their feature (ViLBERT, section 3.1)."""
    s = ERNIE_VIL["base"].model
    assert (s.masked_regions, s.kept_regions) == (0.15, 0.1)
    chosen, gone = hide_regions(draw("r"), DRAWS, s.masked_regions, s.kept_regions)
    assert_share(chosen.mean(), 0.15)
    assert_share(gone.sum() / chosen.sum(), 0.9, int(chosen.sum()))


def test_nodes_that_are_predicted():
    """ERNIE-ViL (section 3.2): 30 % of objects, of attributes and of relations."""
    kinds = np.stack([hide(draw("n", i), PARTS, N, 0.3, 0.15).kinds for i in range(DRAWS)])
    for number, group in ((RELATION, PARTS.relations), (ATTRIBUTE, PARTS.attributes)):
        for part in group:
            assert_share((kinds[:, min(part.pieces)] == number).mean(), 0.3)
    objects = [(kinds[:, min(part.pieces)] == OBJECT).mean() for part in PARTS.objects]
    # Which of them is free hangs together, so the deviation is that of single captions.
    assert abs(np.mean(objects) - 0.3) < 0.01


def test_captions_that_do_not_match(negatives):  # noqa: F811
    """OFA: half of them; 40 % of those have an object exchanged."""
    one = sample(txt=b"a red star", objects={"objects": ["star"]})
    words, wrong, exchanged = vocabulary(DEBUG), 0, 0
    no = ofa_samples.answer(DEBUG, "no").tolist()
    told = {tuple(ofa_samples.ask(DEBUG, "match_caption", caption=f"a red {name}").tolist())
            for name in ("square", "cross")}  # fmt: skip
    for i in range(DRAWS):
        _, match = ofa_samples.captions(one, DEBUG, draw("c", i), negatives)
        if match.target.tolist() == no:
            wrong += 1
            exchanged += tuple(match.source.tolist()) in told
    assert words.decode(no).strip() == "no"
    assert_share(wrong / DRAWS, 0.5)
    assert_share(exchanged / wrong, 0.4, wrong)


def test_spans_of_infilled_texts():
    """OFA: 30 % of words, in spans of Poisson's distribution with mean 3 (BART, section 2.2)."""
    source = draw("s")
    found = [ofa_spans.lengths(source, 60) for _ in range(DRAWS // 20)]
    assert {int(spans.sum()) for spans in found} == {60} and ofa_samples.INFILLED == 0.3
    count = sum(map(len, found))
    assert count > DRAWS
    for length in (0, 1):  # The last one of a text is cut, which makes no zeros.
        share = math.exp(-3) * 3**length
        lengths = np.concatenate(found if length == 0 else [spans[:-1] for spans in found])
        if length == 0:
            assert_share((lengths == 0).mean(), share, count)
        else:
            assert (lengths == 1).mean() == pytest.approx(share, abs=0.02)


def test_spans_of_corrupted_texts():
    """PaLI: T5's, 15 % of tokens in spans of 3; all ways to cut are equally likely."""
    counts = [pali_spans.counts(n) for n in range(100, 569)]
    for n, (hidden, spans) in zip(range(100, 569), counts, strict=True):
        assert abs(hidden - 0.15 * n) <= 0.5 and abs(spans - hidden / 3) <= 0.5
    source, ways = draw("t"), {}
    for _ in range(DRAWS):
        way = tuple(pali_spans._parts(6, 3, source))
        ways[way] = ways.get(way, 0) + 1
    assert len(ways) == 10 and all(sum(way) == 6 and min(way) > 0 for way in ways)
    for n in ways.values():
        assert_share(n / DRAWS, 0.1)


def test_forms_of_questions_about_objects():
    """PaLI: four, equally likely; of two of them half are to be answered with Yes."""
    found = objects.Objects(["cat", "dog", "cow"], ["car", "bus", "van", "jet"])
    source = draw("o")
    asked = [objects.ask(found, source) for _ in range(DRAWS)]
    for form in objects.FORMS:
        mine = [one for one in asked if one.form == form]
        assert_share(len(mine) / DRAWS, 0.25)
        if form in ("one_object", "all_objects"):
            yes = sum(one.answer == objects.YES for one in mine)
            assert_share(yes / len(mine), 0.5, len(mine))
