"""Members of samples for a browser: images as they are stored, thumbnails that are made when asked
for, and texts."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from septet.pipelines.report.gallery import find_image, thumbnail
from septet.preprocess.images.headers import is_heavy
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import is_image

SIDE = 224
"""Pixels of a thumbnail's longer side."""
_MEDIA = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_MOST_BYTES = 64 * 2**20
_TEXT = frozenset({"txt"})
_MOST_TEXT = 4 * 2**20


def require_sample(corpus: Corpus, shard: int, row: int) -> None:
    """Refuse a place that is none of a sample.

    Raises:
        ValueError: there is none, it was taken down, or the view does not have it.
    """
    is_row = shard < len(corpus.shards) and row < corpus.counts[shard]
    if not is_row or corpus.index(shard, row) is None:
        raise ValueError("there is no such sample, it was taken down, or the view does not have it")


class Images:
    """The images of a corpus. Thumbnails are kept, up to 64 MiB of them.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus):
        self._corpus = corpus
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def is_there(self, shard: int, row: int) -> bool:
        """Whether a sample has an image, whatever its sidecar says of it."""
        with self._lock:
            return any(map(is_image, self._corpus.shard(shard).exts(row)))

    def caption(self, shard: int, row: int) -> str:
        """A sample's text member, of which many sidecars say nothing; empty where it has none, one
        of more than 4 MiB, or one that cannot be read."""
        with self._lock, suppress(ValueError, OSError):
            opened = self._corpus.shard(shard)
            if opened.size(row, _TEXT) <= _MOST_TEXT:
                return opened.read(row, _TEXT).get("txt", b"").decode("utf-8", "replace")
        return ""

    def is_shown(self, members: Iterable[Mapping[str, Any]]) -> bool:
        """Whether browsers show one of a sample's members."""
        return any(member["ext"].lower() in _MEDIA for member in members)

    def stored(self, shard: int, row: int) -> tuple[bytes, str]:
        """An image as it is stored, and its media type.

        Raises:
            ValueError: there is no such sample, it has no image, or one that browsers do not show.
        """
        require_sample(self._corpus, shard, row)
        with self._lock:  # a shard's reader may be closed when another one is opened
            found = find_image(self._corpus.shard(shard).read(row))
        if found is None:
            raise ValueError("the sample has no image")
        ext, data = found
        if ext.lower() not in _MEDIA:
            raise ValueError(f"browsers do not show .{ext[:20]}")
        return data, _MEDIA[ext.lower()]

    def thumbnail(self, shard: int, row: int) -> bytes:
        """A thumbnail as WebP.

        Raises:
            ValueError: as of `stored`, or the image is damaged, or too heavy to be decoded here.
        """
        place = shard, row
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
        data, _ = self.stored(shard, row)
        if is_heavy(data):
            raise ValueError("too heavy to be decoded here")
        small, _, _ = thumbnail(data, SIDE)
        with self._lock:
            self._bytes += len(small) - len(self._kept.pop(place, b""))
            self._kept[place] = small
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return small
