"""The counts of a column as a corpus shows it: without removed samples, and of a view alone."""

from collections import Counter

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.reader import is_stale
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import read_sidecar, sample_languages
from septet.schemas.columns import ColumnManifest
from septet.schemas.layout import column_sidecar


def shown_counts(corpus: Corpus, manifest: ColumnManifest) -> ColumnManifest:
    """A column's head with the counts of the corpus's samples alone, without those of rows of which
    the corpus shows no sample."""
    if corpus.is_whole or is_stale(corpus, manifest):
        return manifest
    counts = Counter(manifest.counts)
    languages = {code: Counter(found) for code, found in manifest.languages.items()}
    for number, rows in enumerate(corpus.counts.tolist()):
        other = np.setdiff1d(np.arange(rows), corpus.rows(number))
        if not len(other):
            continue
        where = files.join(corpus.path, column_sidecar(manifest.name, corpus.shards[number].tar))
        reasons = read_sidecar(where, ["reason"], rows)["reason"].take(other).to_pylist()
        counts -= Counter(samples=len(other)) + Counter(one or "values" for one in reasons)
        if languages:
            sidecar = files.join(corpus.path, corpus.shards[number].sidecar)
            codes = sample_languages(sidecar, rows).take(other).to_pylist()
            for code, reason in zip(codes, reasons, strict=True):
                languages[code] -= Counter(["samples"] if reason else ["samples", "values"])
    told = {
        code: {"samples": found["samples"], "values": found["values"]}
        for code, found in languages.items()
        if found["samples"]
    }
    kept = {"samples": 0, "values": 0, **counts}
    return manifest.model_copy(update={"counts": kept, "languages": told})
