"""Scene graphs: Septet's rules beside SceneGraphParser, speed and quality.

    python -m benchmarks.scene_graphs [--quick] [--pipeline NAME]

Both use the same spaCy pipeline in one process, in turns over the same captions:
SceneGraphParser as its users call it, `Parser("spacy", model=...).parse(caption)`, one caption
after the other; Septet as `septet annotate` calls it, in batches. No caption comes twice: they are
the labelled ones with their nouns exchanged, clean ones and those of the web apart. Speed is
captions for each second of CPU time; the ratio is the median of the rounds' ratios.

Quality: precision, recall and F1 on the captions labelled by hand (`scene_graph_labels`), clean and
of the web, on the split that the rules were made with (dev) and on the one that they never saw
(held_out). Of the same captions: the questions that `questions` makes of them, and which are false.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

from benchmarks.scene_graph_labels import KINDS, SETS, SPLITS, Score, allows, labels, score
from septet.preprocess.questions.captions import checked
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import PARSERS, SeptetParser
from septet.preprocess.scene_graphs.pipeline import PIPELINE
from septet.preprocess.scene_graphs.sng import package

BATCH = 512


def captions(of: str, count: int, seed: int = 0) -> list[str]:
    """Distinct captions of the kinds and lengths of a set of labelled ones: their objects, where
    they stand as words, are exchanged for other captions' objects."""
    rows = [row for split in SPLITS for row in labels(of, split)]
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
    print(" " * 28 + "".join(f"{name:>26}" for name in parsers))
    print(
        "set   split     kind        " + f"{'P':>10}{'R':>8}{'F1':>8}" * len(parsers) + "  labels"
    )
    for of, split in product(SETS, SPLITS):
        rows = labels(of, split)
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
            print(f"{of:5} {split:9} {kind:11} {cells}{scores[0].right + scores[0].missed:8}")


def asked(parser: SeptetParser) -> None:
    """Print how many questions the labelled captions give, and those that no label answers so."""
    print("set   split     captions  questions  false")
    for of, split in product(SETS, SPLITS):
        rows = labels(of, split)
        made = checked(parser, [row["caption"] for row in rows])
        false = [
            f'  {one.pairs[0].question} {one.pairs[0].answer} ("{row["caption"]}")'
            for row, found in zip(rows, made, strict=True)
            for one in found
            if not allows(row, one.fact)
        ]
        print(f"{of:5} {split:9} {len(rows):8} {sum(map(len, made)):10} {len(false):6}")
        print("".join(line + "\n" for line in false), end="")


def speed(of: str, ways: dict[str, Callable[[Sequence[str]], object]], rounds: int) -> None:
    """Print captions for each second of CPU time, of all ways in turns over the same captions, and
    the ratio of the last to the first."""
    texts = captions(of, BATCH * (rounds + 1))
    for way in ways.values():
        way(texts[-BATCH:])  # warm
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        chosen = texts[number * BATCH : (number + 1) * BATCH]
        for name, way in ways.items():
            start = time.process_time()
            way(chosen)
            speeds[name].append(BATCH / (time.process_time() - start))
    words = statistics.mean(len(text.split()) for text in texts)
    print(
        f"{len(texts)} {of} captions of {words:.1f} words, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for name, found in speeds.items():
        print(
            f"{name:44}{statistics.median(found):8.0f} captions/s of CPU   "
            f"({min(found):.0f} to {max(found):.0f} in {rounds} rounds)"
        )
    slow, *_, fast = speeds.values()
    ratios = [b / a for a, b in zip(slow, fast, strict=True)]
    print(
        f"ratio scene_graphs_vs_sng_parser {statistics.median(ratios):.2f}   "
        f"({min(ratios):.2f} to {max(ratios):.2f}; {of} captions)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--pipeline", default=PIPELINE, help="spaCy pipeline, package or folder")
    options = parser.parse_args()
    ours = SeptetParser(options.pipeline, BATCH)
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
    quality({"SceneGraphParser": batched_peer.graphs, "Septet": ours.graphs})
    print()
    asked(ours)
    for of in SETS:
        print()
        speed(of, ways, 3 if options.quick else 9)


if __name__ == "__main__":
    main()
