"""JSON of strangers nests as deep as the bound says, whoever calls."""

import json

import pytest

from septet.preprocess.text.json_depth import MAX_DEPTH, NestingError, parse_json


def nested(depth: int, text: str = "") -> str:
    return "[" * depth + text + "]" * depth


def called(deep: int, text: str) -> object:
    return called(deep - 1, text) if deep else parse_json(text)


@pytest.mark.parametrize("deep", [0, 300])
def test_the_bound_is_the_same_from_any_depth_of_the_stack(deep: int) -> None:
    assert called(deep, nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 900, 200_000):
        with pytest.raises(NestingError, match="more than 100 levels"):
            called(deep, nested(depth))
    with pytest.raises(NestingError):
        called(deep, "[" * 200_000)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([[one] for one in range(1000)]),
        json.dumps("[" * 1000),
        json.dumps({"a": '\\"[{' * 200, "b": ["]}" * 200]}),
        json.dumps([{"[" * 200: "{" * 200 + "\\"}]),
    ],
)
def test_brackets_side_by_side_or_in_strings_do_not_nest(text: str) -> None:
    assert parse_json(text) == json.loads(text)


def test_what_is_no_json_says_so() -> None:
    for text in ("nope", nested(3)[:-1], "]" * 300, '"' + "[" * 300):
        with pytest.raises(ValueError) as caught:
            parse_json(text)
        assert not isinstance(caught.value, NestingError)
