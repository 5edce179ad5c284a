"""What was removed is shown by no reader, from the moment that the head is written."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

import septet
from septet.pipelines.annotate.check import check_columns
from septet.pipelines.annotate.work import REMOVED
from septet.pipelines.check import check_corpus
from septet.pipelines.cli import main
from septet.pipelines.report.statistics import known_statistics
from septet.pipelines.takedown.wanted import read_wanted
from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.removed import RemovedError
from septet.schemas.versioned import ManifestError
from tests.corpora import run_annotation
from tests.pipelines.takedown.corpora import WORDS, built, records, same_image, taken_down

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("takedown"))


@pytest.fixture
def corpus(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "corpus"))


def ids(folder: Path, *keys: str) -> Path:
    path = folder / "list.txt"
    path.write_text("\n".join(["# keys", *keys, ""]))
    return path


def test_no_reader_gives_a_sample_that_was_removed(corpus: Path, tmp_path: Path) -> None:
    before = records(corpus)
    key = sorted(before)[17]
    gone = same_image(before, key)
    assert 1 < len(gone) < len(before) - 5
    opened = Corpus(str(corpus))
    at = opened.locate(opened.find(key))
    taken = taken_down(corpus, ids=ids(tmp_path, key), note="asked for", who="the owner")
    assert (taken.removed, taken.with_others) == (len(gone), len(gone) - 1)
    assert (taken.before, taken.unknown, taken.left) == (0, (), len(before) - len(gone))

    opened = septet.open(corpus)
    assert len(opened) == taken.left
    after = records(corpus)
    assert after == {k: one for k, one in before.items() if k not in gone}
    assert {opened.key(i) for i in range(len(opened))} == set(after)
    assert all(opened.find(k) == i for i, k in enumerate(sorted(after)))
    assert all(opened.index(*opened.locate(i)) == i for i in range(len(opened)))
    with pytest.raises(KeyError):
        opened.find(key)
    with pytest.raises(RemovedError, match=key):
        opened.shard(at[0]).read(at[1])
    with pytest.raises(RemovedError):
        ColumnShardReader(opened, "words", at[0]).value(at[1])
    for number in range(len(opened.shards)):
        table = opened.metadata(number)
        assert len(table) == opened.counts[number]  # rows keep their numbers
        for row in table.to_pylist():
            said = {name for name, value in row.items() if value not in (None, [])}
            assert (said <= {"key", "language"}) == (row["key"] in gone)

    assert check_corpus(str(corpus), True, QUIET) == []
    assert check_columns(str(corpus), QUIET) == []
    statistics = known_statistics(str(corpus))
    assert statistics.samples == taken.left
    assert statistics.notes == [f"{len(gone)} samples were removed: no other figure counts them"]
    (column,) = statistics.columns or []
    assert (
        column.samples == taken.left and sum(column.without.values()) + column.values == taken.left
    )
    assert sum(found["samples"] for found in column.languages.values()) == taken.left
    page = (corpus / "stats/report.html").read_text()
    assert not any(k in page for k in gone) and sum(k in page for k in after) > 20
    log = [json.loads(line) for line in (corpus / "removed/log.jsonl").read_text().splitlines()]
    assert [(one["who"], one["note"], one["what"]) for one in log] == [
        ("the owner", "asked for", "ids")
    ]
    assert log[0]["figures"]["removed"] == len(gone)


def test_a_removal_happens_once(corpus: Path, tmp_path: Path) -> None:
    before = records(corpus)
    keys = sorted(before)
    listed = ids(tmp_path, keys[3], "f" * 32, keys[3], "no key at all")
    first = taken_down(corpus, ids=listed)
    assert first.unknown == ("f" * 32, "no key at all") and first.removed
    head = (corpus / "corpus.json").read_bytes()
    again = taken_down(corpus, ids=listed)
    assert (again.removed, again.before, again.unknown) == (0, 1, first.unknown)
    assert again.left == first.left
    assert (corpus / "corpus.json").read_bytes() == head
    assert len((corpus / "removed/log.jsonl").read_text().splitlines()) == 2
    # A second list adds to the first.
    rest = set(records(corpus))
    taken_down(corpus, ids=ids(tmp_path, max(rest)))
    assert set(records(corpus)) == rest - same_image(before, max(rest))


def test_urls_and_domains_name_samples_too(corpus: Path, tmp_path: Path) -> None:
    before = records(corpus)
    image = before[min(before)]["url"]
    page = next(one["page_url"] for one in before.values() if one["url"] != image)
    listed = tmp_path / "urls.txt"
    listed.write_text(
        f"{image.replace('site.test', 'SITE.test')}#top\n{page}\nhttp://site.test/no\n"
    )
    taken = taken_down(corpus, urls=listed)
    named = {k for k, one in before.items() if image == one["url"] or page == one["page_url"]}
    gone = set().union(*(same_image(before, k) for k in named))
    assert set(records(corpus)) == set(before) - gone
    assert taken.with_others == len(gone - named) and taken.unknown == ("http://site.test/no",)
    nothing = taken_down(corpus, domain="ite.test")
    assert nothing.removed == 0 and nothing.unknown == ("ite.test",)
    everything = taken_down(corpus, domain="site.test")
    assert everything.left == 0 and len(Corpus(str(corpus))) == 0
    assert check_corpus(str(corpus), True, QUIET) == []
    assert taken_down(corpus, domain="site.test").before == 1


def test_lists_may_spell_ids_and_domains_otherwise(tmp_path: Path) -> None:
    id_, host = "0123456789abcdef" * 2, "xn--mller-kva.example"
    table = pa.table({"key": [id_, "a" * 32], "url": [f"http://a.{host}/1.jpg", "http://b.test/"]})
    listed = tmp_path / "list.txt"
    listed.write_text(f"\ufeff\r\n{id_.upper()}\r\n", encoding="utf-8", newline="")
    hits, answered = read_wanted("ids", str(listed)).rows(table)
    assert hits.tolist() == [True, False] and answered == {id_.upper()}
    listed.write_text(f"{id_.upper()}\n{id_}\n")
    assert read_wanted("ids", str(listed)).values == [id_.upper()]  # said twice, counted once
    for domain in ("müller.example", "Müller.EXAMPLE.", f"A.{host}"):
        hits, answered = read_wanted("domain", domain).rows(table)
        assert hits.tolist() == [True, False] and answered == {domain.lower().rstrip(".")}
    for spelled in (f".{host}", f"*.{host}", f".{host}."):
        hits, _ = read_wanted("domain", spelled).rows(table)
        assert hits.tolist() == [True, False]
    for wrong in ("a..example", "..example", "*example", "*.*.example"):
        with pytest.raises(ValueError, match="nor is it a domain"):
            read_wanted("domain", wrong)
    listed.write_text("a\u2028b.jpg\rc\x0bd\r\ne\n", encoding="utf-8", newline="")
    assert read_wanted("urls", str(listed)).values == ["a\u2028b.jpg", "c\x0bd", "e"]


def test_a_removal_that_was_killed_before_its_head_is_finished_by_the_next(
    corpus: Path, tmp_path: Path
) -> None:
    before = records(corpus)
    head = (corpus / "corpus.json").read_bytes()
    taken_down(corpus, ids=ids(tmp_path, min(before)))
    (corpus / "corpus.json").write_bytes(head)  # as it was: the list is there, the head is not
    assert set(records(corpus)) == set(before)
    taken_down(corpus, ids=ids(tmp_path, max(before)))
    gone = same_image(before, min(before)) | same_image(before, max(before))
    assert set(records(corpus)) == set(before) - gone


def test_nothing_is_made_of_a_removed_sample(corpus: Path, tmp_path: Path) -> None:
    key = sorted(records(corpus))[5]
    gone = taken_down(corpus, ids=ids(tmp_path, key)).removed
    run_annotation(corpus, WORDS, name="later")
    manifest = read_manifest(str(corpus), "later")
    assert manifest.counts[REMOVED] == gone
    assert check_columns(str(corpus), QUIET) == []
    (later, words) = known_statistics(str(corpus)).columns or []
    assert (later.samples, later.values, later.without) == (
        words.samples,
        words.values,
        words.without,
    )


def test_lists_that_cannot_be_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match="nothing to remove"):
        taken_down(corpus, ids=empty)
    with pytest.raises(ValueError, match="there is no such file"):
        taken_down(corpus, urls=tmp_path / "absent.txt")
    with pytest.raises(ValueError, match="nor is it a domain"):
        taken_down(corpus, domain="not/a domain")
    with pytest.raises(ValueError, match="one of ids, urls, domain and phash"):
        taken_down(corpus)
    empty.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        taken_down(corpus, ids=empty)
    with pytest.raises(ManifestError):
        taken_down(tmp_path / "nowhere", ids=ids(tmp_path, "a"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SystemExit) as ended:
        main(["remove", str(corpus), "--ids", str(ids(tmp_path, "0" * 32))])
    assert ended.value.code == 0
    told = capsys.readouterr().err
    assert f"1 lines name no sample: {'0' * 32}" in told and "nothing to remove" in told


def test_files_that_are_no_lists_are_refused_by_name(corpus: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("pipe", "pipe.npy", "folder", "nul", "long")}
    os.mkfifo(paths["pipe"])
    os.mkfifo(paths["pipe.npy"])
    paths["folder"].mkdir()
    paths["nul"].write_bytes(b"a\n\0\0\n")
    paths["long"].write_bytes(b"a" * 100_000)
    told = {"pipe": "is a pipe or a device", "pipe.npy": "is a pipe", "folder": "is a folder",
            "nul": "line 2 has NUL", "long": "line 1 has 100,000 characters"}  # fmt: skip
    for name, path in paths.items():
        for how in ("ids",) if name == "pipe.npy" else ("ids", "urls", "domain", "phash"):
            with pytest.raises(ValueError, match=told[name]) as found:
                taken_down(corpus, **{how: path})
            assert str(path) in str(found.value) and len(str(found.value)) < 500
    assert not (corpus / "removed").exists()


def test_a_list_that_names_other_rows_is_refused(corpus: Path, tmp_path: Path) -> None:
    taken_down(corpus, ids=ids(tmp_path, min(records(corpus))))
    path = corpus / "removed/0001.parquet"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(ManifestError, match="removed/0001"):
        Corpus(str(corpus))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestError):
        Corpus(str(corpus))
