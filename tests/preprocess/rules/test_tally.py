"""What rules measured, counted by hand."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from septet.preprocess.rules.apply import apply_rules, asked_rules, pass_quick_rules
from septet.preprocess.rules.tally import Tally
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas import tables
from septet.schemas.cuts import CUTS, EDGES, is_least
from septet.schemas.filter import Filter

CAPTIONS = [
    ("Home", "en"),  # 4 characters of at least 5
    ("A cat", "en"),  # 5
    ("An old stone bridge", "en"),  # 19
    ("Да", "ru"),  # 2 of at least 3
    ("Кот", "ru"),  # 3
    ("花", None),  # 1 of at least 2
    ("青い花", "ja"),  # 3
    ("Bridges", "en"),  # 1 word of at least 2
]


def measured(captions: list[tuple[str, str | None]], settings: Filter) -> Tally:
    rows = pa.Table.from_pylist(
        [
            {"id": f"{number:032x}", "caption": text, "page_language": declared, "source": "s"}
            for number, (text, declared) in enumerate(captions)
        ],
        tables.CANDIDATES,
    )
    tally = Tally()
    teller = LanguageTeller(language_model(), 0.5)
    apply_rules(rows, asked_rules(settings), teller, tally)
    return tally


def counted(tally: Tally, setting: str) -> dict[float, tuple[int, int]]:
    """Rows kept and dropped by the edge of each filled bin on the side that the cut keeps."""
    edges = EDGES[CUTS["filter"][setting].unit]
    behind = 1 if is_least(setting) else 0
    return {
        edges[place - behind]: (int(kept), int(dropped))
        for place, (kept, dropped) in enumerate(tally.values[setting].T)
        if kept or dropped
    }


def test_values_are_counted_by_the_setting_that_held_for_each_caption() -> None:
    tally = measured(CAPTIONS, Filter())
    assert counted(tally, "min_chars") == {4: (0, 1), 5: (1, 0), 7: (1, 0), 19: (1, 0)}
    assert counted(tally, "min_chars_compact") == {2: (0, 1), 3: (1, 0)}
    assert counted(tally, "min_chars_unspaced") == {1: (0, 1), 3: (1, 0)}


def test_a_rule_measures_the_rows_that_no_rule_before_it_dropped() -> None:
    tally = measured(CAPTIONS, Filter())
    assert counted(tally, "min_words") == {1: (0, 1), 2: (1, 0), 4: (1, 0)}
    assert counted(tally, "min_words_compact") == {1: (1, 0), 2: (1, 0)}
    assert counted(tally, "max_words") == {1: (1, 0), 2: (2, 0), 4: (1, 0)}


def test_languages_are_those_declared() -> None:
    assert measured(CAPTIONS, Filter()).to_dict()["languages"] == {
        "": {"in": 1, "too_short": 1},
        "en": {"in": 4, "too_few_words": 1, "too_short": 1},
        "ja": {"in": 1},
        "ru": {"in": 2, "too_short": 1},
    }


@pytest.mark.parametrize(
    ("text", "share"), [("ab12", 0.5), ("abc1", 0.25), ("a b1", 0.25), ("1111", 1.0)]
)
def test_a_greatest_value_keeps_what_is_on_its_edge(text: str, share: float) -> None:
    settings = Filter(min_chars=0, min_words=0, max_digits=share, max_chars=None, max_words=None)
    assert counted(measured([(text, "en")], settings), "max_digits") == {share: (1, 0)}
    if share < 1:
        lower = settings.model_copy(update={"max_digits": share - 0.001})
        assert counted(measured([(text, "en")], lower), "max_digits") == {share: (0, 1)}


def test_probabilities_of_languages_are_counted_by_whether_one_was_told() -> None:
    captions = [*CAPTIONS, ("Bridge of stones", None), ("la la la", None), ("Gato preto no muro", None),
                ("una casa", "it"), ("12345 67890", None), ("Bora bora", None)]  # fmt: skip
    settings = Filter(rules="none")
    found = counted(measured(captions, settings), "language_score")
    rows = pa.Table.from_pylist(
        [
            {"id": "0" * 32, "caption": text, "page_language": tag, "source": "s"}
            for text, tag in captions
        ],
        tables.CANDIDATES,
    )
    rows, _ = pass_quick_rules(rows, asked_rules(settings), Tally())
    told = LanguageTeller(language_model(), 0.5).add_language(rows).to_pylist()
    expected: Counter[tuple[bool, float]] = Counter()
    for row in told:
        score, is_told = row["language_score"], row["language"] != "und"
        if is_told or 0 < score < 0.5:
            expected[is_told, max(k for k in EDGES["probability"] if k <= score)] += 1
    assert {(is_told, edge): n for edge, both in found.items()
            for is_told, n in zip((True, False), both, strict=True) if n} == expected  # fmt: skip
    # A cut elsewhere tells as many as the figures say.
    edges = EDGES["probability"]
    kept, dropped = measured(captions, settings).values["language_score"]
    for cut in (0.25, 0.75, 0.9):
        stricter = LanguageTeller(language_model(), cut).add_language(rows)["language"].to_pylist()
        at = edges.index(cut) + 1
        assert kept[at:].sum() + dropped[at:].sum() == sum(code != "und" for code in stricter)
    assert sum(kept) and sum(dropped)


def test_parts_in_any_order_sum_to_the_whole_and_survive_storing() -> None:
    rng = np.random.default_rng(0)
    whole = measured(CAPTIONS * 3, Filter())
    parts = [measured([one], Filter()) for one in CAPTIONS * 3]
    for _ in range(3):
        total = Tally()
        for place in rng.permutation(len(parts)):
            total.add(Tally.from_dict(parts[place].to_dict()))
        assert total.to_dict() == whole.to_dict()


def test_every_setting_of_the_table_is_one_of_the_recipe_and_switches_its_rule() -> None:
    from septet.preprocess.rules.table import RULES
    from septet.schemas.recipe import Curate

    for setting, cut in CUTS["filter"].items():
        assert setting in (*RULES[cut.reason].switches, *RULES[cut.reason].also)
    assert set(CUTS["curate"]) <= set(Curate.model_fields)
