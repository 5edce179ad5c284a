import gzip
import time
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.http.body import decode_content, decode_stored, join_chunks, split_head
from septet.schemas.reasons import RejectedError


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
PAGE = b"<!DOCTYPE html><p>The harbour of Bergen at dusk, with boats.</p>" * 30
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)) * 9


def decode(name, data, max_bytes=10_000, **options):
    return decode_content(data, name.removeprefix("raw "), max_bytes, **options)


def refused(call, *args, **options):
    with pytest.raises(RejectedError) as failed:
        call(*args, **options)
    return failed.value.reason, failed.value.value


def chunked(data, size=7, end="\r\n", last=True):
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    line = end.encode()
    framed = b"".join(b"%x" % len(part) + line + part + line for part in parts)
    return framed + (b"0" + line + b"Trailer: x" + line + line if last else b"")


@given(st.sampled_from(sorted(CODERS)), st.binary(max_size=10_000))
def test_round_trip(name, data):
    assert decode(name, CODERS[name](data)) == data


@given(st.lists(st.sampled_from(["gzip", "deflate", "br", "zstd"]), max_size=3), st.binary())
def test_codings_are_undone_last_one_first(names, data):
    coded = data
    for name in names:
        coded = CODERS[name](coded)
    assert decode(", ".join(names), coded) == data


def test_bodies_larger_than_one_step_of_the_decoders():
    data = bytes(range(256)) * 4000
    for name, coder in CODERS.items():
        assert decode(name, coder(data), len(data)) == data
    noise = b"".join(zlib.crc32(bytes([i % 256, i // 256])).to_bytes(4) for i in range(60_000))
    for name, coder in CODERS.items():
        assert decode(name, coder(noise), len(noise)) == noise


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_members_and_frames_follow_each_other(name, parts):
    assert decode(name, b"".join(CODERS[name](part) for part in parts)) == b"".join(parts)


@pytest.mark.parametrize("name", ["gzip", "x-gzip"])
def test_gzip_has_two_names_and_is_not_deflate(name):
    assert decode(name, gzip.compress(PAGE)) == PAGE
    assert refused(decode, name, zlib.compress(PAGE)) == ("encoding", name)


def test_text_is_told_by_its_first_512_bytes():
    text = b"a" * 512 + b"\0"
    assert decode_stored(text, "", "br", 10_000) == text
    assert refused(decode_stored, text[1:], "", "br", 10_000)[0] in ("encoding", "truncated")


def test_padding_behind_the_last_gzip_member_is_ignored():
    assert decode("gzip", gzip.compress(b"data") + bytes(7)) == b"data"


@pytest.mark.parametrize("name", sorted(CODERS))
def test_no_more_than_the_bound_comes_out(name):
    coded = CODERS[name](bytes(10_001))
    assert refused(decode, name, coded) == ("too_large", "more than 10000")
    assert decode(name, coded, 10_001) == bytes(10_001)


@pytest.mark.parametrize("name", sorted(CODERS))
def test_bombs_cost_no_more_memory_than_the_bound(name):
    import tracemalloc

    coded = CODERS[name](bytes(2**25))
    tracemalloc.start()
    assert refused(decode, name, coded)[0] == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("name", sorted(CODERS))
@given(data=st.binary(min_size=1, max_size=300), share=st.floats(0, 1, exclude_max=True))
def test_a_stream_that_is_cut_is_never_handed_on(name, data, share):
    coded = CODERS[name](data)
    cut = coded[: int(len(coded) * share)]
    assert refused(decode, name, cut)[0] in ("truncated", "encoding")


@pytest.mark.parametrize("name", ["gzip", "br", "zstd", "deflate"])
def test_an_archived_body_that_is_cut_is_refused_too(name):
    coded = CODERS[name](JPEG + PAGE)
    assert refused(decode_stored, coded[:-5], "", name, 10_000)[0] == "truncated"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("body", [PAGE, JPEG, b"plain", "Größe".encode(), b""])
def test_bodies_stored_decoded_are_taken_as_they_are(name, body):
    assert decode_stored(body, "chunked", name, 10_000) == body


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "compress", "x-other"])
def test_what_is_not_coded_is_refused_on_the_live_web(name):
    assert refused(decode, name, JPEG) == ("encoding", name)


def test_labels_that_are_no_coding():
    for label in ("identity", "UTF-8", "aws-chunked", "none", "", " , "):
        assert decode(label, JPEG) == JPEG


def test_a_list_of_codings_without_end_is_refused():
    assert refused(decode, ", ".join(["gzip"] * 9), b"")[0] == "encoding"
    assert refused(decode, "x" * 50, b"") == ("encoding", "x" * 40)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_empty_members_without_number_end_soon(name):
    coded = CODERS[name](b"") * 400_000
    start = time.process_time()
    assert refused(decode, name, coded) == ("encoding", name)
    assert time.process_time() - start < 2


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50), st.sampled_from(["\r\n", "\n"]))
def test_chunks_are_joined(data, size, end):
    assert join_chunks(chunked(data, size, end)) == data


@given(st.binary(min_size=1, max_size=100), st.integers(1, 50), st.data())
def test_chunks_that_are_cut_are_refused(data, size, draw):
    framed = chunked(data, size, last=False)
    cut = framed[: draw.draw(st.integers(framed.index(b"\n") + 1, len(framed)))]
    assert refused(join_chunks, cut)[0] in ("truncated", "encoding")


def test_what_is_no_chunk():
    for body in (PAGE, b"", b"add\r\n" + PAGE * 2, b"ffffffffffffffffff\r\nx"):
        assert join_chunks(body) == body
    assert refused(join_chunks, b"3\r\nabc\r\nnonsense\r\nmore") == ("encoding", "chunked")


def test_chunked_and_coded():
    assert decode_stored(chunked(gzip.compress(PAGE), 100), "Chunked", "GZIP", 10_000) == PAGE


@pytest.mark.parametrize(
    ("message", "head", "body"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\n\nmore", b"A: 1\r\nB: 2", b"body\n\nmore"),
        (b"A: 1\nB: 2\n\nbody\r\n\r\nmore", b"A: 1\nB: 2", b"body\r\n\r\nmore"),
        (b"A: 1\r\n\nbody", b"A: 1", b"body"),
        (b"A: 1", b"A: 1", b""),
    ],
)
def test_head_and_body_part_at_the_first_empty_line(message, head, body):
    assert split_head(message) == (head, body)
