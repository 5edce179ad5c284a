"""Views: the ids of some of a corpus's samples.

Ids are 128-bit numbers in a `.npy` file of dtype "u8,u8", sorted, as DataComp's subsets are: a key
of 32 hex digits is its own number, any other key the first 128 bits of its BLAKE2b.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.preprocess import files
from septet.schemas.layout import MANIFEST, VIEWS
from septet.schemas.versioned import ManifestError
from septet.schemas.view import IDS, NAME, VIEW, View

ID = np.dtype([("f0", "<u8"), ("f1", "<u8")])
_HEX = 32


@dataclass(frozen=True)
class Chosen:
    """The ids of a view, for look-ups."""

    name: str
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    head: View | None
    """None for a bare list of ids."""
    digest: str
    """SHA-256 of the file of ids."""

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def read(cls, corpus: str, name: str) -> Self:
        """Read a view.

        Args:
            corpus: The corpus folder.
            name: The name of one of its views, the folder of one elsewhere, or a `.npy` file of
                ids.

        Raises:
            ManifestError: there is no such view, or it is damaged.
        """
        if name.endswith(".npy"):
            if not files.exists(name):
                raise ManifestError(f"{name}: there is no such list of ids")
            return cls._of(name, name, None)
        folder = view_folder(corpus, name)
        where = files.join(folder, VIEW)
        if not files.exists(where):
            have = ", ".join(view_names(corpus)) or "none"
            raise ManifestError(
                f"{corpus} has no view {name!r} (it has {have}), and as a weight {name!r} is no "
                "number: make one with "
                f"`septet curate {corpus} --keep … --name {name}`"
            )
        head = View.from_json(files.read_bytes(where), where)
        found = cls._of(name, files.join(folder, IDS), head)
        if found.digest != head.ids_sha256 or len(found) != head.samples:
            raise ManifestError(f"{folder}/{IDS} is not the list that {VIEW} names: {View.remedy}")
        return found

    @classmethod
    def _of(cls, name: str, path: str, head: View | None) -> Self:
        try:
            data = files.read_bytes(path)
            ids = np.load(io.BytesIO(data), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ManifestError(f"{path} is no list of ids ({error}): {View.remedy}") from error
        if ids.ndim != 1 or ids.dtype.kind != "V" or [t for _, t in ids.dtype.descr] != ["<u8"] * 2:
            raise ManifestError(
                f"{path} holds {ids.dtype} {list(ids.shape)}, expected one row of 128-bit ids "
                '(dtype "u8,u8")'
            )
        high, low = (np.ascontiguousarray(ids[field]) for field in ids.dtype.names)
        rises = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
        if not rises.all():
            raise ManifestError(f"{path} is not sorted, or holds an id twice: np.unique sorts it")
        return cls(name, high, low, head, hashlib.sha256(data).hexdigest())

    def holds(self, keys: pa.Array) -> NDArray[np.bool_]:
        """Whether each key is one of the view's, bool [n]."""
        high, low = key_ids(keys)
        first = np.searchsorted(self.high, high, "left")
        count = np.searchsorted(self.high, high, "right") - first
        found = np.zeros(len(high), bool)
        one = count == 1
        found[one] = self.low[first[one]] == low[one]
        for place in np.flatnonzero(count > 1):  # several samples of an image
            begin, end = first[place], first[place] + count[place]
            at = begin + np.searchsorted(self.low[begin:end], low[place])
            found[place] = at < end and self.low[at] == low[place]
        return found


def key_ids(keys: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The numbers of keys: the first and the last 64 bits of each, uint64 [n]."""
    texts: list[str] = keys.to_pylist()
    together = "".join(texts)
    try:
        plain = bytes.fromhex(together) if all(len(key) == _HEX for key in texts) else b""
    except ValueError:
        plain = b""
    if 2 * len(plain) != len(together):  # no hexadecimal digits, or spaces among them
        plain = b"".join(map(_number, texts))
    pairs = np.frombuffer(plain, ">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _number(key: str) -> bytes:
    try:
        if len(key) == _HEX and len(found := bytes.fromhex(key)) == _HEX // 2:
            return found
    except ValueError:
        pass
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def view_folder(corpus: str, name: str) -> str:
    """The folder of a view: of the corpus where it is a name, else where it says."""
    return files.join(corpus, VIEWS, name) if NAME.fullmatch(name) else name


def view_names(corpus: str) -> list[str]:
    """The names of the views that lie in a corpus's folder."""
    names = files.list_folder(files.join(corpus, VIEWS))
    return [n for n in names if files.exists(files.join(corpus, VIEWS, n, VIEW))]


def split_view(path: str) -> tuple[str, str | None]:
    """Split PATH@VIEW into the path of a corpus and a view; a path that has a corpus is that path,
    whatever characters it has. A number is no view: PATH@2 is a corpus and its weight in a mix."""
    if "@" not in path or files.exists(files.join(path, MANIFEST)):
        return path, None
    for at in reversed([i for i, sign in enumerate(path) if sign == "@"]):
        corpus, view = path[:at], path[at + 1 :]
        if corpus and _may_be_view(view) and files.exists(files.join(corpus, MANIFEST)):
            return corpus, view
    return path, None


def _may_be_view(name: str) -> bool:
    return is_name(name) or name.endswith(".npy") or files.exists(files.join(name, VIEW))


def is_name(name: str) -> bool:
    """Whether a view may have that name: it could be no weight, nor leave the folder of views."""
    return NAME.fullmatch(name) is not None and name.lower() not in ("inf", "infinity", "nan")


def write_view(folder: str, head: View, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> View:
    """Write a view: its ids, then its head. `head` gets the digest of the ids.

    Args:
        folder: The view's folder.
        head: The head.
        high: First halves of the ids, in any order, each id once.
        low: Second halves.
    """
    order = np.lexsort([low, high])
    ids = np.empty(len(order), ID)
    ids["f0"], ids["f1"] = high[order], low[order]
    out = io.BytesIO()
    np.save(out, ids, allow_pickle=False)
    data = out.getvalue()
    head = head.model_copy(update={"ids_sha256": hashlib.sha256(data).hexdigest()})
    files.remove(files.join(folder, VIEW))
    files.write_bytes(files.join(folder, IDS), data)
    files.write_bytes(files.join(folder, VIEW), head.to_json().encode())
    return head
