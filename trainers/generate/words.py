"""The next word: log-probabilities of what may follow each row."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from septet.trainers.generate.cache import Cache, Generative
from septet.trainers.generate.decoding import Allowed, Decoding

DEAD = object()
"""The state of a hypothesis that does not exist: nothing may follow."""


def following(
    module: Generative, cache: Cache, last: Tensor, states: Sequence[Any], decoding: Decoding,
    token: int, end: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Write a token into the cache and score what may follow it.

    Args:
        module: The model.
        cache: Of R rows; grows by one token.
        last: int64 [R], the token to write.
        states: Of `decoding.allowed`, for each row; unused where all words are allowed.
        decoding: The settings.
        token: Which token of the sequence comes next, from 1.
        end: The end token.

    Returns:
        Logits fp32 [R, V], minus infinity where a word may not follow; the log of the softmax's
        denominator [R, 1], so that a word's log-probability is the difference.
    """
    logits = module.logits(module.decode(last[:, None], cache)[:, -1]).float()
    allowed = decoding.allowed
    hidden = None if allowed is None else _forbidden(logits, states, allowed, end)
    if hidden is not None and decoding.among_allowed:
        logits = logits.masked_fill(hidden, -torch.inf)
    log_z = logits.logsumexp(1, keepdim=True)
    if hidden is not None and not decoding.among_allowed:
        logits = logits.masked_fill(hidden, -torch.inf)
    if token <= decoding.least:
        logits[:, end] = -torch.inf
    return logits, log_z.nan_to_num(neginf=0.0)


def _forbidden(logits: Tensor, states: Sequence[Any], allowed: Allowed, end: int) -> Tensor:
    """bool [R, V]."""
    ids, rows, ends = [], [], []
    for row, state in enumerate(states):
        if state is not DEAD:
            ids.append(allowed.words(state))
            rows.append(torch.full_like(ids[-1], row))
            if allowed.ends(state):
                ends.append(row)
    forbidden = torch.ones_like(logits, dtype=torch.bool)
    if ids:
        at = torch.stack([torch.cat(rows), torch.cat(ids)]).to(logits.device)
        forbidden[at[0], at[1]] = False
    if ends:
        forbidden[torch.tensor(ends, device=logits.device), end] = False
    return forbidden


def after(allowed: Allowed | None, states: Sequence[Any], words: Tensor) -> list[Any]:
    """The states once each row has its next word, int64 [R]; negative where there is none."""
    if allowed is None:
        return list(states)
    return [
        DEAD if word < 0 else allowed.after(state, word)
        for state, word in zip(states, words.tolist(), strict=True)
    ]
