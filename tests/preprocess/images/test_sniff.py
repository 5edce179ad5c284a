import pytest

from septet.preprocess.images.sniff import DECODABLE, image_kind
from septet.schemas.reasons import RejectedError
from tests.preprocess.images.photos import photo, saved


@pytest.mark.parametrize("kind", DECODABLE)
def test_every_kind_that_is_read(kind):
    assert image_kind(saved(photo(), kind)) == kind


@pytest.mark.parametrize(
    ("data", "reason", "value"),
    [
        (b"", "empty", None),
        (b"<!DOCTYPE html><html>", "not_image", "html"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "not_image", "html"),
        (b"<!-- a --> <!-- b -->\n<head>", "not_image", "html"),
        (b"<script>", "not_image", "html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "unsupported", "svg"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg\n width='1'>", "unsupported", "svg"),
        (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">', "unsupported",
         "svg"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "not_image", "xml"),
        (b"<!--", "not_image", "xml"),
        (b'{"error": 404}', "not_image", "json"),
        (b"%PDF-1.7", "not_image", "pdf"),
        (b"PK\x03\x04aaaa", "not_image", "zip"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not_image", "mp4"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miafavif", "not_image", "mp4"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "unsupported", "heic"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported", "jxl"),
        (b"\0\0\1\0\1\0", "unsupported", "ico"),
        (b"BMW drives on", "not_image", "424d572064726976"),
        (b"plain text", "not_image", "706c61696e207465"),
        (b"\xff\xd8", "not_image", "ffd8"),
        (b"RIFF\0\0\0\0WAVE", "not_image", "5249464600000000"),
    ],
)  # fmt: skip
def test_what_is_not_read(data, reason, value):
    with pytest.raises(RejectedError) as refused:
        image_kind(data)
    assert (refused.value.reason, refused.value.value) == (reason, value)


def test_an_avif_by_a_compatible_brand():
    assert image_kind(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "avif"
    assert image_kind(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "avif"
