"""Views: the ids of some of a corpus's samples.

Ids are 128-bit numbers in a `.npy` file of dtype "u8,u8", sorted, as DataComp's subsets are: a key
of 32 hex digits is its own number, any other key the first 128 bits of its BLAKE2b. Beside them lie
places, the numbers of the same rows in the order of the corpus's shards, int64, rising: by these a
view is opened without reading keys.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.preprocess import files
from septet.schemas.layout import MANIFEST, VIEWS
from septet.schemas.versioned import ManifestError
from septet.schemas.view import IDS, NAME, PLACES, VIEW, View

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
    folder: str = ""
    """Its own folder; empty for a bare list."""

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
        found = cls._of(name, files.join(folder, IDS), head, folder)
        if found.digest != head.ids_sha256 or len(found) != head.samples:
            raise ManifestError(f"{folder}/{IDS} is not the list that {VIEW} names: {View.remedy}")
        return found

    @classmethod
    def _of(cls, name: str, path: str, head: View | None, folder: str = "") -> Self:
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
        return cls(name, high, low, head, hashlib.sha256(data).hexdigest(), folder)

    def places(self, shard_list: str, rows: int) -> NDArray[np.int64] | None:
        """The numbers of its rows among all of the corpus, rising; None where it was chosen from
        other shards, or does not tell them.

        Args:
            shard_list: SHA-256 of the corpus's list of shards.
            rows: How many all are.

        Raises:
            ManifestError: the file is not what the head says.
        """
        if self.head is None or not self.head.places_sha256 or self.head.shard_list != shard_list:
            return None
        where = files.join(self.folder, PLACES)
        try:
            data = files.read_bytes(where)
            places: NDArray[np.int64] = np.load(io.BytesIO(data), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ManifestError(f"{where} cannot be read ({error}): {View.remedy}") from error
        if (
            hashlib.sha256(data).hexdigest() != self.head.places_sha256
            or places.dtype != np.int64
            or places.shape != (len(self),)
            or (len(places) and (places[0] < 0 or places[-1] >= rows))
            or (places[1:] <= places[:-1]).any()
        ):
            raise ManifestError(f"{where} is not the list that {VIEW} names: {View.remedy}")
        return places

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


def require_whole(path: str, instead: str) -> None:
    """Refuse PATH@VIEW where nothing but a corpus will do.

    Args:
        path: The path.
        instead: What to do, with `{corpus}` for its path and `{ids}` for the view's list.

    Raises:
        ValueError: it is a view; says what to do instead.
    """
    corpus, view = split_view(path)
    if view is not None:
        ids = view if view.endswith(".npy") else files.join(view_folder(corpus, view), IDS)
        raise ValueError(f"{path} is a view: {instead.format(corpus=corpus, ids=ids)}")


def _may_be_view(name: str) -> bool:
    return is_name(name) or name.endswith(".npy") or files.exists(files.join(name, VIEW))


def is_name(name: str) -> bool:
    """Whether a view may have that name: it could be no weight, nor leave the folder of views."""
    return NAME.fullmatch(name) is not None and name.lower() not in ("inf", "infinity", "nan")


def write_view(folder: str, head: View, ids: NDArray[np.uint64], places: NDArray[np.int64]) -> View:
    """Write a view: its lists, then its head, which gets their digests.

    Args:
        folder: The view's folder.
        head: The head.
        ids: Halves of the ids, [n, 2], each id once.
        places: The numbers of their rows among all of the corpus, rising, [n].
    """
    high, low = ids[:, 0], ids[:, 1]
    order = np.lexsort([low, high])
    whole = np.empty(len(order), ID)
    whole["f0"], whole["f1"] = high[order], low[order]
    files.remove(files.join(folder, VIEW))
    digests = {
        "ids_sha256": _write_array(files.join(folder, IDS), whole),
        "places_sha256": _write_array(files.join(folder, PLACES), places),
    }
    head = head.model_copy(update=digests)
    files.write_bytes(files.join(folder, VIEW), head.to_json().encode())
    return head


def _write_array(path: str, array: NDArray[Any]) -> str:
    """Write an array; returns the file's SHA-256."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    data = out.getvalue()
    files.write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()
