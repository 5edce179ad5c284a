"""The templates of pages, which escape whatever they are given."""

import jinja2
import pyarrow as pa

from septet.pipelines.browse.graphs import short
from septet.pipelines.report import readable
from septet.preprocess.text.han import chinese_scripts

_READ = 400
"""The signs of a caption that are looked at."""


_HAN = {"simplified": "zh-Hans", "traditional": "zh-Hant"}


def tongue(caption: object, language: object) -> str:
    """A caption's language as browsers take it, by which they choose fonts: of Chinese the script,
    too, as far as its signs tell it."""
    if not isinstance(language, str) or not language.replace("-", "").isalnum():
        return ""
    if language == "zh" and isinstance(caption, str):
        found = chinese_scripts(pa.chunked_array([[caption[:_READ]]], pa.string()))
        return _HAN.get(found[0].as_py(), language)
    return language[:20]


def templates() -> jinja2.Environment:
    """The templates, with filters for numbers, names and texts of any origin."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("septet.pipelines.browse"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "number": readable.number, "clean": readable.clean, "words": readable.label,
        "short": short, "size": readable.size, "seconds": readable.seconds,
        "counted": readable.counted, "tongue": tongue,
    }  # fmt: skip
    return made
