"""Decontamination: of leaked evaluation images and texts, how many are found, and how many clean
rows go with them.

    python -m benchmarks.decontaminate [--split dev] [--groups 300] [--quick] [--texts-alone]

Evaluation sets are the originals of every second group of two labelled sets, images
(`near_images/made.py`) and captions; leaked is what is a copy of them, clean what belongs to other
groups, look-alikes among them. Captions of `dev` are the one half of `near_captions.py`, in 26
languages, on which the rules were chosen; held out are those of `data/leaked_captions.yaml`, in 10
languages, written afterwards. Captions are compared a second time with a list that has every eighth
group only: such a list says less of which words make another text. Texts of fewer than four words
(six characters where there are no spaces) are not looked for, and are left out. Beside it what
is usually done: pHash (ImageHash) within 6 bits, and any run of 8 words in common.
"""

import argparse
import io
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from benchmarks.near_captions import labelled_captions
from benchmarks.near_images.made import make
from septet.preprocess.evaluation.images import SHOWN, find_images
from septet.preprocess.evaluation.texts import (
    TextIndex,
    is_long_enough,
    slots_of_hits,
    tokens_of,
)
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.schemas import recipe

_RUN = 8
_HELD_OUT = Path(__file__).parent / "data" / "leaked_captions.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.decontaminate", description=__doc__)
    parser.add_argument("--split", default="held-out", choices=["dev", "held-out"])
    parser.add_argument("--groups", type=int, default=300, help="groups of images")
    parser.add_argument("--quick", action="store_true", help="50 groups of images")
    parser.add_argument("--texts-alone", action="store_true", help="no images")
    options = parser.parse_args()
    if not options.texts_alone:
        images(options.split, 50 if options.quick else options.groups)
    for every in (2, 8):
        texts(options.split == "held-out", every)
    return 0


def images(split: str, groups: int) -> None:
    """Find copies of images."""
    made = list(make(split, groups))
    with ProcessPoolExecutor(2) as pool:
        described = list(pool.map(_described, [one.data for one in made], chunksize=64))
    seen = np.array([one for one, _ in described], SHOWN)
    theirs = np.array([one for _, one in described], np.uint64)
    chosen = np.array([one.change == "original" and one.group % 2 == 0 for one in made])
    leaking = {one.group for one, yes in zip(made, chosen, strict=True) if yes}
    started = time.perf_counter()
    found = [hit is not None for hit in find_images(seen[chosen], seen)]
    seconds = time.perf_counter() - started
    near = np.bitwise_count(theirs[:, None] ^ theirs[chosen][None]) <= 6
    rows = [(one.change, one.group in leaking) for one in made]
    judge("images", rows, chosen, {"Septet": found, "ImageHash, 6 bits": near.any(axis=1).tolist()})
    print(f"{len(made)} images beside {int(chosen.sum())} in {seconds:.1f} s")


def _described(data: bytes) -> tuple[tuple[object, ...], int]:
    image = process_image(data, recipe.Image())
    assert isinstance(image, ProcessedImage)
    looks = np.frombuffer(image.appearance.thumbnail, np.uint8)
    aspect = np.log(image.width / image.height)
    theirs = imagehash.phash(Image.open(io.BytesIO(data)))
    return (int(image.appearance.phash, 16), aspect, looks), int(str(theirs), 16)


def texts(held_out: bool, every: int) -> None:
    """Find copies of the captions of some groups."""
    captions = labelled_captions(None, data=_HELD_OUT) if held_out else labelled_captions(False)
    chosen = np.array([
        one.kind == "base" and one.group % every == 0 and is_long_enough(tokens_of(one.caption))
        for one in captions
    ])  # fmt: skip
    short = {
        one.group for one, yes in zip(captions, chosen, strict=True)
        if one.kind == "base" and one.group % every == 0 and not yes
    }  # fmt: skip
    evaluation = [one.caption for one, yes in zip(captions, chosen, strict=True) if yes]
    leaking = {one.group for one, yes in zip(captions, chosen, strict=True) if yes}
    index = TextIndex(evaluation)
    started = time.perf_counter()
    hits = index.find([one.caption for one in captions])
    slots = slots_of_hits(
        hit for hit, yes in zip(hits, chosen, strict=True) if hit is not None and not yes
    )
    found = [
        hit is not None
        and (not hit.replaced or slots.isdisjoint((hit.number, token) for token in hit.lacking))
        for hit in hits
    ]
    seconds = time.perf_counter() - started
    known = {run for text in evaluation for run in _runs(text)}
    shared = [any(run in known for run in _runs(one.caption)) for one in captions]
    rows = [(one.kind, one.group in leaking) for one in captions]
    left_out = chosen | np.array([one.group in short for one in captions])
    what = "texts" if every == 2 else "texts_of_few"
    judge(what, rows, left_out, {"Septet": found, f"runs of {_RUN} words": shared})
    print(f"{len(captions)} captions beside {len(evaluation)} in {seconds:.1f} s")


def _runs(text: str) -> list[tuple[str, ...]]:
    tokens = tokens_of(text)
    width = min(_RUN, max(1, len(tokens)))
    return [tokens[i : i + width] for i in range(len(tokens) - width + 1)]


def judge(
    what: str,
    rows: Sequence[tuple[str, bool]],
    left_out: np.ndarray,
    found: dict[str, list[bool]],
) -> None:
    """Print the share of what leaks that is found, by kind of copy, and that of clean rows that
    goes.

    Args:
        what: Images or texts.
        rows: The kind of each, and whether it leaks.
        left_out: Rows that do not count: the evaluation set itself.
        found: Whether each row was found, by who looked.
    """
    counted = [(kind, leaks, number) for number, (kind, leaks) in enumerate(rows)
               if not left_out[number]]  # fmt: skip
    print(f"\n{what:28s}" + "".join(f"{name:>20s}" for name in found))
    by_kind: dict[str, list[int]] = defaultdict(list)
    for kind, leaks, number in counted:
        by_kind["leaked, all" if leaks else "clean, all"].append(number)
        by_kind[f"leaked: {kind}" if leaks else f"clean: {kind}"].append(number)
    for kind in sorted(by_kind):
        some = by_kind[kind]
        shares = "".join(
            f"{np.mean([one[number] for number in some]):>20.4f}" for one in found.values()
        )
        print(f"{kind + f' ({len(some)})':28s}{shares}")
    for kind, name in (("leaked, all", "found"), ("clean, all", "clean_lost")):
        share = np.mean([found["Septet"][number] for number in by_kind[kind]])
        print(f"ratio decontaminate_{what}_{name} {share:.4f}")


if __name__ == "__main__":
    sys.exit(main())
