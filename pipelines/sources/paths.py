"""Labels of inputs and the paths that they stand for.

A label is a path as the recipe spells it. Labels stand in every file that a build writes; paths,
which differ from machine to machine, in none. One function, `locate`, leads from one to the other.
"""

import posixpath
from pathlib import Path

from septet.pipelines.sources.patterns import expand_home
from septet.preprocess import files
from septet.schemas.reasons import RejectedError


def locate(label: str, folder: str) -> str:
    """The path of an input on this machine.

    Links keep their names: nothing is resolved.

    Args:
        label: An input as the recipe spells it: relative, absolute, with `~`, or a URL.
        folder: Where the recipe's relative paths start.
    """
    if not files.is_local(label):
        return label
    plain = files.local_path(label)
    if label.startswith("~"):
        plain = expand_home(plain)
    return str(Path(folder).absolute() / plain)


def folder_label(spelled: str) -> str:
    """The label of a folder of images: as spelled, without `.`, double and closing slashes; `./~`
    stays, for it is no home."""
    if not files.is_local(spelled):
        return spelled.rstrip("/")
    label = posixpath.normpath(spelled)
    return f"./{label}" if label.startswith("~") and not spelled.startswith("~") else label


def beside(label: str) -> str:
    """The label of the folder in which an input lies."""
    return folder_label(posixpath.dirname(label) or ".")


def name_within(root: str, path: str, text: str) -> str:
    """The name of the file that a row's `text` means, relative to the folder of images.

    Only the text is looked at. Links that the folder's owner put there are followed when they are
    read: they are the owner's choice.

    Args:
        root: Label of the folder.
        path: The path of the folder.
        text: A relative path, or an absolute one that lies in the folder.

    Raises:
        RejectedError: `outside_root`, `file_name` where the name cannot be stored as text, or
            `list_row` where no file can have it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RejectedError("file_name", text) from error
    if "\0" in text:
        raise RejectedError("list_row", "the path holds a NUL character")
    for base in (path, root):
        if posixpath.isabs(base) and text.startswith(base.rstrip("/") + "/"):
            text = text[len(base.rstrip("/")) + 1 :]
    name = posixpath.normpath(text)
    if posixpath.isabs(name) or name == ".." or name.startswith("../") or "://" in text:
        raise RejectedError("outside_root", text)
    if name == ".":
        raise RejectedError("list_row", "the path names the folder itself")
    return name
