"""A decoder of image files: one set of rules for builds, columns and trainers.

The kind is told by the first bytes; sizes are checked in the header, before any pixel; the first
frame is taken, upright, on white where it is transparent. 16 bits are scaled to 8, palettes and
CMYK go to RGB; colour profiles are not applied. What is damaged is refused.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.images import jpeg, webp
from septet.preprocess.images.orientation import Pixels, orient
from septet.preprocess.images.pillow import PillowImage
from septet.preprocess.images.sniff import image_kind
from septet.schemas.reasons import RejectedError

MAX_PIXELS = 100_000_000
"""Default bound on width x height. An image of this size takes up to 1.5 GB while it is decoded."""


SMALL = 64
"""The pixels a side that are enough to say how an image looks."""


def decode_rgb(
    data: bytes, max_pixels: int = MAX_PIXELS, width: int = 0, height: int = 0
) -> NDArray[np.uint8]:
    """Decode an image file to pixels: the first frame, upright, on white.

    Args:
        data: The file.
        max_pixels: Bound on width x height.
        width: Pixels that are needed. A JPEG may be decoded at a smaller scale as long as it stays
            at least a tenth larger than this; 0 asks for the whole image.
        height: Likewise.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        RejectedError: `empty`, `not_image`, `unsupported`, `too_many_pixels`, `decode_error` or
            `decode_memory`.
    """
    try:
        pixels = OpenedImage(data, max_pixels).pixels(width, height)
    except MemoryError as error:
        raise RejectedError("decode_memory", "all that there is") from error
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def check_pixels(width: int, height: int, most: int) -> None:
    """Refuse an image of too many pixels.

    Raises:
        RejectedError: `too_many_pixels`.
    """
    if width * height > most:
        raise RejectedError("too_many_pixels", f"{width}x{height}")


class OpenedImage:
    """An image file whose size is known and within bounds.

    `kind`: one of `sniff.DECODABLE`, or of `plug_ins.OPTIONAL` where it was asked for. `width`,
    `height`: pixels of the upright image.
    """

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS, more: Collection[str] = ()):
        """Read the header; kinds without a fast path are decoded at once.

        Raises:
            RejectedError: as of `decode_rgb`.
        """
        self.kind = image_kind(data, more)
        self._data, self._max = data, max_pixels
        self._header = _read_header(self.kind, data)
        self._pixels: Pixels | None = None
        self._small: Pixels | None = None
        self._as_stored = False
        if self._header:
            check_pixels(self._header.width, self._header.height, max_pixels)
            if self.kind == "jpeg":
                jpeg.check_scans(data, self._header.width * self._header.height)
        if self._header and self._header.is_plain:
            size = self._header.width, self._header.height
            self.width, self.height = size[::-1] if self._header.orientation >= 5 else size
        else:
            self._decode_with_pillow()

    def frames(self, limit: int) -> int:
        """Number of frames, counted up to `limit` + 1."""
        if self._header and self._header.is_plain:
            return 1
        return PillowImage(self.kind, self._data).frames(limit)

    def pixels(self, width: int = 0, height: int = 0) -> Pixels:
        """Decode the upright image to grey or RGB pixels.

        Args:
            width: Pixels that are needed: a JPEG may come smaller than it is, but at least a tenth
                larger than this; 0 asks for the whole image.
            height: Likewise.

        Raises:
            RejectedError: `decode_error` or `unsupported`.
        """
        if self._pixels is not None:
            return self._pixels
        header = self._header
        stored: Pixels | None = None
        if isinstance(header, jpeg.JpegHeader):
            needed = (height, width) if header.orientation >= 5 else (width, height)
            stored = jpeg.decode(self._data, header, *needed)
        elif isinstance(header, webp.WebpHeader):
            stored = webp.decode(self._data)
        if header is None or stored is None:
            return self._decode_with_pillow()
        return orient(stored, header.orientation)

    def small(self) -> Pixels:
        """Decode the upright image, of which `SMALL` pixels a side are needed.

        Raises:
            RejectedError: `decode_error` or `unsupported`.
        """
        return self.pixels(SMALL, SMALL) if self._small is None else self._small

    def is_shown_as_stored(self) -> bool:
        """Whether every reader sees in the file itself what `pixels` gives: JPEGs, opaque still
        WebPs and PNGs of at most 8 bits without orientation, decoded to their end.

        Raises:
            RejectedError: `decode_error` or `unsupported`.
        """
        header = self._header
        if self._pixels is not None or header is None:
            return self._as_stored
        if header.orientation != 1:
            return False
        if isinstance(header, jpeg.JpegHeader):
            self._small = jpeg.decode(self._data, header, SMALL, SMALL)
            return self._small is not None
        self._pixels = self.pixels()
        return True

    def _decode_with_pillow(self) -> Pixels:
        image = PillowImage(self.kind, self._data)
        check_pixels(image.width, image.height, self._max)
        image.check_tiles(self._max)
        if isinstance(self._header, jpeg.JpegHeader):
            jpeg.check_content(self._data, self._header)
        stored, as_stored = image.pixels()
        self._as_stored = as_stored and image.orientation == 1
        self._pixels = orient(stored, image.orientation)
        self.height, self.width = self._pixels.shape[:2]
        return self._pixels


def _read_header(kind: str, data: bytes) -> jpeg.JpegHeader | webp.WebpHeader | None:
    if kind == "jpeg":
        return jpeg.read_header(data)
    if kind == "webp":
        header = webp.read_header(data)
        if header is None:
            raise RejectedError("decode_error", "no WebP header")
        return header
    return None
