"""One picture file from as it was fetched to as it is stored."""

from dataclasses import dataclass

from septet.preprocess.images import jpeg
from septet.preprocess.images.encode import LONGEST_SIDE, check_encodable, encode
from septet.preprocess.images.orientation import Pixels, orient
from septet.preprocess.images.pillow import PillowPicture
from septet.preprocess.images.rejects import Unusable
from septet.preprocess.images.resize import RESIZE_MODES, ResizePlan, plan_resize, resize
from septet.preprocess.images.sniff import image_kind

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
"""Extensions of the formats whose files may be kept as they are."""


@dataclass(frozen=True)
class ImagePolicy:
    """What becomes of a picture, in img2dataset's words."""

    image_size: int = 256
    """Pixels of the side or square that `resize_mode` makes."""
    resize_mode: str = "keep_ratio"
    """One of `resize.RESIZE_MODES`."""
    resize_only_if_bigger: bool = True
    """Leave pictures that are small already as they are."""
    encode_format: str = "jpg"
    """jpg, png or webp; of pictures that have to be encoded anew."""
    encode_quality: int = 95
    """1 to 100, for jpg and webp."""
    max_pixels: int = 100_000_000
    """Width times height, as the header states it. A picture of this size takes up to 1.5 GB
    while it is decoded."""
    max_frames: int = 1_000
    """Of an animation, whose first frame is taken; 1 rejects animations."""

    def __post_init__(self) -> None:
        for name, known in (
            ("resize_mode", RESIZE_MODES),
            ("encode_format", tuple(LONGEST_SIDE)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        for name, most in (
            ("image_size", 16_383),
            ("encode_quality", 100),
            ("max_pixels", 2**31 - 1),
            ("max_frames", 2**31 - 1),
        ):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most}, not {getattr(self, name)}")


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


@dataclass(frozen=True, slots=True)
class ImageReject:
    """A file that cannot be used: `reason` and `value` as in `rejects.IMAGE_REASONS`."""

    reason: str
    value: str | None = None


def process_image(data: bytes, policy: ImagePolicy) -> ProcessedImage | ImageReject:
    """Decode, orient, resize and encode a picture, or keep its bytes where nothing must change.

    The bytes are kept where no resize is needed and every reader sees the same in them: JPEGs
    (grey or three components, no EXIF orientation), opaque still PNGs of at most 8 bits, opaque
    still WebPs; all of them are decoded to their end first. Everything else is encoded anew, with
    its first frame, on white where it is transparent, without metadata. Pixel values are taken
    as stored: colour profiles are not applied.

    Equal data and policies give equal bytes, for the same versions of the codecs and the same
    processor architecture. May be called from many threads.
    """
    try:
        return _process(data, policy)
    except Unusable as unusable:
        return ImageReject(unusable.reason, unusable.value)


def _process(data: bytes, policy: ImagePolicy) -> ProcessedImage:
    kind = image_kind(data)
    header = jpeg.read_header(data) if kind == "jpeg" else None
    if header is not None and header.is_plain:
        done = _process_jpeg(data, header, policy)
        if done is not None:
            return done
    picture = PillowPicture(kind, data)
    _check_pixels(picture.width, picture.height, policy)
    if picture.frames(policy.max_frames) > policy.max_frames:
        raise Unusable("too_many_frames", str(policy.max_frames))
    if kind == "jpeg":
        jpeg.check_content(data)
    pixels, as_stored = picture.pixels()
    orientation = picture.orientation
    pixels = orient(pixels, orientation)
    height, width = pixels.shape[:2]
    plan = _plan(width, height, policy)
    if plan is None and as_stored and orientation == 1:
        return _kept(data, kind, width, height)
    return _encoded(pixels, plan, kind, (width, height), policy)


def _process_jpeg(
    data: bytes, header: jpeg.JpegHeader, policy: ImagePolicy
) -> ProcessedImage | None:
    """The fast path; None where libjpeg-turbo does not read this one."""
    _check_pixels(header.width, header.height, policy)
    turned = header.orientation >= 5
    stored = (header.width, header.height)
    size = stored[::-1] if turned else stored
    plan = _plan(*size, policy)
    if plan is None and header.orientation == 1:
        return _kept(data, "jpeg", *size) if jpeg.check_content(data) else None
    needed = plan.scaled if plan else (0, 0)
    pixels = jpeg.decode(data, header, *(needed[::-1] if turned else needed))
    if pixels is None:
        return None
    return _encoded(orient(pixels, header.orientation), plan, "jpeg", size, policy)


def _check_pixels(width: int, height: int, policy: ImagePolicy) -> None:
    if width * height > policy.max_pixels:
        raise Unusable("too_many_pixels", f"{width}x{height}")


def _plan(width: int, height: int, policy: ImagePolicy) -> ResizePlan | None:
    plan = plan_resize(
        width, height, policy.image_size, policy.resize_mode, policy.resize_only_if_bigger
    )
    if plan is not None:  # a line of pixels, enlarged, can be as large as any bomb
        _check_pixels(*plan.scaled, policy)
        check_encodable(*plan.final, policy.encode_format)
    return plan


def _kept(data: bytes, kind: str, width: int, height: int) -> ProcessedImage:
    return ProcessedImage(data, EXTENSIONS[kind], kind, width, height, width, height, False)


def _encoded(
    pixels: Pixels,
    plan: ResizePlan | None,
    kind: str,
    original: tuple[int, int],
    policy: ImagePolicy,
) -> ProcessedImage:
    if plan is not None:
        pixels = resize(pixels, plan)
    else:
        check_encodable(*original, policy.encode_format)
    height, width = pixels.shape[:2]
    data = encode(pixels, policy.encode_format, policy.encode_quality)
    return ProcessedImage(
        data, policy.encode_format, kind, width, height, *original, reencoded=True
    )
