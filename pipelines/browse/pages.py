"""The templates of pages, which escape whatever they are given."""

import jinja2

from septet.pipelines.browse.graphs import short
from septet.pipelines.report import readable


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
        "counted": readable.counted,
    }  # fmt: skip
    return made
