"""Beam search: the likeliest sequences that a model would write."""

import torch
from torch import Tensor

from septet.trainers.generate.cache import Cache, Generative
from septet.trainers.generate.decoding import Decoding, Written
from septet.trainers.generate.words import after, following


def beam_search(
    module: Generative, cache: Cache, decoding: Decoding, start: int, end: int, pad: int
) -> Written:
    """Write by beam search, `decoding.beams` hypotheses a row.

    At each token, of the 2 * beams likeliest continuations of a row's hypotheses, those among the
    first `beams` that end are finished, and the likeliest that do not end live on (so do
    `transformers` and fairseq). At the last token all are finished. Each row ends by itself.
    """
    beams, allowed, device = decoding.beams, decoding.allowed, cache.memory.device
    total = cache.rows
    finished = torch.full((total, beams), -torch.inf, device=device)
    finished_ids = torch.full((total, beams, decoding.most), pad, device=device)
    rows = torch.arange(total, device=device)  # those in the search
    ids = torch.full((total, 1, decoding.most), pad, device=device)
    scores = torch.zeros(total, 1, device=device)
    last = torch.full((total,), start, device=device)
    states = [None if allowed is None else allowed.first] * total
    for token in range(1, decoding.most + 1):
        logits, log_z = following(module, cache, last, states, decoding, token, end)
        width = min(2 * beams, logits.shape[1])
        best, words = logits.topk(width, 1)
        live = scores.shape[1]
        summed = (scores.view(-1, 1) + best - log_z).view(-1, live * width)
        summed, place = summed.topk(min(2 * beams, live * width), 1)
        words = words.view(-1, live * width).gather(1, place)
        origin = place // width
        # What ends is finished.
        ending = words == end
        ended = ending[:, :beams] | (token == decoding.most)
        ended &= summed[:, :beams] > -torch.inf
        if bool(ended.any()):
            scored = summed[:, :beams] / token**decoding.length_penalty
            merged = torch.cat([finished[rows], scored.masked_fill(~ended, -torch.inf)], 1)
            new = ids.gather(1, _wide(origin[:, :beams], ids))
            new[:, :, token - 1] = words[:, :beams]
            all_ids = torch.cat([finished_ids[rows], new], 1)
            finished[rows], chosen = merged.topk(beams, 1)
            finished_ids[rows] = all_ids.gather(1, _wide(chosen, ids))
        if token == decoding.most:
            break
        # What does not end lives on.
        scores, place = summed.masked_fill(ending, -torch.inf).topk(min(beams, summed.shape[1]), 1)
        words, origin = words.gather(1, place), origin.gather(1, place)
        done = _done(finished[rows], scores, token, decoding)
        if bool(done.all()):
            break
        scores = scores.masked_fill(done[:, None], -torch.inf)
        ids = ids.gather(1, _wide(origin, ids))
        ids[:, :, token - 1] = words
        first = torch.arange(len(rows), device=device)[:, None] * live
        origin = origin + first
        if 2 * int(done.sum()) >= len(rows):  # Half of the rows need no further passes.
            kept = ~done
            rows, ids, scores, words = rows[kept], ids[kept], scores[kept], words[kept]
            origin = origin[kept]
            cache.select(origin.flatten())
        elif live < scores.shape[1]:
            cache.select(origin.flatten())
        else:
            cache.select(origin.flatten(), same_memory=True)
        last = words.flatten()
        if allowed is not None:
            states = [states[place] for place in origin.flatten().tolist()]
            states = after(allowed, states, last.masked_fill(scores.flatten() == -torch.inf, -1))
        else:
            states = [None] * len(last)
    missing = finished == -torch.inf
    finished_ids.masked_fill_(missing[:, :, None], pad)
    return Written(finished_ids[:, : decoding.returned], finished[:, : decoding.returned])


def _wide(places: Tensor, ids: Tensor) -> Tensor:
    """Places [B, n] as an index of whole sequences."""
    return places[:, :, None].expand(-1, -1, ids.shape[2])


def _done(finished: Tensor, scores: Tensor, token: int, decoding: Decoding) -> Tensor:
    """bool [B]: whether no live hypothesis can take part any more."""
    full = finished[:, -1] > -torch.inf
    dead = scores[:, 0] == -torch.inf
    if decoding.early_stopping is True:
        return full | dead
    penalty = decoding.length_penalty
    longest = decoding.early_stopping == "never" and penalty > 0
    length = decoding.most if longest else token
    return full & (scores[:, 0] / length**penalty <= finished[:, -1]) | dead
