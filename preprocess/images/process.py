"""The processing of one image file, from the bytes that were fetched to those that are stored."""

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from septet.preprocess.bounded import BoundedCall, CrashError, MemoryLimitError, TimeLimitError
from septet.preprocess.images.appearance import Appearance, appearance, appearance_of
from septet.preprocess.images.decode import OpenedImage, check_pixels
from septet.preprocess.images.encode import check_encodable, encode
from septet.preprocess.images.headers import is_heavy
from septet.preprocess.images.orientation import Pixels
from septet.preprocess.images.resize import ResizePlan, plan_resize, resize
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.recipe import Image

DECODE_SECONDS = 60.0
"""The CPU time for an image; one of 100 million pixels takes about three seconds."""
_BASE_MEMORY, _BYTES_A_PIXEL = 2**30, 24

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
"""Extensions of the formats whose files may be kept as they are."""


@dataclass(frozen=True, slots=True)
class ProcessedImage:
    """An image that can be stored. Sizes are pixels as seen, EXIF orientation applied.

    `format` is that of the file as it was fetched, `ext` that of `data`. Unless `reencoded`,
    `data` are the bytes as they were fetched. `appearance` is that of `data`.
    """

    data: bytes
    ext: str
    format: str
    width: int
    height: int
    original_width: int
    original_height: int
    reencoded: bool
    appearance: Appearance


def process_image(data: bytes, settings: Image, apart: bool = False) -> ProcessedImage | Rejected:
    """Decode, orient, resize and encode an image, or keep its bytes where nothing must change.

    The bytes are kept where no resize is needed and every reader sees the same in them: JPEGs
    (grey or three components, no EXIF orientation), opaque still PNGs of at most 8 bits, opaque
    still WebPs; all of them are decoded to their end first. Everything else is encoded anew, with
    its first frame, on white where it is transparent, without metadata. Pixel values are taken
    as stored: colour profiles are not applied.

    An image that is heavy by its header, and every image that is to be decoded `apart`, is decoded
    in a process that can be stopped and may crash (`decode_crash`), within `DECODE_SECONDS` of CPU
    time (`decode_timeout`) and the memory that its bound on pixels needs (`decode_memory`).

    Equal data and settings give equal bytes, for the same versions of the codecs and the same
    processor architecture. May be called from many threads.
    """
    memory = _BASE_MEMORY + _BYTES_A_PIXEL * settings.max_pixels
    try:
        if not apart and not is_heavy(data, settings.more_formats):
            return _process(data, settings)
        return cast(ProcessedImage | Rejected, _elsewhere(memory)(data, settings))
    except RejectedError as error:
        return error.rejected
    except TimeLimitError:
        return Rejected("decode_timeout", f"{DECODE_SECONDS:g}")
    except (MemoryLimitError, MemoryError):
        return Rejected("decode_memory", str(memory))
    except CrashError as error:
        return Rejected("decode_crash", str(error))


@lru_cache(maxsize=4)
def _elsewhere(memory: int) -> BoundedCall:
    return BoundedCall(f"{__name__}:process_here", DECODE_SECONDS, memory)


def process_here(data: bytes, settings: Image) -> ProcessedImage | Rejected:
    """`process_image` in this process, without limits."""
    try:
        return _process(data, settings)
    except RejectedError as error:
        return error.rejected


def _process(data: bytes, settings: Image) -> ProcessedImage:
    image = OpenedImage(data, settings.max_pixels, settings.more_formats)
    most = settings.max_frames
    if most is not None and image.frames(most) > most:
        raise RejectedError("too_many_frames", str(most))
    size = image.width, image.height
    plan = _plan(*size, settings)
    if plan is None and image.is_shown_as_stored():
        looks = appearance(image.small())
        return ProcessedImage(data, EXTENSIONS[image.kind], image.kind, *size, *size, False, looks)
    pixels = image.pixels(*(plan.scaled if plan else (0, 0)))
    return _encoded(pixels, plan, image.kind, size, settings)


def _plan(width: int, height: int, settings: Image) -> ResizePlan | None:
    plan = plan_resize(
        width, height, settings.image_size, settings.resize_mode, settings.resize_only_if_bigger
    )
    if plan is not None:  # a line of pixels, enlarged, can be as large as any bomb
        check_pixels(*plan.scaled, settings.max_pixels)
        check_encodable(*plan.final, settings.encode_format)
    return plan


def _encoded(
    pixels: Pixels,
    plan: ResizePlan | None,
    kind: str,
    original: tuple[int, int],
    settings: Image,
) -> ProcessedImage:
    if plan is not None:
        pixels = resize(pixels, plan)
    else:
        check_encodable(*original, settings.encode_format)
    height, width = pixels.shape[:2]
    data = encode(pixels, settings.encode_format, settings.encode_quality)
    looks = appearance_of(data, width * height)
    return ProcessedImage(data, settings.encode_format, kind, width, height, *original, True, looks)
