"""A corpus from a stranger: nothing it names is run or followed, nothing it claims is believed, and
nothing it says reaches the terminal as a command."""

import io
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.pipelines.check import check_corpus
from septet.pipelines.report.page import report_page
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess import files
from septet.preprocess.shards.heads import read_corpus, write_corpus
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.manifest import Shard
from septet.schemas.versioned import ManifestError
from tests.corpora import run_annotation, run_build, write_site

QUIET = Console(quiet=True)
WORDS = "tests.pipelines.annotate.columns_to_test:Words"


def corpus_of(folder: Path, samples: dict[str, dict[str, bytes]], **change: object) -> Path:
    """One shard of samples; `change` spoils its row in the list of shards."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.open_atomic(str(folder / "a.tar")) as out:
        writer = ShardWriter(out)
        rows = [
            {"key": key, "members": writer.add(key, members)} for key, members in samples.items()
        ]
        size, digest = writer.close()
    files.write_table(str(folder / "a.parquet"), pa.Table.from_pylist(rows, tables.SHARD_INDEX))
    shard = {
        "tar": "a.tar", "sidecar": "a.parquet", "samples": len(samples), "bytes": size,
        "tar_sha256": digest, "sidecar_sha256": files.sha256(str(folder / "a.parquet")),
        "first_key": min(samples), "last_key": max(samples),
    }  # fmt: skip
    row = Shard.model_construct(**{**shard, **change})
    write_corpus(str(folder), [row], name="x", septet="0", sorted_keys=True)
    return folder


SAMPLES = {f"{i:04d}": {"txt": b"words", "json": b"{}"} for i in range(5)}


def faults(folder: Path, decode: bool = True) -> list[str]:
    return check_corpus(str(folder), decode, QUIET)


def test_a_sound_one_has_no_fault(tmp_path: Path) -> None:
    assert faults(corpus_of(tmp_path, SAMPLES)) == []


@pytest.mark.parametrize("name", ["tar", "sidecar"])
@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "x/../../secret", "file:///etc/passwd"]
)
def test_no_path_leads_out(tmp_path: Path, name: str, path: str) -> None:
    folder = corpus_of(tmp_path / "corpus", SAMPLES, **{name: path})
    for read in (
        lambda: faults(folder),
        lambda: Corpus(str(folder))[0],
        lambda: corpus_statistics(str(folder)),
    ):
        with pytest.raises(ValueError, match="inside the corpus folder"):
            read()


@pytest.mark.parametrize("key", ["shard_list", "input_list"])
def test_no_list_leads_out(tmp_path: Path, key: str) -> None:
    folder = corpus_of(tmp_path / "corpus", SAMPLES)
    shutil.copy(folder / "shards.parquet", tmp_path / "shards.parquet")
    head = json.loads((folder / "corpus.json").read_text())
    head[key]["path"] = "../shards.parquet"
    (folder / "corpus.json").write_text(json.dumps(head))
    with pytest.raises(ValueError, match="inside the corpus folder"):
        read_corpus(str(folder))
        report_page(str(folder), corpus_statistics(str(folder)))


def test_no_class_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_site(tmp_path / "in", parts=1, pages=4, images=6)
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    run_annotation(corpus, WORDS, name="words")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = corpus / "columns/words/column.json"
    head.write_text(head.read_text().replace(WORDS, "evil:Evil"))
    assert check_columns(str(corpus), QUIET) == []
    report_page(str(corpus), corpus_statistics(str(corpus)))
    assert "evil" not in sys.modules and not (tmp_path / "ran").exists()
    head.write_text(head.read_text().replace("evil:Evil", WORDS))
    assert check_columns(str(corpus), QUIET, [WORDS]) == []


def damaged(folder: Path, fault: str) -> Path:
    folder = corpus_of(folder, SAMPLES)
    sidecar = folder / "a.parquet"
    table = files.read_table(str(sidecar))
    if fault == "no key":
        files.write_table(str(sidecar), table.drop_columns(["key"]))
    elif fault == "no members":
        files.write_table(str(sidecar), table.drop_columns(["members"]))
    elif fault == "keys are numbers":
        files.write_table(str(sidecar), table.set_column(0, "key", pa.array(range(5))))
    elif fault == "members are text":
        files.write_table(str(sidecar), table.set_column(1, "members", pa.array(["x"] * 5)))
    elif fault == "key is null":
        files.write_table(str(sidecar), table.set_column(0, "key", pa.array([None] * 5, "string")))
    elif fault == "no table":
        sidecar.write_bytes(b"PAR1 no")
    elif fault == "empty":
        sidecar.write_bytes(b"")
    elif fault == "gone":
        sidecar.unlink()
    else:
        (folder / "a.tar").write_bytes(b"\0" * 10240)
    return folder


@pytest.mark.parametrize(
    "fault",
    ["no key", "no members", "keys are numbers", "members are text", "key is null", "no table",
     "empty", "gone", "empty tar"],
)  # fmt: skip
def test_a_damaged_shard_is_a_fault_and_no_traceback(tmp_path: Path, fault: str) -> None:
    folder = damaged(tmp_path, fault)
    assert faults(folder)
    for read in (lambda: corpus_statistics(str(folder)), lambda: Corpus(str(folder))[0]):
        try:
            read()
        except (ValueError, OSError) as error:
            assert "a.parquet" in str(error) or "a.tar" in str(error)


def test_json_and_text_are_parsed_strictly(tmp_path: Path) -> None:
    samples = {
        "0": {"json": b'{"score": NaN}'}, "1": {"json": b"{'a': 1}"}, "2": {"json": b"[" * 100_000},
        "3": {"txt": b"\xff\xfe"}, "4": {"jpg": b"no image"}, "5": {"json": b'{"a": 1}', "txt": b""},
    }  # fmt: skip
    found = faults(corpus_of(tmp_path, samples))
    assert [line.partition(": ")[2][:12] for line in found] == [
        "row 0: json ", "row 1: json ", "row 2: json ", "row 3: txt i", "row 4: jpg d",
    ]  # fmt: skip


def test_no_line_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    folder = corpus_of(tmp_path, {f"a{evil}": {"txt": b"\xff"}, f"b{evil}": {f"x{evil}": b"1"}})
    table = files.read_table(str(folder / "a.parquet"))
    swapped = table.set_column(0, "key", pa.array([f"b{evil}", f"a{evil}"]))
    files.write_table(str(folder / "a.parquet"), swapped)
    found = faults(folder)
    assert any("owned" in line for line in found)
    assert not any(ch in line for line in found for ch in "\x1b\x07\x9b\u202e\n")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def lying(folder: Path, lie: str) -> None:
    """Spoil a corpus: what it claims is large, what it is on disk is small."""
    sidecar = folder / "a.parquet"
    table = files.read_table(str(sidecar))
    if lie == "sparse tar":
        os.truncate(folder / "a.tar", 2**36)
        return
    if lie == "long member":
        rows = table.to_pylist()
        rows[0]["members"][0]["size"] = 2**35
        table = pa.Table.from_pylist(rows, table.schema)
    elif lie == "many rows":
        table = table.take(pa.array([0] * 6_000_000))
    else:
        long = pa.array(["k" * 2**19]).dictionary_encode().take(pa.array([0] * 5000))
        table = pa.table({"key": long, "members": table["members"].take(pa.array([0] * 5000))})
    files.write_table(str(sidecar), table)
    assert sidecar.stat().st_size < 2**20


@pytest.mark.parametrize("lie", ["sparse tar", "long member", "many rows", "long values"])
def test_a_lie_about_sizes_takes_no_gigabytes(tmp_path: Path, lie: str) -> None:
    folder = corpus_of(tmp_path, SAMPLES)
    lying(folder, lie)
    before = peak()
    assert faults(folder)
    if lie != "sparse tar":
        with pytest.raises((ValueError, OSError)):
            Corpus(str(folder))[0]
    assert peak() - before < 2**30


def test_a_newer_minor_version_is_read_and_a_newer_major_is_not(tmp_path: Path) -> None:
    folder = corpus_of(tmp_path, SAMPLES)
    head = json.loads((folder / "corpus.json").read_text())
    head |= {"format_minor": 7, "tombstones": {"path": "x"}}
    head["shard_list"]["groups"] = 3
    (folder / "corpus.json").write_text(json.dumps(head))
    assert len(Corpus(str(folder))) == 5
    (folder / "corpus.json").write_text(json.dumps(head | {"format_minor": 0}))
    with pytest.raises(ManifestError, match="tombstones"):
        Corpus(str(folder))
    (folder / "corpus.json").write_text(json.dumps(head | {"format_version": 4}))
    with pytest.raises(ManifestError, match="upgrade Septet"):
        Corpus(str(folder))


def test_an_image_that_promises_too_many_pixels_is_a_fault(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    folder = corpus_of(tmp_path, {"0": {"png": out.getvalue()}, "1": {"jpg": eps}})
    found = faults(folder)
    assert len(found) == 2 and "png does not decode" in found[0], found
    assert "jpg does not decode" in found[1]
    assert faults(folder, decode=False) == []
