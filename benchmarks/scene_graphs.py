"""Scene graphs: Septet's rules beside SceneGraphParser, speed and quality.

    python -m benchmarks.scene_graphs [--quick] [--pipeline NAME]

Both use the same spaCy pipeline in one process, in turns over the same captions:
SceneGraphParser as its users call it, `Parser("spacy", model=...).parse(caption)`, one caption
after the other; Septet as `septet annotate` calls it, in batches. No caption comes twice: they are
the labelled ones with their nouns exchanged. Speed is captions for each second of CPU time; the
ratio is the median of the rounds' ratios.

Quality: precision, recall and F1 on the captions labelled by hand (`scene_graph_labels`), on the
split that the rules were made with (dev) and on the one that they never saw (held_out).
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.scene_graph_labels import KINDS, Score, labels, score
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import PARSERS
from septet.preprocess.scene_graphs.pipeline import PIPELINE
from septet.preprocess.scene_graphs.sng import package

BATCH = 512


def captions(count: int, seed: int = 0) -> list[str]:
    """Distinct captions of the labelled ones' kinds and lengths: their objects, where they stand as
    words, are exchanged for other captions' objects."""
    rows = [row for split in ("dev", "held_out") for row in labels(split)]
    names = [[o.lstrip("?").split("/")[0] for o in row["objects"]] for row in rows]
    pool = sorted({name for found in names for name in found if name.isalpha()})
    draw = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        for row, objects in zip(rows, names, strict=True):
            words = row["caption"].split(" ")
            for i, word in enumerate(words):
                bare = word.strip(".,").removesuffix("s")
                if bare in objects:
                    words[i] = word.replace(bare, draw.choice(pool))
            made.setdefault(" ".join(words))
    return list(made)[:count]


def quality(parsers: dict[str, Callable[[Sequence[str]], list[SceneGraph]]]) -> None:
    """Print the table of precision, recall and F1."""
    print(f"{'':9} {'':11}" + "".join(f"{name:>26}" for name in parsers))
    print(f"{'split':9} {'kind':11}" + f"{'P':>10}{'R':>8}{'F1':>8}" * len(parsers) + "  labels")
    for split in ("dev", "held_out"):
        rows = labels(split)
        found: dict[str, dict[str, Score]] = {}
        for name, parse in parsers.items():
            graphs = dict(
                zip(
                    (row["caption"] for row in rows),
                    parse([row["caption"] for row in rows]),
                    strict=True,
                )
            )
            found[name] = score(rows, graphs.__getitem__)
        for kind in KINDS:
            scores = [found[name][kind] for name in parsers]
            cells = "".join(
                f"{s.precision * 100:10.1f}{s.recall * 100:8.1f}{s.f1 * 100:8.1f}" for s in scores
            )
            print(f"{split:9} {kind:11}{cells}{scores[0].right + scores[0].missed:8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--pipeline", default=PIPELINE, help="spaCy pipeline, package or folder")
    options = parser.parse_args()
    per_round, rounds = BATCH, 3 if options.quick else 9
    texts = captions(per_round * rounds + BATCH)
    ours = PARSERS["septet"](options.pipeline, BATCH)
    peer = package().Parser("spacy", model=options.pipeline)
    batched_peer = PARSERS["sng"](options.pipeline, BATCH)

    def alone(chosen: Sequence[str]) -> None:
        for text in chosen:
            peer.parse(text)

    ways: dict[str, Callable[[Sequence[str]], object]] = {
        "SceneGraphParser, caption by caption": alone,
        "SceneGraphParser's rules, Septet's batches": batched_peer.graphs,
        "Septet": ours.graphs,
    }
    for way in ways.values():
        way(texts[-BATCH:])  # warm
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        chosen = texts[number * per_round : (number + 1) * per_round]
        for name, way in ways.items():
            start = time.process_time()
            way(chosen)
            speeds[name].append(per_round / (time.process_time() - start))
    words = statistics.mean(len(text.split()) for text in texts)
    print(
        f"{len(texts)} captions of {words:.1f} words, pipeline {options.pipeline}, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for name, found in speeds.items():
        print(
            f"{name:44}{statistics.median(found):8.0f} captions/s of CPU   "
            f"({min(found):.0f} to {max(found):.0f} in {rounds} rounds)"
        )
    print()
    quality({"SceneGraphParser": batched_peer.graphs, "Septet": ours.graphs})
    print()
    slow, _, fast = speeds.values()
    ratio = statistics.median(b / a for a, b in zip(slow, fast, strict=True))
    print(f"ratio scene_graphs_vs_sng_parser {ratio:.2f}")


if __name__ == "__main__":
    main()
