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
        self._lock = threading.Lock()

    def among(self, rejects: Iterable[Mapping[str, Any]]) -> set[str]:
        """The URLs of those of some rejects' images that can be shown; none where the store cannot
        be read."""
        found: dict[str, StoredImage] = {}
        with suppress(ValueError, OSError):
            found = self._images.find(one for one in rejects if one["stage"] == SHOWN)
        with self._lock:
            self._found |= found
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
        return set(found)

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
