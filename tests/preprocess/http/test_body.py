import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.http.body import Inflater
from septet.preprocess.http.failures import Failure


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODERS = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": raw_deflate}


def inflate(coding, data, chunk, max_bytes=10_000):
    inflater = Inflater(coding.removeprefix("raw "), max_bytes)
    pieces = []
    for start in range(0, len(data), chunk):
        pieces += inflater.feed(data[start : start + chunk])
    return b"".join(pieces), inflater.is_complete


@given(st.sampled_from(sorted(CODERS)), st.binary(max_size=10_000), st.integers(2, 5000))
def test_round_trip_in_any_chunks(coding, data, chunk):
    assert inflate(coding, CODERS[coding](data), chunk) == (data, True)


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5), st.integers(2, 50))
def test_gzip_members_follow_each_other(parts, chunk):
    coded = b"".join(gzip.compress(part) for part in parts) + bytes(7)
    assert inflate("gzip", coded, chunk)[0] == b"".join(parts)


@pytest.mark.parametrize("coding", sorted(CODERS))
def test_no_more_than_the_bound_comes_out(coding):
    coded = CODERS[coding](bytes(10_001))
    with pytest.raises(Failure) as failed:
        inflate(coding, coded, 4096)
    assert (failed.value.reason, failed.value.value) == ("too_large", "more than 10000")
    assert inflate(coding, coded, 4096, 10_001) == (bytes(10_001), True)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_coded_is_refused(coding):
    with pytest.raises(Failure) as failed:
        inflate(coding, b"\xff\xd8\xff\xe0 no stream at all", 100)
    assert failed.value.reason == "encoding"


def test_a_stream_without_its_end_is_incomplete():
    assert not inflate("gzip", gzip.compress(b"data" * 100)[:-9], 16)[1]
