"""Images of rejects, as far as the fetch store has them, for a browser."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from septet.pipelines.browse.images import SIDE
from septet.pipelines.report.gallery import SHOWN, thumbnail
from septet.pipelines.store.by_url import RejectedImages, StoredImage
from septet.preprocess.images.headers import is_heavy
from septet.preprocess.shards.reader import Corpus

_MOST = 5_000
"""The most images whose place is remembered."""


class RejectThumbnails:
    """Thumbnails of rejects' images, by URL: of the rejects that a page has shown.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus):
        self._images = RejectedImages(corpus.path, corpus.manifest.recipe)
        self._found: OrderedDict[str, StoredImage] = OrderedDict()
        self._sought: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Ids and URLs of rejects for which the store was looked through."""
        self._lock = threading.Lock()

    def among(self, rejects: Iterable[Mapping[str, Any]]) -> set[str]:
        """The URLs of those of some rejects' images that can be shown; none where the store cannot
        be read. The store is looked through for each reject once."""
        shown = {(one["id"], one["image_url"]): one for one in rejects if one["stage"] == SHOWN}
        with self._lock:
            new = [one for key, one in shown.items() if key not in self._sought]
        found: dict[str, StoredImage] = {}
        if new:
            with suppress(ValueError, OSError):
                found = self._images.find(new)
        with self._lock:
            self._found |= found
            self._sought |= dict.fromkeys((one["id"], one["image_url"]) for one in new)
            for kept in (self._found, self._sought):
                while len(kept) > _MOST:
                    kept.popitem(last=False)
            return {url for _, url in shown if url in self._found}

    def thumbnail(self, request: Request) -> Response:
        """The thumbnail of an image as WebP."""
        image = self._found.get(request.query_params.get("url", ""))
        try:
            if image is None:
                raise ValueError("no page has shown a reject with that image")
            data = self._images.read(image)
            if is_heavy(data):
                raise ValueError("too heavy to be decoded here")
            small, _, _ = thumbnail(data, SIDE)
        except (ValueError, OSError) as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(small, media_type="image/webp", headers={"Cache-Control": "private"})
