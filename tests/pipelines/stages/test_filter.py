import pyarrow as pa
import pytest

from septet.pipelines.stages.filter import guarded_rules
from septet.preprocess.text import rules
from septet.preprocess.text.ids import sample_id
from septet.schemas import tables
from septet.schemas.recipe import Filter


def rows_of(*captions: str) -> pa.Table:
    rows = [
        {
            "id": sample_id(None, text), "caption": text, "caption_from": "list", "source": "a",
            "extra": '{"n":1}', "annotations": '{"box":[1]}',
        }
        for text in captions
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, tables.CANDIDATES)


def test_rejects_keep_rule_and_what_the_row_carried() -> None:
    ((passed, lost),) = guarded_rules(rows_of("a house of stone", "tiny"), Filter())
    assert passed["caption"].to_pylist() == ["a house of stone"]
    (row,) = lost.to_pylist()
    assert (row["reason"], row["value"], row["rule"]) == (
        "too_short",
        "4",
        f"too_short@{rules.RULES_VERSION}",
    )
    assert (row["extra"], row["annotations"]) == ('{"n":1}', '{"box":[1]}')


def test_a_rule_that_fails_on_a_row_costs_that_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(table: pa.Table, settings: Filter) -> rules.Verdict:
        if "poison of stone" in table["caption"].to_pylist():
            raise ZeroDivisionError("by a caption")
        return rules.too_short(table, settings)

    monkeypatch.setitem(rules.RULES, "too_short", fragile)
    captions = [f"a house of stone {i}" for i in range(9)]
    found = list(guarded_rules(rows_of(*captions[:5], "poison of stone", *captions[5:]), Filter()))
    assert [text for passed, _ in found for text in passed["caption"].to_pylist()] == captions
    assert all(passed.schema.names == tables.FILTERED.names for passed, _ in found)
    (lost,) = [row for _, rejected in found for row in rejected.to_pylist()]
    assert (lost["caption"], lost["reason"]) == ("poison of stone", "rule_error")
    assert lost["value"] == "ZeroDivisionError: by a caption"
