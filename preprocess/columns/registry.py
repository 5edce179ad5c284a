"""The kinds of columns by name: Septet's own and those of other packages, by entry point."""

import difflib
import inspect
import re
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from pydantic import ValidationError

from septet.preprocess.columns.base import Column
from septet.preprocess.entry_points import offered, require_single
from septet.schemas.columns import ColumnManifest

GROUP = "septet.columns"
_CLASS = re.compile(r"[\w.]+:[\w.]+")
EXTRAS = {
    "regions": "vision",
    "ocr": "ocr",
    "scene-graphs": "scene-graphs",
    "questions": "scene-graphs",
    "codes": "vision",
    "patches": "vision",
    "clip": "vision",
}
"""The extras to install for Septet's own kinds."""


class ColumnError(ValueError):
    """Raised when a column cannot be made as asked; the message says what to do."""


def column_kinds() -> dict[str, EntryPoint]:
    """The entry points of all kinds that installed packages offer, by kind."""
    return offered(GROUP)


def column_class(kind: str) -> type[Column]:
    """Find the class of a kind, or of `module:Class` as Python would import it.

    Raises:
        ColumnError: there is no such kind, two packages offer it, or a package that it needs is
            missing.
    """
    kinds = column_kinds()
    if ":" in kind:
        if not _CLASS.fullmatch(kind):
            raise ColumnError(f"{kind!r} is no class; expected module:Class")
        kinds = {kind: EntryPoint(kind, kind, GROUP)}
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
        raise ColumnError(f"no kind of column {kind!r}; {hint}")
    try:
        require_single(GROUP, kind)
    except ValueError as error:
        raise ColumnError(f"column {error}") from error
    try:
        found = kinds[kind].load()
    except (Exception, SystemExit) as error:  # a module may raise anything
        extras = f": pip install 'septet[{EXTRAS[kind]}]'" if kind in EXTRAS else ""
        what = f"{type(error).__name__}: {error}"
        raise ColumnError(f"column {kind!r} cannot be loaded: {what}{extras}") from error
    if not (isinstance(found, type) and issubclass(found, Column)) or inspect.isabstract(found):
        raise ColumnError(
            f"{kinds[kind].value} is no subclass of septet.preprocess.columns.base.Column with all "
            "of its methods"
        )
    if not isinstance(getattr(found, "version", None), int):
        raise ColumnError(f"{kinds[kind].value} has no `version`: write `version = 1` in it")
    return found


def make_column(kind: str, settings: Mapping[str, Any]) -> Column:
    """Make a column of a kind; nothing is loaded yet.

    Raises:
        ColumnError: there is no such kind, or a setting is unknown or does not fit.
    """
    found = column_class(kind)
    try:
        parsed = found.Settings.model_validate(dict(settings))
    except ValidationError as error:
        known = list(found.Settings.model_fields)
        raise ColumnError(
            "\n".join(f"column {kind}: {_explain(fault, known)}" for fault in error.errors())
        ) from error
    try:
        column = found(parsed)
    except Exception as error:
        raise ColumnError(
            f"column {kind} cannot be made: {type(error).__name__}: {error}"
        ) from error
    column.kind = kind
    return column


def stored_column(manifest: ColumnManifest, trusted: Collection[str] = ()) -> Column:
    """Make a column as a corpus's `column.json` describes it, for checks and drawings.

    A corpus may come from a stranger: kinds of installed packages are taken, but a class
    (`module:Class`) that the corpus names is imported only where the user has named it too.

    Args:
        manifest: The column's.
        trusted: Classes that the user has named.

    Raises:
        ColumnError: as `make_column`, or the class may not be imported.
    """
    kind = manifest.kind
    if ":" in kind and kind not in trusted:
        raise ColumnError(
            f"it was made by the class {kind}, which is imported only if you name it: "
            f"--trust {kind}"
        )
    column = make_column(kind, manifest.settings)
    column.notes = manifest.member.notes
    return column


def _explain(fault: Any, known: list[str]) -> str:
    name = ".".join(map(str, fault["loc"])) or "settings"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
        return f"no setting `{name}`; {hint}"
    if fault["type"] == "missing":
        return f"setting `{name}` is needed: --set {name}=…"
    return f"`{name}`: {str(fault['msg']).removeprefix('Value error, ')}, found {fault['input']!r}"
