"""The guard around records: whatever a record raises costs that record, whatever an input raises is
the build's business."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from septet.pipelines.sources.base import (
    Facts,
    Found,
    ImageLocation,
    Input,
    InputError,
    Pair,
    Source,
)
from septet.pipelines.sources.table import SOURCES
from septet.pipelines.stages.source import SourceTask, read_slice, task_key
from septet.pipelines.stages.stage import Parts
from septet.schemas import tables
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource, WarcSource, source_models

PART = Input("a.list", 0, "/data/a.list", 9, "digest", (0, 9))


def settings_of(**changes: Any) -> ListSource:
    return ListSource.model_validate({"kind": "list", "paths": ["x"]} | changes)


class Odd(Source):
    """Records that are told what to do."""

    kind, version, unit = "odd", 1, "line"

    def __init__(self, *records: Any):
        self._records = records

    def describe(self, path: str, size: int) -> Facts:
        return Facts([(0, size)])

    def records(self, settings: Any, source: Input, counts: Counter[str]) -> Iterator[Any]:
        for record in self._records:
            if isinstance(record, OSError | InputError):
                raise record
            yield record

    def read(
        self, settings: Any, source: Input, record: Any, counts: Counter[str]
    ) -> Iterable[Found]:
        yield Pair(None, "before", "list")
        if isinstance(record, BaseException):
            raise record
        yield Pair(None, str(record), "list")


def kept(found: Iterable[Found]) -> list[str | None]:
    return [one.caption for one in found if isinstance(one, Pair)]


@pytest.mark.parametrize(
    ("poison", "reason", "value"),
    [
        (RejectedError("outside_root", "../x"), "outside_root", "../x"),
        (ValueError("embedded null byte"), "record_error", "ValueError: embedded null byte"),
        (RecursionError("maximum depth"), "record_error", "RecursionError: maximum depth"),
        (MemoryError(), "record_error", "MemoryError: "),
        (KeyError("url"), "record_error", "KeyError: 'url'"),
        (ValueError("a\ud800b"), "record_error", "ValueError: a\ufffdb"),
        (Rejected("list_row", "line 2: not JSON"), "list_row", "line 2: not JSON"),
    ],
)
def test_a_poisoned_record_is_one_reject(poison: Any, reason: str, value: str) -> None:
    found = list(read_slice(Odd("one", poison, "two"), settings_of(), PART, Counter()))
    assert kept(found) == ["before", "one", "before", "two"]  # nothing of the poisoned one
    assert [one for one in found if isinstance(one, Rejected)] == [Rejected(reason, value)]


@pytest.mark.parametrize("fault", [InputError("ends too early"), OSError(5, "Input/output error")])
def test_a_broken_input_stops_the_build_or_is_one_reject(fault: Exception) -> None:
    with pytest.raises(InputError, match=r"a\.list: stopped after line 2: .*(early|error)"):
        list(read_slice(Odd("one", "two", fault), settings_of(), PART, Counter()))
    settings = settings_of(on_broken_input="reject")
    found = list(read_slice(Odd("one", "two", fault), settings, PART, Counter()))
    assert kept(found) == ["before", "one", "before", "two"]
    (lost,) = [one for one in found if isinstance(one, Rejected)]
    assert lost.reason == "input_broken" and "stopped after line 2:" in (lost.value or "")
    second = replace(PART, number=1, slices=3)
    *_, lost = read_slice(Odd("one", fault), settings, second, Counter())
    assert isinstance(lost, Rejected)
    assert "stopped after line 1 of slice 2 of 3:" in (lost.value or "")


def test_an_input_that_is_gone_stops_the_build_in_any_case() -> None:
    with pytest.raises(InputError, match=r"a\.list is not there any more"):
        list(
            read_slice(
                Odd(FileNotFoundError()), settings_of(on_broken_input="reject"), PART, Counter()
            )
        )


def test_faults_of_the_program_are_no_rejects() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(read_slice(Odd(KeyboardInterrupt()), settings_of(), PART, Counter()))


def test_a_task_is_named_by_what_it_depends_on() -> None:
    key = task_key(settings_of(), PART)
    assert key == task_key(settings_of(paths=["other", "patterns"]), PART)
    others = [
        task_key(settings_of(url_col="link"), PART),
        task_key(settings_of(on_broken_input="reject"), PART),  # else what was let pass stays so
        task_key(WarcSource(kind="warc", paths=["x"]), PART),
        *(
            task_key(settings_of(), Input(label, 0, "/data/a.list", 9, digest, part))
            for label, digest, part in (
                ("b.list", "digest", (0, 9)),
                ("a.list", "other", (0, 9)),
                ("a.list", "digest", (0, 8)),
            )
        ),
    ]
    assert len({key, *others}) == 7
    moved = Input("a.list", 3, "/elsewhere/a.list", 9, "digest", (0, 9))
    assert task_key(settings_of(), moved) == key


def test_every_kind_in_recipes_has_a_source() -> None:
    assert list(SOURCES) == list(source_models())


def test_what_no_file_can_store_is_mended_where_rows_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "x\ud800y\0z"

    class Surrogates(Odd):
        def read(self, *_: Any) -> Iterable[Found]:
            yield Pair(odd, odd, "list", odd, odd, odd, odd)
            yield ImageLocation("http://e.test/1.jpg", "a.list", offset=7, length=9)
            yield Rejected("list_row", odd, odd, odd, odd, odd, odd)

    monkeypatch.setitem(SOURCES, "list", Surrogates(1))
    parts = [Parts(str(tmp_path / name), "1") for name in ("pairs", "locations", "rejects")]
    task = SourceTask(*parts, {"key": PART}, (settings_of(),))
    counts = task.run("key")
    assert (counts.rows_in, counts.rows_out, counts.rejected.total()) == (2, 1, 1)
    pairs, locations, rejects = (pq.read_table(part.path("key")).to_pylist() for part in parts)
    assert pairs[0]["caption"] == "x\ufffdy\0z" and pairs[0]["source"] == "a.list"
    assert rejects[0]["value"] == "x\ufffdy\0z" and rejects[0]["stage"] == "source"
    assert (locations[0]["offset"], locations[0]["length"]) == (7, 9)
    assert set(pairs[0]) == set(tables.CANDIDATES.names)
