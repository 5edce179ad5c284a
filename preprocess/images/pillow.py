"""The slow path for images of other kinds, by Pillow: the first frame as grey or RGB."""

import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from septet.preprocess.images.orientation import Pixels, exif_orientation
from septet.preprocess.images.plug_ins import OPTIONAL
from septet.preprocess.images.rejects import decode_error
from septet.schemas.reasons import RejectedError

# Pillow warns of odd metadata, file by file; what matters here ends in a reject or in pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"eXIf", b"IDAT", b"IEND")
_READABLE_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_KEPT = ("png", "webp")
_TILE_WIDTH, _TILE_LENGTH = 322, 323


class PillowImage:
    """An image whose header was read; its pixels are decoded when they are asked for.

    `width`, `height`: pixels as stored. `orientation`: EXIF, 1 where nothing is left to apply.
    """

    def __init__(self, kind: str, data: bytes):
        """Read the header.

        Raises:
            RejectedError: `decode_error` or `unsupported`.
        """
        self.kind, self._data = kind, data
        self._as_stored = True
        if kind == "avif" and not AvifImagePlugin.SUPPORTED:
            raise RejectedError("unsupported", "avif")
        try:
            reader = _plug_in(kind) if kind in OPTIONAL else _READERS[kind]
            self._image = reader(io.BytesIO(data))
        except Exception as error:
            # A PNG's colour profile or text may be damaged where its pixels are not.
            if kind != "png":
                raise decode_error(error) from error
            self._reopen_png()
        self.width, self.height = self._image.size
        if self.width < 1 or self.height < 1:
            raise RejectedError("decode_error", f"{self.width}x{self.height} pixels")

    def _reopen_png(self) -> None:
        self._as_stored = False
        try:
            self._image = _READERS["png"](io.BytesIO(needed_png_chunks(self._data)))
        except Exception as error:
            raise decode_error(error) from error

    def check_tiles(self, most: int) -> None:
        """Refuse a TIFF whose tiles are larger than any image may be: they are decoded whole.

        Raises:
            RejectedError: `too_many_pixels`.
        """
        if isinstance(self._image, TiffImagePlugin.TiffImageFile):
            tags = self._image.tag_v2
            width, height = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
            if isinstance(width, int) and isinstance(height, int) and width * height > most:
                raise RejectedError("too_many_pixels", f"tiles of {width}x{height}")

    def frames(self, limit: int) -> int:
        """The number of frames, counted up to `limit` + 1."""
        if self.kind == "gif":
            return count_gif_frames(self._data, limit + 1)
        if self.kind in ("png", "webp", "avif"):
            return int(getattr(self._image, "n_frames", 1))
        return 1

    def pixels(self) -> tuple[Pixels, bool]:
        """Decode the first frame on white; says whether the file itself shows that to every reader.

        True for opaque still PNGs of at most 8 bits and opaque still WebPs.

        Raises:
            RejectedError: `decode_error` or `unsupported`.
        """
        try:
            self._image.load()
        except Exception as error:
            if self.kind != "png" or not self._as_stored:
                raise decode_error(error) from error
            self._reopen_png()
            return self.pixels()
        try:
            pixels, opaque = _on_white(self._image)
        except RejectedError:
            raise
        except Exception as error:  # palettes and transparency can be damaged too
            raise decode_error(error) from error
        kept = (
            self.kind in _KEPT
            and self._as_stored
            and opaque
            and self.frames(1) == 1
            and not (self.kind == "png" and self._data[24] > 8)
        )
        return pixels, kept

    @property
    def orientation(self) -> int:
        """The EXIF orientation that is still to be applied.

        Pillow applies a TIFF's own, libheif and libjxl theirs, but for a JPEG that a JPEG XL file
        holds whole.
        """
        if self.kind == "heic" or (self.kind == "jxl" and not getattr(self._image, "jpeg", False)):
            return 1
        exif = self._image.info.get("exif")
        return exif_orientation(exif) if self.kind != "tiff" and isinstance(exif, bytes) else 1


def _plug_in(kind: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if kind == "heic":
        from pillow_heif import HeifImageFile

        return HeifImageFile
    from pillow_jxl import JpegXLImagePlugin

    JpegXLImagePlugin.DECODE_THREADS = 0  # builds use all cores already
    return JpegXLImagePlugin.JXLImageFile


def _on_white(image: Image.Image) -> tuple[Pixels, bool]:
    """Put an image on white: grey or RGB pixels, and whether every pixel was opaque."""
    if image.mode.startswith("I;16"):
        deep = np.asarray(image)
        pixels = (deep >> 8).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            pixels[deep == clear] = 255
        return pixels, not isinstance(clear, int)
    if image.mode not in _READABLE_MODES:
        raise RejectedError(
            "unsupported", f"{image.format or ''} mode {image.mode}".strip().lower()
        )
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=alpha)
            return np.asarray(white), False
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode)), True


def needed_png_chunks(data: bytes) -> bytes:
    """A PNG without the chunks that say nothing of its pixels (profiles, texts, times)."""
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_NEEDED:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def count_gif_frames(data: bytes, limit: int) -> int:
    """Count the frames of a GIF, up to `limit`, by walking its blocks (GIF89a, appendix A)."""
    frames = 0
    try:
        at = 13 + _gif_table(data[10])
        while frames < limit:
            if data[at] == 0x2C:
                frames += 1
                at += 11 + _gif_table(data[at + 9])
            elif data[at] == 0x21:
                at += 2
            else:
                break
            while data[at]:
                at += 1 + data[at]
            at += 1
    except IndexError:
        pass
    return frames


def _gif_table(flags: int) -> int:
    """The bytes of the colour table that a descriptor's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
