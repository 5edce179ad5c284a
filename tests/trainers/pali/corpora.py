"""Scenes in five languages with signs, with the columns that PaLI and OFA read."""

import sys
from pathlib import Path

from septet.preprocess.synthetic.languages import WORDINGS
from septet.preprocess.synthetic.sets import write_scenes
from septet.trainers.ofa import lists
from tests.corpora import run_annotation, run_build
from tests.trainers.corpora import scenes_corpus

COLUMNS = Path(__file__).parents[3] / "examples/columns"

RECIPE = """
name: scenes
sources:
  - kind: list
    paths: [captions.jsonl]
    image_root: .
    url_col: path
    caption_col: caption
    language_col: language
    extra_cols: [extra]
filter: {min_words: 1, drop_filenames: false}
dedup: {images_per_caption: null}
image: {image_size: 64}
curate: {identical_images: keep_all}
write: {samples_per_shard: 500}
"""


def pali_corpus(
    folder: Path, count: int, first: int = 0, seed: int = 1, things: tuple[int, int] = (1, 2),
    languages: tuple[str, ...] = tuple(WORDINGS), signs: bool = True,
) -> Path:  # fmt: skip
    """Scenes `first` to `first + count` of `seed`, really built, with PaLI's columns."""
    scenes = folder / "scenes"
    write_scenes(
        str(scenes), seed, count, first, size=64, things=things, languages=languages, signs=signs
    )
    (scenes / "recipe.yaml").write_text(RECIPE)
    corpus = folder / "corpus"
    run_build(scenes / "recipe.yaml", corpus)
    return _annotated(corpus)


def languages_corpus(
    folder: Path, seed: int, count: int, first: int = 0, things: tuple[int, int] = (1, 2)
) -> Path:
    """The same, in shards that no build wrote, with all that OFA reads, too."""
    corpus = scenes_corpus(
        folder, seed, count, first, things=things, languages=tuple(WORDINGS), signs=True
    )
    _annotated(corpus)
    run_annotation(corpus, "phrases")
    lists.write(str(corpus))
    return corpus


def _annotated(corpus: Path) -> Path:
    if str(COLUMNS) not in sys.path:
        sys.path.append(str(COLUMNS))
    run_annotation(corpus, "boxes")
    run_annotation(corpus, "questions", {"source": "extra"})
    run_annotation(corpus, "scene_signs:SceneSigns", name="ocr")
    return corpus
