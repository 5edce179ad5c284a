"""One picture file from as it was fetched to as it is stored."""

from dataclasses import dataclass

from septet.preprocess.images import jpeg
from septet.preprocess.images.encode import check_encodable, encode
from septet.preprocess.images.orientation import Pixels, orient
from septet.preprocess.images.pillow import PillowPicture
from septet.preprocess.images.resize import ResizePlan, plan_resize, resize
from septet.preprocess.images.sniff import image_kind
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.recipe import Image

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
"""Extensions of the formats whose files may be kept as they are."""


@dataclass(frozen=True, slots=True)
class ProcessedImage:
    """A picture that can be stored. Sizes are pixels as seen, EXIF orientation applied.

    `format` is that of the file as it was fetched, `ext` that of `data`. Unless `reencoded`,
    `data` are the bytes as they were fetched.
    """

    data: bytes
    ext: str
    format: str
    width: int
    height: int
    original_width: int
    original_height: int
    reencoded: bool


def process_image(data: bytes, settings: Image) -> ProcessedImage | Rejected:
    """Decode, orient, resize and encode a picture, or keep its bytes where nothing must change.

    The bytes are kept where no resize is needed and every reader sees the same in them: JPEGs
    (grey or three components, no EXIF orientation), opaque still PNGs of at most 8 bits, opaque
    still WebPs; all of them are decoded to their end first. Everything else is encoded anew, with
    its first frame, on white where it is transparent, without metadata. Pixel values are taken
    as stored: colour profiles are not applied.

    Equal data and settings give equal bytes, for the same versions of the codecs and the same
    processor architecture. May be called from many threads.
    """
    try:
        return _process(data, settings)
    except RejectedError as error:
        return error.rejected


def _process(data: bytes, settings: Image) -> ProcessedImage:
    kind = image_kind(data)
    header = jpeg.read_header(data) if kind == "jpeg" else None
    if header is not None and header.is_plain:
        done = _process_jpeg(data, header, settings)
        if done is not None:
            return done
    picture = PillowPicture(kind, data)
    _check_pixels(picture.width, picture.height, settings)
    if picture.frames(settings.max_frames) > settings.max_frames:
        raise RejectedError("too_many_frames", str(settings.max_frames))
    if kind == "jpeg":
        jpeg.check_content(data)
    pixels, as_stored = picture.pixels()
    orientation = picture.orientation
    pixels = orient(pixels, orientation)
    height, width = pixels.shape[:2]
    plan = _plan(width, height, settings)
    if plan is None and as_stored and orientation == 1:
        return _kept(data, kind, width, height)
    return _encoded(pixels, plan, kind, (width, height), settings)


def _process_jpeg(data: bytes, header: jpeg.JpegHeader, settings: Image) -> ProcessedImage | None:
    """The fast path; None where libjpeg-turbo does not read this one."""
    _check_pixels(header.width, header.height, settings)
    turned = header.orientation >= 5
    stored = (header.width, header.height)
    size = stored[::-1] if turned else stored
    plan = _plan(*size, settings)
    if plan is None and header.orientation == 1:
        return _kept(data, "jpeg", *size) if jpeg.check_content(data) else None
    needed = plan.scaled if plan else (0, 0)
    pixels = jpeg.decode(data, header, *(needed[::-1] if turned else needed))
    if pixels is None:
        return None
    return _encoded(orient(pixels, header.orientation), plan, "jpeg", size, settings)


def _check_pixels(width: int, height: int, settings: Image) -> None:
    if width * height > settings.max_pixels:
        raise RejectedError("too_many_pixels", f"{width}x{height}")


def _plan(width: int, height: int, settings: Image) -> ResizePlan | None:
    plan = plan_resize(
        width, height, settings.image_size, settings.resize_mode, settings.resize_only_if_bigger
    )
    if plan is not None:  # a line of pixels, enlarged, can be as large as any bomb
        _check_pixels(*plan.scaled, settings)
        check_encodable(*plan.final, settings.encode_format)
    return plan


def _kept(data: bytes, kind: str, width: int, height: int) -> ProcessedImage:
    return ProcessedImage(data, EXTENSIONS[kind], kind, width, height, width, height, False)


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
    return ProcessedImage(
        data, settings.encode_format, kind, width, height, *original, reencoded=True
    )
