"""Writing with a model: greedily, by beam search or by sampling, with a key-value cache."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from septet.trainers.draws import generator
from septet.trainers.generate.beams import beam_search
from septet.trainers.generate.cache import Cache, Generative
from septet.trainers.generate.decoding import Decoding, Written
from septet.trainers.generate.turns import Turns
from septet.trainers.generate.words import after, following
from septet.trainers.sharded import sharded_modules
from septet.trainers.task import ExpertModule


@contextmanager
def unsharded(module: nn.Module) -> Iterator[None]:
    """All parameters whole on every rank, gathered once, but for experts that ranks hold together:
    those are run in turns (`Turns`). So ranks may run the module as often as each needs, and a
    token costs no gathering. All ranks begin and end it together."""
    sharded = sharded_modules(module)
    if module in sharded:
        from torch.distributed.fsdp import register_fsdp_forward_method

        for name in ("encode", "decode"):
            if hasattr(module, name) and name not in vars(module):
                register_fsdp_forward_method(module, name)
    for part in sharded:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    experts = [m for m in module.modules() if isinstance(m, ExpertModule) and m.ranks is not None]
    turns = Turns(experts) if experts else None
    try:
        yield
        if turns is not None:
            turns.finish()
    finally:
        if turns is not None:
            turns.end()
        for part in sharded:
            part.reshard()
            part.set_reshard_after_forward(part is not module, recurse=False)


@torch.no_grad()
def write(
    module: Generative,
    inputs: Mapping[str, Tensor],
    decoding: Decoding,
    start: int,
    end: int,
    pad: int,
    keys: Sequence[str | int] | None = None,
) -> Written:
    """Write a sequence, or several, for each row of a batch. A row's do not depend on the others.

    Where the module is sharded or its experts are spread over ranks, all ranks do it inside
    `unsharded`, and each may write as long as its rows need.

    Args:
        module: The model, in evaluation mode.
        inputs: What `module.encode` takes, the first axis of each of B rows.
        decoding: How.
        start: Token that begins a sequence, and is not returned.
        end: Token that ends one.
        pad: What is behind the end.
        keys: Of the rows, B, for sampling: with the seed they are all that its randomness depends
            on.

    Raises:
        ValueError: there are no keys to sample with, or not one for each row.
    """
    cache = module.encode(**inputs)
    if decoding.beams > 1:
        return beam_search(module, cache, decoding, start, end, pad)
    chances = None
    if decoding.temperature is not None:
        if keys is None or len(keys) != cache.rows:
            raise ValueError(
                f"sampling for {cache.rows} rows needs a key of each, and got "
                f"{'none' if keys is None else len(keys)}; give `keys`, the samples' keys"
            )
        drawn = [
            generator("write", decoding.seed, key, number).random(decoding.most)
            for key in keys
            for number in range(decoding.returned)
        ]
        chances = torch.from_numpy(np.stack(drawn)).to(cache.memory.device)
    return _one_by_one(module, cache, decoding, start, end, pad, chances)


def texts(
    module: Generative,
    inputs: Mapping[str, Tensor],
    decoding: Decoding,
    tokens: tuple[int, int, int],
    decode: Callable[[list[int]], str],
) -> list[tuple[str, float]]:
    """The likeliest text of each row, with e to the power of its score: of a length penalty of 1
    the geometric mean of its tokens' probabilities.

    Args:
        module: See `write`, as for `inputs` and `decoding`.
        inputs: What `module.encode` takes.
        decoding: How.
        tokens: That which begins a sequence, that which ends it, padding.
        decode: A row's ids as a text.
    """
    written = write(module, inputs, decoding, *tokens)
    told = [decode(row) for row in written.ids[:, 0].tolist()]
    return list(zip(told, written.scores[:, 0].exp().tolist(), strict=True))


def _one_by_one(
    module: Generative, cache: Cache, decoding: Decoding, start: int, end: int, pad: int,
    chances: Tensor | None,
) -> Written:  # fmt: skip
    """Greedily, or by sampling with `chances` in [0, 1), [B * returned, most]."""
    returned, most, device = decoding.returned, decoding.most, cache.memory.device
    total = cache.rows * returned
    if returned > 1:
        rows = torch.arange(cache.rows, device=device)
        cache.select(rows.repeat_interleave(returned))
    ids = torch.full((total, most), pad, device=device)
    scores = torch.zeros(total, device=device)
    lengths = torch.full((total,), most, device=device)
    rows = torch.arange(total, device=device)  # those that have not ended
    last = torch.full((total,), start, device=device)
    states = [None if decoding.allowed is None else decoding.allowed.first] * total
    for token in range(1, most + 1):
        logits, log_z = following(module, cache, last, states, decoding, token, end)
        if chances is None:
            words = logits.argmax(1)
        else:
            words = _drawn(logits, chances[rows, token - 1], decoding)
        ids[rows, token - 1] = words
        scores[rows] += (logits.gather(1, words[:, None]) - log_z)[:, 0]
        going = words != end
        lengths[rows[~going]] = token
        if token == most or not bool(going.any()):
            break
        kept = going.nonzero()[:, 0]
        if len(kept) < len(rows):
            cache.select(kept)
            rows, words = rows[kept], words[kept]
            states = [states[place] for place in kept.tolist()]
        last, states = words, after(decoding.allowed, states, words)
    scores /= lengths**decoding.length_penalty
    ids, scores = ids.view(-1, returned, most), scores.view(-1, returned)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return Written(ids.gather(1, order[:, :, None].expand_as(ids)), scores)


def _drawn(logits: Tensor, chance: Tensor, decoding: Decoding) -> Tensor:
    """A word of each row's distribution, int64 [R]: the one at `chance` of its cumulated
    probability, likeliest first."""
    assert decoding.temperature is not None
    count = min(decoding.top_k or logits.shape[1], logits.shape[1])
    logits, words = (logits.double() / decoding.temperature).topk(count, 1)
    cumulated = logits.softmax(1).cumsum(1)
    whole = cumulated[:, -1:]
    if decoding.top_p is not None:
        # The fewest words whose share reaches top_p.
        reached = (cumulated < decoding.top_p * whole).sum(1, keepdim=True)
        whole = cumulated.gather(1, reached)
    place = (cumulated <= chance[:, None] * whole).sum(1, keepdim=True)
    return words.gather(1, place.clamp(max=count - 1))[:, 0]
