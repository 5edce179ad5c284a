"""Language identification of captions: by a model, by script, and by what a declared language
weighs."""

from septet.preprocess.text.language.identify import (
    Language,
    identify,
    known_languages,
    primary_subtag,
)
from septet.schemas.languages import UNDETERMINED

__all__ = ["UNDETERMINED", "Language", "identify", "known_languages", "primary_subtag"]
