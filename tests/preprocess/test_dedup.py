"""Duplicates and repetition, against plain definitions of them."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.dedup import combine_captions, dedup_samples, frequent_captions
from septet.preprocess.identical_images import (
    WINNER,
    best,
    candidates,
    losers,
    replaced_by,
)
from septet.preprocess.text.ids import (
    caption_hash,
    caption_hashes,
    sample_id,
    split_ids,
    text_hash,
    url_hash,
)
from septet.schemas import tables
from septet.schemas.recipe import Dedup

NONE = (np.array([], np.uint64), np.array([], np.int64))


def samples(*found: dict[str, Any]) -> pa.Table:
    rows = [
        {
            "id": sample_id(row.get("image_url"), row.get("caption"), row.get("annotations")),
            "source": "list",
            **row,
        }
        for row in found
    ]
    return pa.Table.from_pylist(rows, tables.FILTERED)


def test_ids_of_all_kinds_of_samples() -> None:
    assert sample_id("u", "c") == f"{url_hash('u'):016x}{caption_hash('c'):016x}"
    assert sample_id("u", None) == f"{url_hash('u'):016x}{0:016x}"
    assert sample_id(None, "c") == f"{text_hash('c'):016x}{caption_hash('c'):016x}"
    kinds = [("u", "c", None), ("u", "c", "[1]"), ("u", "c", "[2]"), ("u", None, "[1]"),
             ("u", None, None), (None, "c", None), (None, "c", "[1]"), (None, "u", None)]  # fmt: skip
    assert len({sample_id(*kind) for kind in kinds}) == len(kinds)


def test_captions_count_whatever_the_annotations_and_halves_that_are_missing_do_not() -> None:
    rows = samples(
        {"image_url": "a", "caption": "c"},
        {"image_url": "b", "caption": "c", "annotations": "[1]"},
        {"image_url": "a"},
        {"caption": "c"},
    )
    anchors, _ = split_ids(rows["id"])
    found = caption_hashes(rows)
    assert found[0] == found[1] == caption_hash("c")
    assert (found[2:] == anchors[2:]).all()
    both = np.stack([found, *split_ids(rows["id"])], axis=1)
    hashes, images, others = frequent_captions(both, 1)
    assert (hashes.tolist(), images.tolist(), others) == ([caption_hash("c")], [2], 2)


@given(
    st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=60),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_frequent_captions_by_their_definition(
    found: list[tuple[int, int, int]], most: int, parts: int
) -> None:
    rows = np.array(found, np.uint64).reshape(-1, 3)
    images = {caption: {a for c, a, _ in found if c == caption} for caption, _, _ in found}
    frequent = {c: len(beside) for c, beside in images.items() if len(beside) > most}
    combined = np.concatenate([combine_captions(rows[i::parts], most) for i in range(parts)])
    hashes, counted, others = frequent_captions(combined, most)
    assert dict(zip(hashes.tolist(), counted.tolist(), strict=True)) == frequent
    assert others == len({row for row in found if row[0] not in frequent})


def test_a_caption_of_very_many_images_costs_a_bounded_part() -> None:
    rows = np.stack([np.full(50_000, 7), np.arange(50_000), np.full(50_000, 7)], axis=1)
    combined = combine_captions(rows.astype(np.uint64), 10)
    assert combined.shape == (1024, 3)
    hashes, images, others = frequent_captions(combined, 10)
    assert (hashes.tolist(), images.tolist(), others) == ([7], [1024], 0)
    assert len(combine_captions(rows.astype(np.uint64), None)) == 50_000


@pytest.mark.parametrize("settings", [
    Dedup(), Dedup(pages_per_pair=None, captions_per_image=None),
    Dedup(pages_per_pair=1, captions_per_image=1),
])  # fmt: skip
@pytest.mark.parametrize("frequent", [[], [7]])
def test_of_no_samples_none_are_left(settings: Dedup, frequent: list[int]) -> None:
    hashes = np.array(frequent, np.uint64)
    kept, lost = dedup_samples(tables.FILTERED.empty_table(), settings, hashes, hashes)
    assert kept.schema == tables.FILTERED and len(kept) == len(lost) == 0
    assert lost.schema.names == [*tables.FILTERED.names, "reason", "value"]


def test_of_equal_samples_the_one_with_extra_stays() -> None:
    rows = samples(
        {"image_url": "u", "caption": "c", "page_url": "a page"},
        {"image_url": "u", "caption": "c", "extra": '{"license":"CC0"}'},
    )
    kept, lost = dedup_samples(rows, Dedup(), *NONE)
    assert kept["extra"].to_pylist() == ['{"license":"CC0"}']
    assert lost["page_url"].to_pylist() == ["a page"]


def test_rules_on_images_leave_texts_alone() -> None:
    pages = [f"p{i}" for i in range(5)]
    rows = samples(
        *({"caption": "A text", "page_url": page} for page in pages),
        *({"image_url": "u", "caption": "A pair", "page_url": page} for page in pages),
        *({"image_url": "v", "caption": f"{'x' * n}"} for n in range(1, 4)),
    )
    settings = Dedup(pages_per_pair=3, captions_per_image=1)
    frequent = np.array([caption_hash("A text")], np.uint64), np.array([99], np.int64)
    kept, lost = dedup_samples(rows, settings, *frequent)
    assert {(r["image_url"], r["caption"]) for r in kept.to_pylist()} == {
        (None, "A text"), ("v", "xxx"),
    }  # fmt: skip
    reasons = [(r["caption"], r["reason"], r["value"]) for r in lost.to_pylist()]
    assert reasons.count(("A pair", "pair_repeated", "5")) == 1
    assert ("xx", "duplicate_image_url", "2") in reasons
    assert ("x", "duplicate_image_url", "3") in reasons


def test_captions_that_are_dropped_for_another_reason_take_no_place_of_an_image() -> None:
    rows = samples(
        {"image_url": "u", "caption": "repeated everywhere"},
        {"image_url": "u", "caption": "own"}, {"image_url": "u", "caption": "less"},
        {"image_url": "u", "caption": "less", "page_url": "p"},
    )  # fmt: skip
    frequent = np.array([caption_hash("repeated everywhere")], np.uint64), np.array([99], np.int64)
    kept, lost = dedup_samples(rows, Dedup(captions_per_image=2), *frequent)
    assert sorted(kept["caption"].to_pylist()) == ["less", "own"]
    assert sorted(lost["reason"].to_pylist()) == ["caption_repeated", "duplicate_pair"]


@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(rng: Any) -> None:
    found = [
        {"image_url": rng.choice(["a", "b", None]), "caption": rng.choice(["x", "xy", "z"]),
         "page_url": rng.choice([None, "p", "q"]), "extra": rng.choice([None, "{}"]),
         "language_score": rng.choice([None, 0.5, 0.9])}
        for _ in range(rng.randint(0, 20))
    ]  # fmt: skip
    settings = Dedup(captions_per_image=2, pages_per_pair=2)
    first = dedup_samples(samples(*found), settings, *NONE)
    rng.shuffle(found)
    again = dedup_samples(samples(*found), settings, *NONE)
    for before, after in zip(first, again, strict=True):
        assert before.to_pylist() == after.to_pylist()
    assert len(first[0]) + len(first[1]) == len(found)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from("abcd"), st.integers(0, 3),
            st.sampled_from([None, 0.25, 0.75]), st.integers(0, 2), st.sampled_from([None, "[]"]),
        ),
        max_size=40,
        unique_by=lambda one: (one[1], one[2], one[0]),
    ),
    st.booleans(),
)  # fmt: skip
def test_identical_images_by_their_definition(found: list[Any], distinct: bool) -> None:
    rows = [
        {
            "id": sample_id(f"{url}{digest}", "x" * length or None),
            "caption": "x" * length or None,
            "language_score": score,
            "sha256": hashlib.sha256(digest.encode()).hexdigest(),
            "shard": shard,
            "annotations": annotations,
        }
        for url, digest, length, score, shard, annotations in found
    ]
    schema = pa.schema([(n, pa.string()) for n in ("id", "caption", "sha256", "annotations")]
                       + [("language_score", pa.float32()), ("shard", pa.int64())])  # fmt: skip

    def group(row: dict[str, Any]) -> tuple[str, str | None]:
        return row["sha256"], row["caption"] if distinct else None

    def worse(row: dict[str, Any]) -> tuple[bool, int, float, str]:
        score = -1.0 if row["language_score"] is None else row["language_score"]
        return row["annotations"] is None, -len(row["caption"] or ""), -score, row["id"]

    winners = {
        g: min((r for r in rows if group(r) == g), key=worse)["id"] for g in map(group, rows)
    }
    shards = {
        shard: pa.Table.from_pylist([r for r in rows if r["shard"] == shard], schema)
        for shard in {r["shard"] for r in rows}
    }
    sent = [candidates(table, shard, distinct) for shard, table in shards.items()]
    told = dict(losers(np.concatenate(sent))) if sent else {}
    for shard, table in shards.items():
        assert len(best(sent[0])) == len(sent[0]), "one candidate an image"
        nothing = losers(sent[0][:0])
        assert nothing == []
        replaced = replaced_by(table, told.get(shard, np.zeros(0, WINNER)), distinct)
        for row, other in zip(table.to_pylist(), replaced, strict=True):
            winner = winners[group(row)]
            stays = (
                None if winner == row["id"] else (int(winner[:16], 16), int(winner[16:], 16), -1)
            )
            assert other == stays
