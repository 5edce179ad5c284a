"""Beam search writes what `transformers` writes with the same weights."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from septet.trainers.generate.decoding import Decoding, Groups, Trie
from septet.trainers.generate.write import write
from septet.trainers.nets.t5 import PAD, T5
from tests.trainers.generate.small import END, mt5, published, sources

ROWS, NEAR = 5, 1e-4

ANSWERS = [[5], [5, 6], [5, 6, 7], [8, 9], [8, 10, 11, 12], [13, 14], [20, 21, 22], [30]]
ALLOWED = {
    "answers": Trie(ANSWERS),
    "three": Trie(ANSWERS[2:5]),
    "boxes": Groups(range(40, 56), 4, 1, 2),
    "codes": Groups(range(20, 36), 6),
}


class Case(NamedTuple):
    """A configuration."""

    beams: int
    penalty: float = 1.0
    early: bool | str = False
    least: int = 0
    most: int = 9
    returned: int = 1
    allowed: str | None = None


CASES = [
    *[
        Case(beams, penalty, early, returned=beams)
        for beams in (2, 4)
        for penalty in (-0.5, 0.0, 0.6, 1.0, 2.0)
        for early in (False, True, "never")
    ],
    *[Case(beams, returned=n) for beams, n in ((3, 1), (3, 2), (5, 1), (5, 3), (8, 8))],
    *[
        Case(4, penalty, early, least, most, 4)
        for penalty, early in ((1.0, False), (0.0, True), (1.5, "never"))
        for least, most in ((0, 1), (0, 2), (3, 9), (8, 9), (0, 14), (5, 6))
    ],
    *[
        Case(beams, penalty, early, 0, 9, beams, allowed)
        for allowed in ALLOWED
        for beams in (2, 4)
        for penalty, early in ((1.0, False), (0.0, "never"), (1.0, True))
    ],
]
assert len(set(CASES)) == len(CASES) >= 77


@pytest.fixture(scope="module")
def models() -> tuple[T5, Any]:
    """Ours, and that of `transformers`."""
    mine = mt5()
    return mine, published(mine)


def theirs(model: Any, case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """What `transformers` writes, [B, n, most], and its scores [B, n]."""

    def following(row: int, ids: torch.Tensor) -> list[int]:
        allowed = ALLOWED[case.allowed or ""]
        state: Any = allowed.first
        for word in ids.tolist()[1:]:
            if word not in allowed.words(state).tolist():
                return [END]  # Of a hypothesis that does not exist it wants a word, too.
            state = allowed.after(state, word)
        return allowed.words(state).tolist() + [END] * allowed.ends(state)

    ids = sources(ROWS)["ids"]
    found = model.generate(
        input_ids=ids, attention_mask=(ids != PAD).long(), num_beams=case.beams, length_penalty=case.penalty,
        early_stopping=case.early, max_new_tokens=case.most, min_new_tokens=case.least or None,
        num_return_sequences=case.returned, do_sample=False, return_dict_in_generate=True,
        output_scores=True, prefix_allowed_tokens_fn=following if case.allowed else None,
    )  # fmt: skip
    ids = found.sequences[:, 1:].view(ROWS, case.returned, -1)
    ids = nn.functional.pad(ids, (0, case.most - ids.shape[2]), value=PAD)
    behind = (ids == END).long().cumsum(2) - (ids == END).long() > 0
    ids = ids.masked_fill(behind, PAD)  # A pad of 0 it takes for none, and fills with ends.
    return ids, found.sequences_scores.view(ROWS, case.returned)


def decoding(case: Case) -> Decoding:
    """Ours of a case."""
    return Decoding(
        case.most, case.least, case.beams, case.penalty, case.early, case.returned,
        allowed=ALLOWED[case.allowed] if case.allowed else None,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_equal_to_transformers(models: tuple[T5, Any], case: Case) -> None:
    """Same sequences, scores within 1e-4, but for what is named.

    Two things are named. *Ties*: sequences whose scores are within 1e-4 of each other may change
    places. *Impossible hypotheses*: where fewer sequences are allowed than there are beams,
    `transformers` fills its beams with continuations of hypotheses that do not exist, whose scores
    are about -1e9 over the length, and counts them as finished. Ours has no sequence there (minus
    infinity, pads alone). And with early stopping they make a row full, so that it can end before
    better sequences have; ours then still has all that it found, and more.
    """
    ids, scores = theirs(models[1], case)
    ours = write(models[0], sources(ROWS), decoding(case), PAD, END, PAD)
    assert ours.ids.shape == (ROWS, case.returned, case.most)
    if case.allowed == "three" and case.beams == 4:
        assert not (scores > -1e6).all()  # The named habit is still there.
        assert ((ours.scores > -torch.inf).sum(1) == 3).all()
    for row in range(ROWS):
        real = scores[row] > -1e6
        named_early = case.early is True and not bool(real.all())
        mine = {
            tuple(x): s
            for x, s in zip(ours.ids[row].tolist(), ours.scores[row].tolist(), strict=True)
        }
        for place in range(case.returned):
            if not real[place]:
                if not named_early:
                    assert ours.scores[row, place] == -torch.inf
                    assert not ours.ids[row, place].any()
                continue
            found, score = tuple(ids[row, place].tolist()), float(scores[row, place])
            if not named_early:
                assert float(ours.scores[row, place]) == pytest.approx(score, abs=NEAR)
            if named_early or tuple(ours.ids[row, place].tolist()) != found:
                others = torch.cat([scores[row, :place], scores[row, place + 1 :]])
                tied = bool((others - score).abs().min() < NEAR) if len(others) else False
                assert named_early or tied, (ours, ids[row], scores[row])
                assert mine[found] == pytest.approx(score, abs=NEAR)
