import pytest

from septet.preprocess.scene_graphs.numerals import numeral
from septet.preprocess.scene_graphs.parsers import SeptetParser

VALUES = {
    "7": 7, "1,000": 1000, "12,345,678": 12_345_678, "zero": 0, "nineteen": 19, "twenty - five": 25,
    "twenty five": 25, "two hundred": 200, "two hundred and six": 206, "a hundred": 100,
    "one thousand two hundred and thirty - four": 1234, "hundred": None, "dozen": None, "five thousand , two hundred": None,
    "two dozen": 24, "a dozen": 12, "3 million": 3_000_000, "five hundred thousand": 500_000,
    "twenty twenty": None, "five twenty": None, "two three": None, "1,00": None, "2.5": None,
    "1.000": None, "10 000": None, "two or three": None, "hundred two hundred": None, "x": None,
    "": None, "\u00b2": None, "2.5 million": None, "1234567890": None,
}  # fmt: skip


@pytest.mark.parametrize("spoken", VALUES)
def test_values(spoken: str) -> None:
    assert numeral(spoken.split()) == VALUES[spoken]


COUNTED = {
    "twenty-five dogs": 25, "Twenty-Five Dogs": 25, "two hundred dogs": 200, "1,000 dogs": 1000,
    "one dog": 1, "two hundred and six dogs": 206, "a dozen dogs": 12, "two big dogs": 2,
    "12 police officers": 12, "three sheep": 3, "next to two dogs": 2, "set of 4 bowls": 4,
    "3-4 dogs": None, "3 - 4 dogs": None, "2.5 million dogs": None, "two or three dogs": None,
    "two to three dogs": None, "about ten dogs": None, "more than 50 dogs": None,
    "at least two dogs": None, "up to six dogs": None, "12 of 24 dogs": None, "-5 dogs": None,
    "1/2 dogs": None, "50% dogs": None, "$20 shoes": None, "#2 pencils": None, "2019 cars": None,
    "10 000 dogs": None, "Max 270 shoes": None, "6 pack socks": None, "size 7 shoes": None,
    "half a dozen eggs": None, "two and a half apples": None, "2x4 boards": None, "2019 car": None,
    "no. 5 buses": None, "one in three cars": None, "top 10 beaches": None,
    "a couple of dozen roses": None, "five thousand, two hundred books": None, "100s of dogs": None,
    "three out of five dogs": None, "two thousand and some dogs": None,
}  # fmt: skip


@pytest.mark.parametrize("caption", COUNTED)
def test_numbers_are_right_or_left_out(septet: SeptetParser, caption: str) -> None:
    (graph,) = septet.graphs([caption])
    assert {n.value for n in graph.numbers} <= {COUNTED[caption]}


def test_numbers_are_found(septet: SeptetParser) -> None:
    plain = [caption for caption, value in COUNTED.items() if value is not None]
    found = [graph for graph in septet.graphs(plain) if graph.numbers]
    assert len(found) >= len(plain) - 1  # one may be parsed otherwise
