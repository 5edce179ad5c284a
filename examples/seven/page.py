"""The page of the seven: one HTML file that loads nothing and shows all text as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

import septet
from examples.seven.results import Found, Result
from septet.pipelines.report import readable
from septet.pipelines.report.page import csp_hash
from septet.preprocess import files
from septet.preprocess.columns.reader import column_names
from septet.preprocess.shards.reader import Corpus

HERE = Path(__file__).parent
WIDTH, HEIGHT = 240, 72
"""View box of a curve."""
LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish"}
REAL = "real pages"


@dataclass(frozen=True)
class Curve:
    """A loss curve as SVG paths."""

    line: str
    area: str
    top: str
    """The greatest loss, as text."""


def curve(result: Result) -> Curve:
    """The loss over the steps, from 0 to its greatest value."""
    most = max(loss for _, loss in result.curve) or 1.0
    first, last = result.curve[0][0], result.curve[-1][0]
    places = [
        (WIDTH * (step - first) / max(1, last - first), HEIGHT * (1 - loss / most))
        for step, loss in result.curve
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return Curve(line, f"{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z", f"{most:.1f}")


def corpus_facts(corpus: Corpus) -> list[tuple[str, str]]:
    """The key figures of a corpus, each with its name."""
    languages: dict[str, int] = {}
    real = 0
    for i in range(len(corpus.shards)):
        table = corpus.metadata(i, ["language", "extra"]).take(corpus.rows(i))
        for language in table["language"].to_pylist():
            languages[str(language)[:2]] = languages.get(str(language)[:2], 0) + 1
        real += sum(not extra or extra == "{}" for extra in table["extra"].to_pylist())
    told = ", ".join(
        LANGUAGES.get(code, code)
        for code in sorted(languages, key=languages.__getitem__, reverse=True)
    )
    return [
        (readable.number(len(corpus)), "samples"),
        (readable.number(real), "of them from real pages"),
        (readable.number(len(languages)), told),
        (readable.number(len(column_names(corpus.path))), "columns of annotations"),
    ]


def write_page(out: Path, found: Sequence[Found]) -> Path:
    """Write `seven.html` into a folder that holds the corpus of a run."""
    corpus = septet.open(out / "corpus")
    page = render(found, corpus_facts(corpus), sorted(column_names(corpus.path)))
    files.write_bytes(str(out / "seven.html"), page)
    return out / "seven.html"


def render(
    found: Sequence[Found], facts: Sequence[tuple[str, str]], columns: Sequence[str]
) -> bytes:
    """The page, UTF-8."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=readable.number, line=readable.one_line)
    style = (HERE / "templates/page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        found=[(model, result, shown, curve(result)) for model, result, shown in found],
        facts=facts,
        columns=columns,
        style=Markup(style),
        style_hash=csp_hash(style),
        width=WIDTH,
        height=HEIGHT,
    )
    return page.encode()
