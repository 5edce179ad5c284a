"""Class names of detectors: a text file, one class a line."""

from septet.preprocess import files


def read_labels(path: str) -> list[str]:
    """Class names in the order of the detector's classes, without background.

    A line may hold synonyms, as Visual Genome's list of 1,600 classes does ("stop sign,stopsign"):
    the first one is the name.

    Raises:
        ValueError: there is no such file, or it is no UTF-8 text.
    """
    if not path or not files.exists(path):
        raise ValueError(f"class names: no such file {path!r}; set it with --set labels=PATH")
    try:
        lines = files.read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"class names {path}: no UTF-8 text ({error})") from error
    return [line.split(",")[0].strip() for line in lines]


def name_of(label: int, names: list[str]) -> str:
    """The name of a class, its number as text where the list has none."""
    return names[label] if 0 <= label < len(names) and names[label] else str(label)
