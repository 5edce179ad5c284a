"""The languages of a corpus's samples, and how often each is drawn."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import SidecarError
from septet.schemas.languages import language_code
from septet.trainers.loader.kept import Kept

UNDETERMINED = "und"
"""ISO 639 code of a sample whose language is not known."""


_MOST_BYTES = 2**26
"""The memory for the languages of samples, a byte each: shards are read again beyond it."""


class SampleLanguages:
    """The language of each sample of a corpus, as column `language` of its sidecars has it.

    A shard's column is read once, and kept while all that is kept takes at most `_MOST_BYTES`.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus):
        self._corpus = corpus
        rows = max(1, -(-len(corpus) // max(1, len(corpus.shards))))
        self._names: dict[str, int] = {}
        self._numbers = lru_cache(max(64, _MOST_BYTES // rows))(self._read)
        for number in range(len(corpus.shards)):  # So names have their numbers, whoever asks first.
            self._numbers(number)

    @classmethod
    def of(cls, corpus: Corpus) -> "SampleLanguages":
        """Those of a corpus, which all of its streams share."""
        digest = hashlib.sha256()
        for sidecar in corpus.shards.column("sidecar_sha256"):
            digest.update(sidecar.as_py().encode())
        key = corpus.path, digest.hexdigest()
        found = _SHARED.get(key)
        if found is None:
            found = _SHARED[key] = cls(corpus)
        return found

    def rows(self, number: int, kept: Kept, code: str) -> NDArray[np.int64]:
        """The kept rows of a shard that are in a language."""
        rows = kept.rows(number)
        return rows[self._numbers(number)[rows] == self._names.get(code, -1)]

    def code(self, number: int, row: int) -> str:
        """The code of one row of a shard."""
        numbers = self._numbers(number)  # First: to read a shard may give names numbers.
        return str([*self._names][numbers[row]])

    def _read(self, number: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        try:
            column = self._corpus.metadata(number, ["language"])["language"].combine_chunks()
        except SidecarError as error:
            raise ValueError(
                f"{self._corpus.path} does not tell the languages of its samples ({error}): build "
                "it with septet build, whose filter stage tells them"
            ) from error
        encoded = column.dictionary_encode()
        known = [language_code(tag) or UNDETERMINED for tag in encoded.dictionary.to_pylist()]
        names = [self._names.setdefault(name, len(self._names)) for name in (*known, UNDETERMINED)]
        found = np.array(names)[encoded.indices.fill_null(len(known)).to_numpy()]
        return found.astype(np.uint8 if found.max(initial=0) < 256 else np.uint16)

    def parts(self, kept: Kept) -> "dict[str, LanguageRows]":
        """The kept rows of each language, in the order of codes."""
        digest = hashlib.sha256(" ".join(self._names).encode())
        counts = np.zeros((len(self._corpus.shards), len(self._names)), np.int64)
        for shard, found in enumerate(counts):
            numbers = self._numbers(shard)
            found[:] = np.bincount(numbers[kept.rows(shard)], minlength=len(self._names))
            digest.update(numbers.astype("<u2").tobytes())
        return {
            code: LanguageRows(self, kept, code, counts[:, i].tolist(), digest.hexdigest())
            for code, i in sorted(self._names.items())
            if counts[:, i].any()
        }


_SHARED: "WeakValueDictionary[tuple[str, str], SampleLanguages]" = WeakValueDictionary()
"""Of corpora that are open, by path and digest of their sidecars."""


class LanguageRows:
    """The rows of one language that take part in a run; see `Kept`."""

    def __init__(
        self, languages: SampleLanguages, kept: Kept, code: str, counts: list[int], digest: str
    ):
        self.code, self.counts = code, counts
        self._kept, self._digest = kept, digest
        self._rows = lru_cache(256)(lambda shard: languages.rows(shard, kept, code))

    def row(self, shard: int, place: int) -> int:
        """The row of a shard's `place`-th sample of the language."""
        return int(self._rows(shard)[place])

    def digest(self, base: str) -> str:
        """The corpus's digest `base`, changed by its samples' languages."""
        whole = f"{self._kept.digest(base)} {self._digest} {self.code}"
        return hashlib.sha256(whole.encode()).hexdigest()


def language_shares(samples: Mapping[str, int], temperature: float) -> dict[str, float]:
    """How often each language is drawn: in proportion to n ** (1 / temperature) for n samples
    (Devlin et al., multilingual BERT, with exponent 1 / temperature; mT5, section 3.2, with 0.3).

    They sum to 1. A temperature of 1 draws as the corpus has them, one above 1 more evenly. Samples
    of no known language are none to be drawn more often: they keep the share that they have.
    """
    whole = sum(samples.values())
    found = {c: n ** (1 / temperature) for c, n in samples.items() if c != UNDETERMINED}
    known, unknown = sum(found.values()), samples.get(UNDETERMINED, 0) / max(1, whole)
    return {
        code: unknown if code == UNDETERMINED else found[code] / known * (1 - unknown)
        for code in samples
    }
