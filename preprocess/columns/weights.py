"""Files of weights by path: their digests, and the messages where there is none."""

import importlib

from septet.preprocess import files


def weights_digest(path: str, what: str, setting: str = "weights") -> str:
    """The content digest of a file of weights, or of another file that decides values.

    Args:
        path: The file.
        what: Its name in the error.
        setting: The setting that names it.

    Raises:
        ValueError: there is no such file.
    """
    if not path or not files.exists(path):
        raise ValueError(f"{what}: no such file {path!r}; set it with --set {setting}=PATH")
    return files.content_digest(path)[1]


def need(module: str, extra: str) -> None:
    """Check that a package of an extra can be imported.

    Raises:
        ValueError: it cannot; says how to install it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"this column needs the package {module}: pip install 'septet[{extra}]' ({error})"
        ) from error
