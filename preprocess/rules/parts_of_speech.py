"""The rule about parts of speech, by spaCy's tagger."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter

_TAGS = {
    "noun": ("NN", "NNS", "NNP", "NNPS"),
    "determiner": ("DT", "PDT", "WDT", "PRP$", "WP$"),
    "preposition": ("IN",),
    "verb": ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"),
    "adjective": ("JJ", "JJR", "JJS"),
}
"""Tags of the Penn Treebank. Possessives (`her dog`) count as determiners."""


@lru_cache(maxsize=1)
def _tagger() -> tuple[Any, Any]:
    # Only here: few recipes need spaCy.
    from septet.preprocess.scene_graphs.pipeline import PIPELINE, with_numpy_products

    nlp, one_thread = with_numpy_products(PIPELINE)
    for part in list(nlp.pipe_names):
        if part not in ("tok2vec", "transformer", "tagger"):
            nlp.remove_pipe(part)
    return nlp, one_thread


def tagger_digest() -> tuple[str, str]:
    """The tagger's name with version, and a digest of its files.

    Raises:
        ValueError: it is not installed; says how to install it.
    """
    from septet.preprocess.scene_graphs.pipeline import PIPELINE, pipeline_digest

    return pipeline_digest(PIPELINE)


def part_of_speech(captions: Captions, settings: Filter) -> Verdict:
    """English captions without a word of one of `parts_of_speech`."""
    english = pc.equal(captions.table["language"].combine_chunks(), "en")
    rows = np.flatnonzero(english.to_numpy(zero_copy_only=False))
    missing = np.full(len(captions), None, object)
    nlp, one_thread = _tagger()
    with nlp.memory_zone(), one_thread():
        docs = nlp.pipe(captions.text.take(pa.array(rows)).to_pylist(), batch_size=256)
        for row, doc in zip(rows.tolist(), docs, strict=True):
            tags = {token.tag_ for token in doc}
            lacks = [part for part in settings.parts_of_speech if tags.isdisjoint(_TAGS[part])]
            missing[row] = " ".join(lacks) or None
    values = pa.array(missing, pa.string())
    return Verdict(pc.is_valid(values), values)
