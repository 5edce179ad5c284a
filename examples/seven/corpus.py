"""The corpus of the seven: scenes in five languages, the demo's real pages, all columns; scenes to
measure on; and the vocabularies that are learnt of its captions."""

from collections.abc import Iterator
from pathlib import Path

import septet
from septet.preprocess import files
from septet.preprocess.synthetic.sets import write_scenes
from septet.preprocess.tokenizers.pieces import learn_model
from septet.preprocess.tokenizers.wordpiece import UNUSED, build_vocabulary

HERE = Path(__file__).parent
PAGES = HERE.parent / "demo/pages"

LANGUAGES = ("en", "zh", "de", "en", "zh", "fr", "en", "zh", "es")
"""Of scenes, each in turn; English and Chinese thrice, as some models read only one of them."""

THINGS = (1, 2)
SIDE = 128
SEED = 7
FIRST_HELD = 10**6
"""Index of the first scene that is measured on; those that are trained on begin at 0."""

WORDS = 2048
"""Pieces of a vocabulary."""


def write_inputs(out: Path, scenes: int, held: int, pages: bool = True) -> None:
    """Write the scenes of both corpora, and a recipe for each, into `out`. What is there stays."""
    for name, count, first in (("corpus", scenes, 0), ("held-out", held, FIRST_HELD)):
        folder = out / ("scenes" if name == "corpus" else "scenes-held-out")
        if not (folder / "captions.jsonl").exists():
            write_scenes(
                str(folder), SEED, count, first, SIDE, THINGS, languages=LANGUAGES, signs=True
            )
        text = (HERE / "corpus.yaml").read_text(encoding="utf-8")
        if name == "held-out" or not pages:
            text = _without_pages(text)
        text = text.replace("PAGES", str(PAGES)).replace("name: seven\n", f"name: seven-{name}\n")
        text = text.replace("scenes/captions.jsonl", f"{folder.name}/captions.jsonl")
        text = text.replace("image_root: scenes", f"image_root: {folder.name}")
        (out / f"{name}.yaml").write_text(text, encoding="utf-8")


def _without_pages(text: str) -> str:
    begin, end = text.index("  - kind: warc"), text.index("filter:")
    return text[:begin].rstrip() + "\n\n" + text[end:]


def write_vocabularies(corpus: Path, out: Path) -> None:
    """Learn word pieces (`vocab.txt`, in the layout of BERT-Chinese's) and a SentencePiece model
    (`captions.spm`) of all captions of a corpus. What is there stays."""
    if not (out / "vocab.txt").exists():
        pieces = build_vocabulary(_captions(corpus), WORDS, unused=UNUSED)
        files.write_bytes(str(out / "vocab.txt"), "".join(f"{p}\n" for p in pieces).encode())
    if not (out / "captions.spm").exists():
        model = learn_model(_captions(corpus), WORDS, hard_vocab_limit=False)
        files.write_bytes(str(out / "captions.spm"), model)


def _captions(corpus: Path) -> Iterator[str]:
    opened = septet.open(corpus)
    return (opened[i]["txt"].decode() for i in range(len(opened)))
