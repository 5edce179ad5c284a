"""What is no language in a caption is taken out, and spans still point into the caption as it is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.scene_graphs.marks import plain
from septet.preprocess.scene_graphs.parsers import SeptetParser

TAKEN_OUT = {
    "A man \U0001f642 riding a horse \U0001f40e on the beach": "A man riding a horse on the beach",
    "\u2764\ufe0f A dog \u2764\ufe0f\u2764\ufe0f": "A dog",
    "Cola\u2122 fridge\u00ae by a table\u00a9": "Cola fridge by a table",
    "A cat https://t.co/abc?x=1 on a mat": "A cat on a mat",
    "A surfer. www.surf.com": "A surfer.",
    "Shoes at shop.example.com/red": "Shoes at",
    "tom@example.org": "",
    "@john.smith holding a cup": "holding a cup",
    "A dinner @ home": "A dinner @ home",
    "A beach #beach": "A beach",
    "A dog at the #beach": "A dog at the beach",
    "My #dog runs #dogs #fun": "My dog runs",
    "#2 pencils": "#2 pencils",
    "#sunset #sea A boat": "A boat",
    "a horse on a beach.jpg": "a horse on a beach",
    "DSC_0042.JPG": "",
    "IMG-2034.png of a dog": "of a dog",
    "File:Red kite.png": "Red kite",
    "A horse | Flickr": "A horse",
    "A horse - stock photo": "A horse",
    "A horse \u2013 Royalty Free Stock Image 123": "A horse",
    "A horse | on a beach": "A horse . on a beach",
    "A horse | Cool Pics": "A horse",
    "A horse - a pony": "A horse - a pony",
    "A stock photo of a horse": "A stock photo of a horse",
    "A lake (photo by Jane Doe)": "A lake",
    "Photo by the lake": "Photo by the lake",
    "A lake \u00a9 2018 John Miller": "A lake",
    "Tom &amp; a dog&nbsp;here": "Tom & a dog here",
    "fun &#128512; dog": "fun &#128512; dog",
    "plain words, as they are": "plain words, as they are",
    "": "",
}


@pytest.mark.parametrize("caption", TAKEN_OUT)
def test_what_is_taken_out(caption: str) -> None:
    assert plain(caption)[0] == TAKEN_OUT[caption]


MARKED = ["#", "@a", "\u2122", "\U0001f40e", "|", "a.jpg", "www.x.y", "-", "&amp;", "stock photo", "A", "dog",
          ".", "(c)", "2", " ", "\n", "\u200d", "http://"]  # fmt: skip


@given(st.text(max_size=40) | st.lists(st.sampled_from(MARKED), max_size=12).map(" ".join))
def test_every_letter_knows_its_place(caption: str) -> None:
    text, places = plain(caption)
    if places is None:
        assert text == caption
        return
    assert len(text) == len(places) and places == sorted(set(places))
    for letter, place in zip(text, places, strict=True):
        assert letter in (" ", ".") or letter == caption[place]


@pytest.mark.parametrize("caption", [
    "{} A man riding a horse on the beach", "A man riding a horse on the beach {}",
    "A man {} riding a horse on the beach", "A man riding a horse {} on the beach",
])  # fmt: skip
@pytest.mark.parametrize("mark", [
    "\U0001f642", "\u2122", "https://t.co/abc", "@john", "\u2665\u2665", "\U0001f468\u200d\U0001f469",
])  # fmt: skip
def test_marks_change_no_graph(septet: SeptetParser, caption: str, mark: str) -> None:
    marked = caption.format(mark)
    whole, graph = septet.graphs([" ".join(caption.format("").split()), marked])
    assert [(n.lemma, type(n)) for n in graph.nodes()] == [
        (n.lemma, type(n)) for n in whole.nodes()
    ]
    for thing in graph.objects:
        assert [marked[a:b] for a, b in thing.spans] == [thing.text]


@pytest.mark.parametrize("caption", [
    "a man riding a horse", "two dogs on a sofa", "red car", "black cat sitting on a white fence",
    "a woman without a hat", "25 boats, three birds",
])  # fmt: skip
def test_capitals_parse_like_their_lower_case_form(septet: SeptetParser, caption: str) -> None:
    lower, upper = septet.graphs([caption, caption.upper()])
    assert [(n.lemma, n.spans) for n in lower.nodes()] == [
        (n.lemma, n.spans) for n in upper.nodes()
    ]
    assert lower.unasserted == tuple(upper.unasserted) or [o.lemma for o in lower.unasserted] == [
        o.lemma for o in upper.unasserted
    ]


@pytest.mark.parametrize("piece", [
    "a.", "#1", "#a ", " - ", "| ", "a@", "1", "((", "&amp;", "www.", "\U0001f642", " photo by", "-a",
])  # fmt: skip
def test_hostile_text_costs_little(piece: str) -> None:
    start = time.process_time()
    plain("@" + piece * (20_000 // len(piece)) + "!")
    assert time.process_time() - start < 0.5
