"""What later builds of a corpus drop besides its removed samples: all that removals asked for,
whether or not a sample had it then."""

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess import files
from septet.preprocess.shards.lists import list_numbers
from septet.preprocess.text.ids import hash64
from septet.schemas.layout import REMOVED, barred_list
from septet.schemas.manifest import BARRED_LIST
from septet.schemas.versioned import ManifestError

_LIST = re.compile(r"barred-(\d{4,})\.parquet")
_APART = re.compile(r"[\W_]+")


def newest_barred(corpus: str) -> str | None:
    """The path of a corpus folder's newest list of what is barred; a list is never changed."""
    numbers = _numbers(corpus)
    return files.join(corpus, barred_list(numbers[-1])) if numbers else None


def read_barred_list(path: str | None) -> pa.Table:
    """Read a list, rows of `BARRED_LIST`; empty where there is none.

    Raises:
        ManifestError: it cannot be read.
    """
    if path is None:
        return BARRED_LIST.empty_table()
    try:
        return files.read_table(path, BARRED_LIST.names).cast(BARRED_LIST)
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(
            f"{path} cannot be read ({error}): it says what must not come back, so mend it, or "
            "delete it and remove the same things again"
        ) from error


def bar(corpus: str, rows: pa.Table) -> bool:
    """Add to what is barred; returns whether any of it is new.

    Args:
        corpus: The corpus folder.
        rows: Rows of `BARRED_LIST`.
    """
    numbers = _numbers(corpus)
    newest = files.join(corpus, barred_list(numbers[-1])) if numbers else None
    known = read_barred_list(newest)
    joined = pa.concat_tables([known, rows])
    places = {name: place for place, name in reversed([*enumerate(_names(joined))])}
    if len(places) == len(known):
        return False
    numbers.append(max(numbers, default=0) + 1)
    files.write_table(
        files.join(corpus, barred_list(numbers[-1])),
        joined.take([at for _, at in sorted(places.items())]),
    )
    for old in numbers[:-2]:  # a task of a build may be about to read the last
        files.remove(files.join(corpus, barred_list(old)))
    return True


def _names(rows: pa.Table) -> list[tuple[str, str, bytes]]:
    """What tells one row from another."""
    columns = (rows["what"], rows["value"], pc.fill_null(rows["thumbnail"], b""))
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _numbers(corpus: str) -> list[int]:
    return list_numbers(files.join(corpus, REMOVED), _LIST)


def text_key(text: str) -> str:
    """The hash by which a text without an image is barred, 16 hex digits: of its letters, digits
    and signs without case, so that it is the same under other cleaning; of the text itself where
    it has none."""
    folded = _APART.sub("", unicodedata.normalize("NFKC", text).casefold())
    return f"{hash64(folded or text, b'septet.barred'):016x}"
