"""The languages of a corpus's samples, by shard and row."""

import itertools
import json
import string

import pytest

from septet.preprocess.shards.reader import Corpus
from septet.schemas.languages import language_code
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.languages import SampleLanguages
from tests.trainers.corpora import write_corpus


def known(count: int) -> list[str]:
    """Codes of so many languages."""
    letters = itertools.product("abc", string.ascii_lowercase, string.ascii_lowercase)
    codes = (code for code in map("".join, letters) if language_code(code) == code)
    return list(itertools.islice(codes, count))


@pytest.mark.parametrize("count", [2, 256, 257])
def test_each_sample_has_its_language_however_many_there_are(tmp_path, count):
    codes = [*known(count), *known(3)]
    samples = [
        (f"{i:032x}", {"txt": b"x", "json": json.dumps({"language": c, "extra": {}}).encode()})
        for i, c in enumerate(codes)
    ]
    corpus = Corpus(str(write_corpus(tmp_path, samples, per_shard=count)))
    languages = SampleLanguages(corpus)
    places = [corpus.locate(i) for i in range(len(codes))]
    assert [languages.code(*place) for place in places] == codes
    parts = languages.parts(Kept(corpus))
    assert list(parts) == sorted(set(codes))
    found = {
        (shard, part.row(shard, place)): code
        for code, part in parts.items()
        for shard, rows in enumerate(part.counts)
        for place in range(rows)
    }
    assert found == dict(zip(places, codes, strict=True))
