"""The text of recipe files; imports nothing heavy, so that a build that is up to date is told at
once."""

from pathlib import Path


def read_recipe(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        ValueError: there is no such file, or it is not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such recipe file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); store it as UTF-8") from error
