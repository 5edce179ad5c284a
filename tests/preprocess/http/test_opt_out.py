import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.http.opt_out import find_opt_out, robots_directives
from septet.schemas.recipe import Fetch

DEFAULT = Fetch().opt_out


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("noai", "noai"),
        ("NoAI, noimageai", "noai"),
        ("noimageai", "noimageai"),
        ("all", None),
        ("", None),
        ("nofollow", None),
        ("none", "noindex"),
        ("septet: noml", "noml"),
        ("*: noindex", "noindex"),
        ("googlebot: noindex", None),
        ("googlebot: nofollow, noindex", None),
        ("googlebot: noindex, septet: noimageindex", "noimageindex"),
        ("noindex, googlebot: nofollow", "noindex"),
        ("max-image-preview: none, noindex", "noindex"),
        ("max-snippet: -1", None),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noml", "noml"),
    ],
)
def test_directives(header, found):
    assert find_opt_out([header], [], "Septet", DEFAULT) == found


def test_several_headers_count_together():
    assert find_opt_out(["googlebot: noindex", "noai"], [], "septet", DEFAULT) == "noai"


def test_a_directive_that_is_not_honoured():
    assert find_opt_out(["noindex"], [], "septet", ("noai",)) is None


def test_tdm_reservation():
    assert find_opt_out([], ["1"], "septet", ()) == "tdm-reservation"
    assert find_opt_out([], ["0"], "septet", DEFAULT) is None
    assert find_opt_out(["noai"], ["1"], "septet", DEFAULT) == "noai"


@given(st.text())
def test_any_header_can_be_read(header):
    assert isinstance(robots_directives(header, "septet"), set)
