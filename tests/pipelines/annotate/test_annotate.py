import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

import septet
from septet.pipelines.annotate.check import check_columns
from septet.pipelines.check import check_corpus
from septet.pipelines.cli import main
from septet.pipelines.report.page import report_page
from septet.pipelines.report.statistics import column_figures, corpus_statistics
from septet.pipelines.report.terminal import print_columns
from septet.pipelines.runners import StageFailed, make_runner
from septet.preprocess import files
from septet.preprocess.columns.members import check_member, unpack
from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.columns.registry import ColumnError, column_class
from septet.preprocess.files import TEMPORARY_SUFFIX
from septet.preprocess.shards.reader import Corpus
from septet.schemas.versioned import ManifestError
from septet.trainers.loader.kept import Kept
from tests.corpora import digests, run_annotation, run_build, write_site
from tests.kills import FORKS
from tests.pipelines.annotate.columns_to_test import HERE, WORDS, slow_words
from tests.pipelines.annotate.killed_workers import annotate_through_kills

HASHES = f"{HERE}:Hashes"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    run_build(write_site(folder / "in", pages=48, images=40), folder / "corpus")
    return folder / "corpus"


@pytest.fixture
def corpus(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "corpus")
    return tmp_path / "corpus"


def faults(corpus: Path) -> list[str]:
    quiet = Console(quiet=True)
    return check_corpus(str(corpus), False, quiet) + check_columns(str(corpus), quiet)


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 0


def values(corpus: Path, name: str) -> dict[str, bytes]:
    opened = Corpus(str(corpus))
    found = {}
    for shard in range(len(opened.shards)):
        with ColumnShardReader(opened, name, shard) as reader:
            found |= {key: reader.value(row) for row, key in enumerate(reader.keys.to_pylist())}
    return found


def without_times(corpus: Path) -> str:
    """The report but for what took how long."""
    page = (corpus / "stats/report.html").read_text()
    return re.sub(r'<section id="build".*?</section>', "", page, flags=re.DOTALL)


def test_every_sample_has_a_value_or_a_reason(corpus: Path) -> None:
    before = digests(corpus)
    manifest = run_annotation(corpus, WORDS, name="words")
    samples = {sample["json"]: sample for sample in Corpus(str(corpus))}
    found = values(corpus, "words")
    assert list(found) == [json.loads(data)["key"] for data in samples]
    german = 0
    for data, sample in samples.items():
        facts = json.loads(data)
        value = found[facts["key"]]
        if facts.get("language") == "de":
            german += 1
            assert value == b""
        else:
            assert unpack(value, manifest.member) == sample["txt"].decode().split()
    assert german > 3
    languages = Counter(json.loads(data).get("language") for data in samples)
    assert None not in languages and len(languages) > 1
    assert manifest.languages == {
        one: {"samples": n, "values": 0 if one == "de" else n}
        for one, n in sorted(languages.items())
    }  # fmt: skip
    assert manifest.counts == {
        "samples": len(samples), "values": len(samples) - german, "language_not_supported": german,
    }  # fmt: skip
    assert read_manifest(str(corpus), "words") == manifest
    assert manifest.shard_list.rows == len(Corpus(str(corpus)).shards) > 5
    assert faults(corpus) == []
    after = digests(corpus)
    assert {name: after[name] for name in before} == before


def test_one_model_load_a_process_and_workers_agree(corpus: Path, tmp_path: Path) -> None:
    run_annotation(corpus, WORDS, {"loads": str(tmp_path / "one")}, name="words")
    whole = digests(corpus)
    assert len((tmp_path / "one").read_text().splitlines()) == 1
    for workers in (2, 4):
        shutil.rmtree(corpus / "columns")
        loads = tmp_path / str(workers)
        settings = {"loads": str(loads), "batch_size": workers}
        run_annotation(corpus, WORDS, settings, name="words", workers=workers)
        assert digests(corpus) == whole
        processes = loads.read_text().splitlines()
        assert 1 <= len(processes) <= workers and len(set(processes)) == len(processes)


def test_second_run_does_nothing_and_other_settings_make_it_anew(corpus: Path) -> None:
    manifest = run_annotation(corpus, WORDS, name="words")
    times = {path: path.stat().st_mtime_ns for path in (corpus / "columns/words").rglob("*.*")}
    assert run_annotation(corpus, WORDS, {"batch_size": 3}, name="words") == manifest
    assert times == {path: path.stat().st_mtime_ns for path in times}
    with pytest.raises(ColumnError, match="other settings, models"):
        run_annotation(corpus, WORDS, {"upper": True}, name="words", only_missing=True)
    other = run_annotation(corpus, WORDS, {"upper": True}, name="words")
    assert other.fingerprint != manifest.fingerprint
    assert all(value == value.upper() for value in values(corpus, "words").values())
    assert faults(corpus) == []


def test_notes_follow_their_settings_and_no_value_is_made_anew(corpus: Path) -> None:
    manifest = run_annotation(corpus, WORDS, name="words")
    times = {path: path.stat().st_mtime_ns for path in (corpus / "columns/words").rglob("*.tar")}
    noted = run_annotation(corpus, WORDS, {"note": "a"}, name="words", only_missing=True)
    assert noted == read_manifest(str(corpus), "words")
    member = manifest.member.model_copy(update={"notes": {"note": "a"}})
    assert noted == manifest.model_copy(update={"member": member})
    assert times == {path: path.stat().st_mtime_ns for path in times} and faults(corpus) == []


def test_only_what_is_missing_is_made(corpus: Path) -> None:
    run_annotation(corpus, WORDS, name="words")
    whole = digests(corpus)
    folder = corpus / "columns/words"
    (folder / "0000/0000002.parquet").unlink()
    (folder / "0000/0000003.tar").unlink()
    (folder / "0000/0000003.parquet").unlink()
    kept = {p: p.stat().st_mtime_ns for p in folder.rglob("*.tar") if p.stem != "0000002"}
    run_annotation(corpus, WORDS, name="words", only_missing=True)
    assert digests(corpus) == whole
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_a_column_made_from_another(corpus: Path) -> None:
    with pytest.raises(ManifestError, match=r"no complete column 'words' .*septet annotate"):
        run_annotation(corpus, HASHES, name="hashes")
    run_annotation(corpus, WORDS, name="words")
    manifest = run_annotation(corpus, HASHES, name="hashes")
    assert manifest.reads == {"words": read_manifest(str(corpus), "words").fingerprint}
    assert (
        manifest.counts["no_words"]
        == read_manifest(str(corpus), "words").counts["language_not_supported"]
    )
    assert faults(corpus) == []
    run_annotation(corpus, WORDS, {"upper": True}, name="words")
    assert faults(corpus) == [
        "column hashes was made from another column 'words' than is there: annotate again"
    ]


def test_a_sample_that_fails_alone_has_no_value(corpus: Path) -> None:
    manifest = run_annotation(corpus, WORDS, {"refuse": "number 7"}, name="words")
    failed = [key for key, value in values(corpus, "words").items() if not value]
    assert 0 < manifest.counts["error"] < 10
    assert len(failed) == manifest.counts["error"] + manifest.counts["language_not_supported"]
    rows = [
        row
        for path in sorted((corpus / "columns/words").rglob("0*.parquet"))
        for row in files.read_table(str(path)).to_pylist()
    ]
    found = [row["found"] for row in rows if row["reason"] == "error"]
    assert all(text.startswith("RuntimeError: cannot take ") for text in found)
    assert faults(corpus) == []


def test_a_column_that_does_not_work_fails(corpus: Path) -> None:
    with pytest.raises(StageFailed, match="no sample can be annotated; the last one: Runtime"):
        run_annotation(corpus, f"{HERE}:Broken", name="words")
    assert faults(corpus) == [] and not (corpus / "columns/words").exists()


def test_a_column_that_was_begun_says_how_to_be_rid_of_it(corpus: Path) -> None:
    run_annotation(corpus, WORDS, name="words")
    (corpus / "columns/words/column.json").unlink()
    (fault,) = faults(corpus)
    assert fault.startswith("columns/words/column.json: ") and "septet annotate" in fault
    folder = re.search(r"or delete (\S+)$", fault)
    assert folder
    shutil.rmtree(corpus / folder[1])
    assert faults(corpus) == []


def test_numbers_that_json_does_not_have_are_an_error_and_a_fault(corpus: Path) -> None:
    run_annotation(corpus, f"{HERE}:Numbers", name="numbers")
    manifest = read_manifest(str(corpus), "numbers")
    assert manifest.counts["error"] > 0 and manifest.values > 0
    assert faults(corpus) == []
    for data in (b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[1,]", b"nan", b"{'a': 1}"):
        with pytest.raises(ValueError, match=r"JSON|double quotes|Expecting|Illegal"):
            check_member(data, manifest.member)


def test_damage_is_found(corpus: Path) -> None:
    run_annotation(corpus, WORDS, name="words")
    tar = corpus / "columns/words/0000/0000001.tar"
    data = tar.read_bytes()
    place = data.index(b'["')
    tar.write_bytes(data[:place] + b"{" + data[place + 1 :])
    found = faults(corpus)
    assert any("sha256" in fault for fault in found)
    assert any("has another CRC-32 than its sidecar says" in fault for fault in found)
    tar.write_bytes(data)
    assert faults(corpus) == []
    manifest = corpus / "columns/words/column.json"
    manifest.write_text(manifest.read_text().replace('"kind": "json"', '"kind": "raw"'))
    assert faults(corpus)


@pytest.mark.parametrize("field", ["phrases", "questions"])
def test_where_files_lie_is_in_no_byte_of_a_column(base: Path, tmp_path: Path, field: str) -> None:
    url = json.loads(Corpus(str(base))[0]["json"])["url"]
    row = {"image_id": 3, "phrase": "x", "box": [0, 0, 0.5, 1], "question": "Why?", "answer": "so"}
    found = []
    for place in ("checkout-a", "checkout-b"):
        corpus, files_of_set = tmp_path / place / "corpus", tmp_path / place / f"{place} set"
        shutil.copytree(base, corpus)
        files_of_set.mkdir()
        (files_of_set / "rows.json").write_text(json.dumps([row]))
        (files_of_set / "map.json").write_text(json.dumps({url: "3"}))
        settings = {"source": "set", field: str(files_of_set / "rows.json"),
                    "image_map": str(files_of_set / "map.json")}  # fmt: skip
        manifest = run_annotation(corpus, field, settings)
        assert manifest.values >= 1 and faults(corpus) == []
        assert place not in (corpus / "columns" / field / "column.json").read_text()
        found.append(digests(corpus))
    assert found[0] == found[1]


def test_a_rebuilt_base_is_noticed(tmp_path: Path) -> None:
    recipe = write_site(tmp_path / "in")
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    run_annotation(corpus, WORDS, name="words")
    recipe.write_text(recipe.read_text() + "curate: {max_aspect_ratio: 1.1}\n")
    run_build(recipe, corpus)
    assert any("annotate again" in fault for fault in faults(corpus))
    assert [column.stale for column in column_figures(str(corpus))] == [True]
    out = io.StringIO()
    print_columns(column_figures(str(corpus)), Console(file=out, width=100))
    assert "stale: of another build" in out.getvalue()
    assert b"<strong>Stale:</strong>" in report_page(str(corpus), corpus_statistics(str(corpus)))
    with pytest.raises(ColumnError, match="from other shards"):
        run_annotation(corpus, HASHES, name="hashes")
    with pytest.raises(ValueError, match="'words' was made from other shards than"):
        Kept(Corpus(str(corpus)), ["words"])  # A run does not begin, whatever the column holds.
    run_annotation(corpus, WORDS, name="words")
    assert [column.stale for column in column_figures(str(corpus))] == [False]
    run_annotation(corpus, WORDS, name="words")
    assert faults(corpus) == []


def test_bad_requests() -> None:
    with pytest.raises(ColumnError, match="did you mean 'regions'"):
        run_annotation(Path("tests/golden/v1"), "region")
    for kind, message in (
        ("no:class:x", "is no class; expected module:Class"),
        ("septet.preprocess.columns.base:Column", r"no subclass of .* with all of its methods"),
    ):
        with pytest.raises(ColumnError, match=message):
            column_class(kind)
    with pytest.raises(ColumnError, match="no setting `uper`; did you mean `upper`"):
        run_annotation(Path("tests/golden/v1"), WORDS, {"uper": 1}, name="words")
    with pytest.raises(ColumnError, match="cannot be the name"):
        run_annotation(Path("tests/golden/v1"), WORDS, name="../words")
    with pytest.raises(ColumnError, match="cannot be loaded"):
        run_annotation(Path("tests/golden/v1"), "nowhere_to_be_found:Column", name="words")


def test_the_documented_example(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend("examples/columns")
    asked = ("annotate", corpus, "--column", "brightness:Brightness", "--name", "brightness")
    command(*asked)
    manifest = read_manifest(str(corpus), "brightness")
    assert manifest.counts["values"] == manifest.counts["samples"]
    command(*asked)
    assert "nothing to do" in capsys.readouterr().err
    command("columns", "brightness:Brightness")
    assert "batch_size" in capsys.readouterr().out
    assert faults(corpus) == []


def test_a_report_that_lacks_a_column_is_written_by_the_next_run(corpus: Path) -> None:
    report = corpus / "stats/report.html"

    def annotated() -> bytes:
        septet.annotate(corpus, WORDS, name="words")
        return report.read_bytes()

    before = report.read_bytes()
    run_annotation(corpus, WORDS, name="words")  # as a kill right after the manifest leaves it
    assert report.read_bytes() == before
    whole = annotated()
    assert HERE.encode() in whole and HERE.encode() not in before
    for leave in (lambda: report.write_bytes(before), report.unlink):
        leave()
        assert annotated() == whole
    written = report.stat().st_mtime_ns
    assert annotated() == whole and report.stat().st_mtime_ns == written


def test_what_the_tasks_of_a_column_used_is_told(corpus: Path) -> None:
    """By each runner."""
    for name in ("local", "embedded"):
        runner = make_runner(name, 1, corpus=str(corpus))
        run_annotation(corpus, WORDS, name=name, runner=runner)
        told = json.loads((corpus / f"columns/{name}/build.json").read_text())
        assert (told["runner"], told["workers"], told["retries"]) == (name, 1, 0)
        assert told["seconds"] > 0 and told["cpu_seconds"] > 0 and told["peak_rss"] > 2**20
        assert told["bytes_written"] > 10_000
        assert not (corpus / f"columns/{name}/usage").exists()
    page = report_page(str(corpus), corpus_statistics(str(corpus))).decode()
    used = page.split("What the tasks of each stage and column used")[1].split("</table>")[0]
    assert ">column embedded<" in used and ">column local<" in used


def test_a_build_completes_its_report_with_all_its_columns(tmp_path: Path) -> None:
    recipe, corpus = write_site(tmp_path / "in", pages=6, images=6), tmp_path / "corpus"
    recipe.write_text(
        recipe.read_text() + f"annotate: [{{column: '{WORDS}', name: words}}, "
        f"{{column: '{HASHES}', name: hashes}}]\n"
    )
    report = corpus / "stats/report.html"
    run_build(recipe, corpus)
    whole, times = report.read_bytes(), corpus / "columns/hashes/build.json"
    took = times.read_bytes()
    (corpus / "columns/hashes/column.json").unlink()
    report.write_bytes(b"as it was before the columns")
    run_annotation(corpus, HASHES, name="hashes")
    times.write_bytes(took)
    assert run_build(recipe, corpus).nothing_to_do
    assert report.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, 10), (2, 12)])
def test_killed_at_any_moment_and_resumed(corpus: Path, workers: int, kills: int) -> None:
    before = (corpus / "stats/report.html").read_bytes()
    slow_words(corpus, 1)
    whole, report = digests(corpus), without_times(corpus)
    FORKS.start(os.getpid).join()  # once the server has imported what a column needs
    rng = random.Random(workers)
    killed, seconds = 0, 0.0
    while killed < kills:
        shutil.rmtree(corpus / "columns")
        (corpus / "stats/report.html").write_bytes(before)
        for tries in itertools.count():
            start = time.monotonic()
            child = FORKS.start(slow_words, corpus, workers)
            # The first run of all is left alone: the moments are those of its length.
            child.join(rng.uniform(0.0, seconds) if seconds and tries < 6 else None)
            if not child.is_alive():
                break
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            killed += 1
        seconds = seconds or time.monotonic() - start
        assert child.exitcode == 0
        assert digests(corpus) == whole
        assert without_times(corpus) == report
    assert not list((corpus / "columns").rglob(f"*{TEMPORARY_SUFFIX}"))


@pytest.mark.slow
def test_a_killed_worker_never_leaves_the_command_waiting(corpus: Path) -> None:
    # In a process as small as the command's, which forks its workers.
    child = FORKS.start(annotate_through_kills, corpus)
    child.join()
    assert child.exitcode == 0
