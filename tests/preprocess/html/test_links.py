import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.html.links import Candidate, candidates, image_link, largest

# The cases of the WHATWG's algorithm "parse a srcset attribute".
SETS = {
    "a.jpg": [("a.jpg", None, 1)],
    " a.jpg 300w, b.jpg 900w ": [("a.jpg", 300, 1), ("b.jpg", 900, 1)],
    "a.jpg 1x,b.jpg 2.5x": [("a.jpg", None, 1), ("b.jpg", None, 2.5)],
    "a.jpg,b.jpg 2x": [("a.jpg,b.jpg", None, 2)],
    "a.jpg, b.jpg 2x": [("a.jpg", None, 1), ("b.jpg", None, 2)],
    "a.jpg,, b.jpg": [("a.jpg", None, 1), ("b.jpg", None, 1)],
    ",, , a.jpg ,": [("a.jpg", None, 1)],
    "a.jpg 100w 50h, b.jpg": [("a.jpg", 100, 1), ("b.jpg", None, 1)],
    "a.jpg 50h, b.jpg": [("b.jpg", None, 1)],
    "a.jpg 1x 2x, b.jpg 0w, c.jpg -3w, d.jpg 2w 2x, e.jpg 1.5w, f.jpg 7": [],
    "a.jpg (x, y) 2x, b.jpg 3x": [("b.jpg", None, 3)],
    "a.jpg (x, b.jpg 3x": [],
    "a.jpg -1x, b.jpg .5x, c.jpg 1e1x, d.jpg +2x, e.jpg 2.x": [
        ("b.jpg", None, 0.5),
        ("c.jpg", None, 10),
    ],
    "data:image/gif;base64,R0 1w, b.jpg 2w": [("data:image/gif;base64,R0", 1, 1), ("b.jpg", 2, 1)],
    "w_3,h_2/b.jpg 1x, c.jpg 2x": [("w_3,h_2/b.jpg", None, 1), ("c.jpg", None, 2)],
    "a.jpg,https://e.org/b.jpg 2x": [("a.jpg", None, 1), ("https://e.org/b.jpg", None, 2)],
    "": [],
    " , ": [],
}  # fmt: skip


@pytest.mark.parametrize("srcset", SETS)
def test_candidates_of_a_set(srcset: str) -> None:
    assert candidates(srcset) == [Candidate(*one) for one in SETS[srcset]]


@given(st.text(alphabet="ab.jpg ,()0123wxh-+e\t\n:/{}#"))
def test_no_set_breaks_it(srcset: str) -> None:
    for one in candidates(srcset):
        assert one.link.strip() == one.link
        assert one.width is None or one.width > 0


@pytest.mark.parametrize(
    ("srcset", "link"),
    [
        ("a 1x, b 3x, c 2x", "b"),
        ("a 300w, b 900w, c 900w", "b"),
        ("a 9x, b 20w", "b"),
        ("a, b", "a"),
        ("{{a}} 9x, b 2x", "b"),
        ("data:image/gif,x 9x", None),
    ],
)
def test_the_largest_candidate(srcset: str, link: str | None) -> None:
    assert largest(candidates(srcset)) == link


SOURCES = [
    {"srcset": "s.avif 2000w", "type": "image/avif"},
    {"srcset": "s.webp 1000w, t.webp 500w", "type": "image/webp"},
]


@pytest.mark.parametrize(
    ("attributes", "sources", "by_src", "by_size"),
    [
        ({"src": "a"}, [], "a", "a"),
        ({"src": "a", "srcset": "b 2x"}, [], "a", "b"),
        ({"src": "a", "srcset": "b 1x"}, [], "a", "a"),
        ({"src": "a", "srcset": "b 300w, c 800w"}, [], "a", "c"),
        ({"src": "a"}, SOURCES, "a", "s.webp"),
        ({"src": "a", "srcset": "b 1500w"}, SOURCES, "a", "b"),
        ({}, SOURCES, "s.webp", "s.webp"),
        ({}, SOURCES[:1], "s.avif", "s.avif"),
        ({"src": "data:,"}, [{"data-srcset": "x 1x, y 2x"}], "y", "y"),
        ({"data-src": "d", "data-srcset": "e 900w"}, [], "d", "e"),
        ({"data-actualsrc": "z"}, [], "z", "z"),
        ({"srcset": "data:image/gif;base64,R0 2x"}, [], None, None),
        ({}, [], None, None),
    ],
)
def test_which_address_counts(
    attributes: dict, sources: list[dict], by_src: str | None, by_size: str | None
) -> None:
    assert image_link(attributes, sources) == by_src
    assert image_link(attributes, sources, "largest") == by_size
