"""Near-duplicate images: what is found, what is merged wrongly, and how long 200,000 hashes take.

    python -m benchmarks.near_images [--split dev] [--groups 400] [--quick] [--hashes-alone]

The images of a split of the labelled set (`made.py`) are processed as a build does it, hashed, and
deduplicated (one of each image). Beside it ImageHash's pHash within a radius of 6 and of 10 bits,
clustered by union-find, from the images as Pillow opens them: its usual use. Recall is the share of
copies that go, of all that could; precision the share of those that go whose kept image is of their
own group; a group is lost where no image of it stays. The bounds of the rules were chosen on
`dev`; `held-out` has other stamps, other seeds and two kinds of signs that `dev` has not. Then
200,000 hashes with planted copies, on one core, and pairs of 20,000 beside brute force. Then half a
million and one and a half million images as a build compares them, those in partitions, each run a
process of its own: CPU and peak memory.
"""

import argparse
import io
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import imagehash
import numpy as np
from PIL import Image

from benchmarks.near_images.made import Made, make
from benchmarks.near_images.scale import scale
from septet.preprocess.dedup import better_of
from septet.preprocess.images.appearance import THUMBNAIL_BYTES
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.preprocess.near_duplicates import images as near
from septet.preprocess.near_duplicates.hamming import MAX_RADIUS, near_pairs
from septet.schemas import recipe

_HASHES, _BRUTE, _MANY = 200_000, 20_000, (500_000, 1_500_000)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.near_images", description=__doc__)
    parser.add_argument("--split", default="held-out", choices=["dev", "held-out"])
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="60 groups, 20,000 hashes")
    parser.add_argument("--hashes-alone", action="store_true", help="make no images")
    options = parser.parse_args()
    if not options.hashes_alone:
        quality(options.split, 60 if options.quick else options.groups)
    speed(_BRUTE if options.quick else _HASHES)
    for count in (_BRUTE,) if options.quick else _MANY:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            print(pool.submit(scale, count).result())
    return 0


def quality(split: str, groups: int) -> None:
    """Deduplicate the images of a split, and print how well that went."""
    started = time.perf_counter()
    made = list(make(split, groups))
    print(f"{len(made)} images, made in {time.perf_counter() - started:.0f} s")
    with ProcessPoolExecutor(2) as pool:
        described = list(pool.map(_described, [one.data for one in made], chunksize=64))
    found = np.array([one for one, _ in described], near.MEMBER)
    found["rest"] = np.arange(len(found))  # their ids
    theirs = np.array([one for _, one in described], np.uint64)

    table = {"Septet": kept_by_septet(found)}
    for radius in (6, 10):
        table[f"ImageHash, {radius} bits"] = kept_by_union_find(theirs, radius, found)
    figures = {name: judge(made, kept) for name, kept in table.items()}
    show(figures)
    ratio = figures["Septet"]
    print(f"ratio near_images_recall {ratio['recall'].all:.3f}")
    print(f"ratio near_images_precision {ratio['precision'].all:.3f}")


def _described(data: bytes) -> tuple[tuple[object, ...], int]:
    """A `MEMBER` of an image without its id, and ImageHash's pHash."""
    image = process_image(data, recipe.Image())
    assert isinstance(image, ProcessedImage)
    pixels = np.array([image.original_width * image.original_height])
    rank = ~better_of(np.array([False]), pixels, np.array([0]))[0]
    looks = np.frombuffer(image.appearance.thumbnail, np.uint8)
    member = (rank, 0, 0, 0, int(image.appearance.phash, 16),
              np.log(image.width / image.height), 0, looks)  # fmt: skip
    assert len(looks) == THUMBNAIL_BYTES
    return member, int(str(imagehash.phash(Image.open(io.BytesIO(data)))), 16)


def kept_by_septet(found: np.ndarray) -> np.ndarray:
    """The image that stays in the stead of each; int64 [n]."""
    pairs = np.concatenate([np.empty(0, near.PAIR), *near.pairs_within(found, MAX_RADIUS)])
    edges = near.verify(near.show(pairs, found), found)
    free = near.free_ones(pairs, edges)
    _, lost, undecided = near.decide(edges, free)
    assert not undecided
    kept = np.arange(len(found))
    kept[lost["rest"].astype(np.int64)] = lost["kept_rest"]
    return kept


def kept_by_union_find(hashes: np.ndarray, radius: int, found: np.ndarray) -> np.ndarray:
    """What plain clustering of all pairs within a radius keeps: the best of what hangs together."""
    label = np.arange(len(hashes))

    def root(one: int) -> int:
        while label[one] != one:
            label[one] = one = label[label[one]]
        return int(one)

    for i, j, _ in near_pairs(hashes, radius):
        for one, other in zip(i.tolist(), j.tolist(), strict=True):
            a, b = root(one), root(other)
            label[max(a, b)] = min(a, b)
    roots = np.array([root(one) for one in range(len(hashes))])
    order = np.lexsort((found["rest"], found["rank"], roots))
    first = np.ones(len(order), bool)
    first[1:] = roots[order][1:] != roots[order][:-1]
    kept = np.empty(len(order), np.int64)
    kept[order] = order[first][np.cumsum(first) - 1]
    return kept


class Shares:
    """Shares of all, and by kind."""

    def __init__(self, right: np.ndarray, kinds: np.ndarray):
        self.all = float(right.mean()) if len(right) else 1.0
        self.of = {str(kind): float(right[kinds == kind].mean()) for kind in np.unique(kinds)}


def judge(made: list[Made], kept: np.ndarray) -> dict[str, Shares]:
    """Recall and precision by kind of image, the share of groups lost, and recall by kind of copy:
    of the copies that are not kept themselves and have another image of their group that is."""
    groups = np.array([one.group for one in made])
    kinds = np.array([one.kind for one in made])
    changes = np.array([one.change for one in made])
    sizes = Counter(groups.tolist())
    gone = np.flatnonzero(kept != np.arange(len(kept)))
    right = groups[kept[gone]] == groups[gone]
    # Of a group of n images n - 1 could go: the one that needs not is its first that stays.
    could = np.ones(len(made), bool)
    stays = set(np.flatnonzero(kept == np.arange(len(kept))).tolist())
    for group in sizes:
        members = np.flatnonzero(groups == group)
        spared = next((one for one in members.tolist() if one in stays), int(members[0]))
        could[spared] = False
    found = np.zeros(len(made), bool)
    found[gone[right]] = True
    lost = np.array([not (stays & set(np.flatnonzero(groups == g).tolist())) for g in sizes])
    group_kinds = np.array([kinds[groups == group][0] for group in sizes])
    return {
        "recall": Shares(found[could], kinds[could]),
        "precision": Shares(right, kinds[gone]),
        "lost": Shares(lost, group_kinds),
        "copies": Shares(found[could], changes[could]),
    }


def show(figures: dict[str, dict[str, Shares]]) -> None:
    """Print the tables."""
    for what in ("recall", "precision", "lost", "copies"):
        names = sorted({name for one in figures.values() for name in one[what].of})
        title = {"copies": "recall by copy", "lost": "groups lost"}.get(what, what)
        print(f"\n{title:24s}" + "".join(f"{name:>22s}" for name in figures))
        for row in ["all", *names]:
            values = [one[what].all if row == "all" else one[what].of.get(row)
                      for one in figures.values()]  # fmt: skip
            shown = ("" if value is None else f"{value:.3f}" for value in values)
            print(f"{row:24s}" + "".join(f"{value:>22s}" for value in shown))


def speed(count: int) -> None:
    """Time the pairs of many hashes with planted copies, and compare some with brute force."""
    rng = np.random.default_rng(4)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = rng.choice(count, count // 5, replace=False)
    hashes[copies] = hashes[rng.integers(0, count, len(copies))]
    for bits in range(MAX_RADIUS + 1):
        some = copies[rng.random(len(copies)) < 0.5]
        hashes[some] ^= np.uint64(1) << np.uint64((bits * 7) % 64)
    started, cpu = time.perf_counter(), time.process_time()
    found = sum(len(i) for i, _, _ in near_pairs(hashes, MAX_RADIUS))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    print(f"\n{count:,} hashes, radius {MAX_RADIUS}: {found:,} pairs in {cpu:.1f} s of CPU on one "
          f"core ({wall:.1f} s on the clock)")  # fmt: skip
    few = hashes[:_BRUTE]
    mine = sum(len(i) for i, _, _ in near_pairs(few, MAX_RADIUS))
    brute = 0
    for start, end in pairwise([*range(0, len(few), 500), len(few)]):
        bits = np.bitwise_count(few[start:end, None] ^ few[None])
        near_ones = bits <= MAX_RADIUS
        brute += int(np.triu(near_ones, start + 1).sum())
    print(f"pairs of {len(few):,}: {mine:,}, by brute force {brute:,}")
    print(f"ratio near_images_hashes_a_cpu_second {count / cpu:.0f}")
    assert mine == brute


if __name__ == "__main__":
    sys.exit(main())
