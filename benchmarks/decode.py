"""Beam search on CPU: Septet's beside that of `transformers`, the same mT5 weights.

    python -m benchmarks.decode [--quick]

Beam 4, batch 8, sources of different lengths, fp32, no gradient; both write with a key-value cache.
The sequences must be equal and their scores within 1e-4. Rounds are interleaved; the ratio is the
median of the rounds' paired ratios, the peer's time over Septet's. Times are CPU seconds of one
thread: on a quiet machine those are the seconds that pass, and other work changes them little.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import write
from septet.trainers.nets.t5 import PAD, T5Settings
from tests.trainers.generate.small import END, mt5, published, sources

BEAMS, BATCH = 4, 8
SIZES = {
    "small words": T5Settings(width=256, inner=1024, heads=4, head_width=64, layers=4, words=8000),
    "mT5's words": T5Settings(
        width=512, inner=1024, heads=6, head_width=64, layers=8, words=250_112
    ),
}
"""The second is mT5-small."""


def timed(call: Callable[[], object]) -> float:
    """CPU seconds."""
    began = time.process_time()
    call()
    return time.process_time() - began


@torch.no_grad()
def compare(name: str, settings: T5Settings, rounds: int, most: int) -> float:
    """Print both times; the ratio."""
    mine = mt5(settings)
    theirs = published(mine)
    ids = sources(BATCH, 24, settings.words)["ids"]
    decoding = Decoding(most, beams=BEAMS)

    def ours() -> tuple[Tensor, Tensor]:
        found = write(mine, {"ids": ids}, decoding, PAD, END, PAD)
        return found.ids[:, 0], found.scores[:, 0]

    def peer() -> tuple[Tensor, Tensor]:
        found = theirs.generate(
            input_ids=ids, attention_mask=(ids != PAD).long(), num_beams=BEAMS,
            max_new_tokens=most, do_sample=False, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        written = nn.functional.pad(found.sequences[:, 1:], (0, most), value=PAD)[:, :most]
        behind = (written == END).long().cumsum(1) - (written == END).long() > 0
        return written.masked_fill(behind, PAD), found.sequences_scores

    (first, score), (second, other) = ours(), peer()
    apart = float((score - other).abs().max())
    if apart > 1e-4 or not torch.equal(first, second):
        raise SystemExit(f"{name}: the sequences or scores differ, by {apart:.1e}")
    found = [
        (timed(ours), timed(peer)) if i % 2 else (timed(peer), timed(ours))[::-1]
        for i in range(rounds)
    ]
    ratio = statistics.median(b / a for a, b in found)
    middle = [1000 * statistics.median(times) for times in zip(*found, strict=True)]
    tokens = int((first != PAD).sum())
    print(
        f"{name}: {sum(p.numel() for p in mine.parameters()) / 1e6:.0f} M parameters, {tokens} "
        f"tokens written, septet {middle[0]:.0f} ms, transformers {middle[1]:.0f} ms, "
        f"{ratio:.2f}"
    )
    return ratio


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, and few words alone")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    sizes = dict(list(SIZES.items())[: 1 if quick else 2])
    ratios = [compare(name, settings, 5 if quick else 7, 16) for name, settings in sizes.items()]
    print(f"ratio beam_decode_vs_transformers {min(ratios):.2f}")


if __name__ == "__main__":
    main()
