"""The recipe's settings: what each accepts, and the page that lists them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from septet.schemas.recipe import Recipe
from septet.schemas.recipe_reference import reference

ROOT = Path(__file__).parents[2]
SOURCE = {"kind": "warc", "paths": ["a.warc"]}

BOUNDS = {
    # setting: smallest, largest
    "filter.min_chars": (0, None),
    "filter.min_chars_compact": (0, None),
    "filter.min_chars_unspaced": (0, None),
    "filter.min_words_compact": (0, None),
    "filter.min_ideographs": (0, None),
    "filter.min_letters": (0.0, 1.0),
    "filter.max_digits": (0.0, 1.0),
    "filter.min_script": (0.0, 1.0),
    "filter.max_word_repetition": (0.0, 1.0),
    "filter.max_char_repetition": (0.0, 1.0),
    "filter.max_punctuation_run": (1, None),
    "filter.max_capitalised": (0.0, 1.0),
    "filter.max_capitals": (0.0, 1.0),
    "filter.max_chars": (1, None),
    "filter.min_words": (0, None),
    "filter.max_words": (1, None),
    "filter.language_score": (0.0, 1.0),
    "balance.most_of_an_entry": (1, None),
    "balance.most_of_a_domain": (1, None),
    "balance.seed": (0, 2**63 - 1),
    "dedup.captions_per_image": (1, None),
    "dedup.images_per_caption": (1, None),
    "dedup.pages_per_pair": (1, None),
    "fetch.concurrency": (1, None),
    "fetch.per_host": (1, None),
    "fetch.connect_timeout": (0.001, None),
    "fetch.first_byte_timeout": (0.001, None),
    "fetch.total_timeout": (0.001, None),
    "fetch.max_bytes": (1, None),
    "fetch.max_redirects": (0, None),
    "fetch.retries": (0, None),
    "fetch.backoff": (0.0, None),
    "fetch.give_up_after": (0, None),
    "fetch.robots_hours": (0.0, None),
    "fetch.max_crawl_delay": (0.0, None),
    "fetch.per_host_delay": (0.0, None),
    "image.image_size": (1, 16_383),
    "image.encode_quality": (1, 100),
    "image.max_pixels": (1, 2**31 - 1),
    "image.max_frames": (1, 2**31 - 1),
    "curate.min_bytes": (0, None),
    "curate.min_side": (0, None),
    "curate.min_pixels": (0, None),
    "curate.max_aspect_ratio": (1.0, None),
    "curate.near_text_similarity": (0.6, 1.0),
    "curate.near_images_radius": (0, 11),
    "write.samples_per_shard": (1, None),
}


def recipe(key: str, value: float) -> Recipe:
    section, name = key.split(".")
    settings = {name: value} | ({"scripts": ["Han"]} if name == "min_script" else {})
    return Recipe.model_validate({"name": "x", "sources": [SOURCE], section: settings})


@pytest.mark.parametrize("key", BOUNDS)
def test_numbers_within_their_bounds_and_none_beyond(key: str) -> None:
    section, name = key.split(".")
    smallest, largest = BOUNDS[key]
    step = 1 if isinstance(smallest, int) else 0.001
    for bound, beyond in ((smallest, smallest - step), (largest, (largest or 0) + step)):
        if bound is not None:
            assert getattr(getattr(recipe(key, bound), section), name) == bound
            with pytest.raises(ValidationError):
                recipe(key, beyond)


def test_every_number_has_bounds_here() -> None:
    resolved = Recipe.model_validate({"name": "x", "sources": [SOURCE]}).resolved()
    numbers = {
        f"{section}.{name}"
        for section, values in resolved.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers <= BOUNDS.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"sources": []},
        {"sources": [SOURCE | {"paths": []}]},
        {"sources": [SOURCE | {"captions": []}]},
        {"sources": [SOURCE | {"max_page_bytes": 0}]},
        {"sources": [{"kind": "list", "paths": []}]},
        {"sources": [{"kind": "folder", "paths": []}]},
        {"annotate": [{"column": ""}]},
        {"annotate": [{"column": "boxes"}, {"column": "codes", "name": "boxes"}]},
        {"fetch": {"user_agent": "/1.0"}},
        {"fetch": {"user_agent": "a\nb"}},
        {"fetch": {"user_agent": "é"}},
        {"fetch": {"contact": "me"}},
        {"fetch": {"contact": "http://e.org/\r\nCookie: b"}},
        {"fetch": {"robots": "obey"}},
        {"fetch": {"retry_failed": ["too_short"]}},
        {"fetch": {"opt_out_files": ["llms.txt"]}},
        {"filter": {"languages": []}},
        {"name": ""},
        {"name": "-x"},
        {"name": "a/b"},
    ],
)
def test_what_means_nothing_is_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"name": "x", "sources": [SOURCE]} | change)


def test_the_smallest_that_means_something_is_taken() -> None:
    found = Recipe.model_validate(
        {
            "name": "0",
            "sources": [SOURCE | {"captions": ["title"], "max_page_bytes": 1}],
            "annotate": [{"column": "a"}, {"column": "a", "name": "b"}],
            "fetch": {"user_agent": "a"},
        }
    )
    assert [one.title for one in found.annotate] == ["a", "b"]


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs/recipe.md").read_text() == reference() + "\n", "run `make docs`"
