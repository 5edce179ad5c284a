"""What was written once can be read today."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess.shards.reader import Corpus
from tests.corpora import rows

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*"))


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_a_corpus_of_every_format_version_is_read(folder: Path) -> None:
    corpus = Corpus(str(folder))
    assert check_corpus(str(folder), True, Console(quiet=True)) == []
    assert f"v{corpus.manifest.format_version}" == folder.name
    content = hashlib.sha256()
    for index in range(len(corpus)):
        sample = corpus[index]
        content.update(corpus.key(index).encode() + b"".join(sample.values()))
        picture = sample.get("jpg") or sample["png"]
        assert min(Image.open(io.BytesIO(picture)).size) in (32, 64)
    assert (len(corpus), content.hexdigest()) == EXPECTED[folder.name]
    assert corpus_statistics(str(folder)).samples == len(corpus)
    assert {row["stage"] for row in rows(folder, "rejects")} == {"filter", "dedup"}


EXPECTED = {"v1": (13, "779354e10e5d8525c61208fe02c6ff3891671086453f68cc377919db23f89c3d")}
