"""Images made on the spot, small, deterministic and of every kind."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photo(width=64, height=48, seed=0):
    """Smooth colours with some grain, uint8 [height, width, 3]: compresses like a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8)


def saved(image, kind, **options):
    """The file that Pillow writes for an image (or an array)."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data):
    """The pixels that a plain reader sees in a file, as RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def chunk(name, content):
    """A PNG chunk."""
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(width, height, depth, colour, rows, *extra):
    """A PNG from raw rows (each without its filter byte), whatever Pillow can write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def exif(orientation, order="<"):
    """An EXIF block that states an orientation and nothing else."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    table = struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)
    return b"Exif\0\0" + mark + table


def grey_alpha():
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    return Image.merge("LA", [Image.fromarray(photo()[:, :, 0]), Image.fromarray(alpha)])


WHOLE = {
    "jpeg": saved(photo(), "jpeg"),
    "progressive": saved(photo(), "jpeg", progressive=True),
    "cmyk": saved(Image.fromarray(photo()).convert("CMYK"), "jpeg"),
    "png": saved(photo(), "png"),
    "webp": saved(photo(), "webp"),
    "lossless": saved(photo(), "webp", lossless=True),
    "gif": saved(photo(), "gif"),
    "bmp": saved(photo(), "bmp"),
    "tiff": saved(photo(), "tiff", compression="tiff_lzw"),
    "avif": saved(photo(), "avif"),
}
