import json
import re
import shutil
from pathlib import Path

import pytest

from septet.pipelines.cli import main
from septet.pipelines.report import columns
from septet.pipelines.report.columns import SIDE, column_views, trusted_columns
from septet.pipelines.report.page import MAX_BYTES, refresh_report, report_page, write_report
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus
from septet.schemas.columns import ColumnShard
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.annotate.columns_to_test import HERE, HOSTILE
from tests.pipelines.report.test_report_page import Elements

TRUSTED = [f"{HERE}:Words", f"{HERE}:Drawn"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    run_build(write_site(folder / "in"), folder / "corpus")
    run_annotation(folder / "corpus", f"{HERE}:Words", name="words")
    run_annotation(folder / "corpus", f"{HERE}:Drawn", name="drawn")
    return folder / "corpus"


def test_values_are_drawn_and_hostile_text_is_text(corpus: Path) -> None:
    untold = report_page(str(corpus), corpus_statistics(str(corpus)))
    assert (
        untold.count(b'<g class="mark">') == 0
    )  # a class is not imported because a corpus says so
    live = trusted_columns(str(corpus), TRUSTED)
    page = report_page(str(corpus), corpus_statistics(str(corpus)), live=live)
    assert len(page) <= MAX_BYTES
    elements = Elements(page)
    assert [a for tag, a in elements.found if tag == "script"] == [{}]
    assert HOSTILE in "".join(elements.text)
    assert page.count(b'<g class="mark">') == 6
    assert sum(tag == "image" for tag, _ in elements.found) == 12
    policy = next(a["content"] for _, a in elements.found if a.get("http-equiv"))
    assert "unsafe" not in policy
    assert not any("style" in a for _, a in elements.found)


def test_boxes_stand_where_they_are(corpus: Path) -> None:
    live = trusted_columns(str(corpus), TRUSTED)
    drawn, words = column_views(Corpus(str(corpus)), live, 7)
    assert (drawn.name, words.name) == ("drawn", "words")
    view = drawn.shown[0]
    assert max(view.width, view.height) == SIDE
    (mark,) = view.marks
    assert mark.x == pytest.approx(view.width / 4, abs=0.1)
    assert mark.y + mark.height == pytest.approx(view.height, abs=0.1)
    assert [text for _, text in view.nodes][:2] == ["man", "horse"]
    assert view.edges[0].label == "ride" and view.beside and view.beside.startswith("data:image")
    assert words.values < words.samples and words.reasons[0][0] == "language_not_supported"
    by_language = {language: (values, samples) for language, values, samples in words.languages}
    assert by_language.pop("de") == (0, words.samples - words.values) and by_language
    assert all(values == samples > 0 for values, samples in by_language.values())
    assert drawn.languages == []  # it refuses none
    page = report_page(str(corpus), corpus_statistics(str(corpus)))
    assert f"de 0 of {words.samples - words.values}" in "".join(Elements(page).text)
    assert all(re.match(r'\["', line) for value in words.shown for line in value.lines)


def test_long_values_are_cut(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_as_text", lambda data, manifest: "x" * 1000)
    views = column_views(Corpus(str(corpus)), {}, 7)
    assert {len(line) for view in views for one in view.shown for line in one.lines} == {600}
    assert {len(view.shown) for view in views} == {6}


def test_damage_is_shown_and_does_not_keep_the_report_away(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    for tar in (tmp_path / "corpus/columns/words").rglob("*.tar"):
        tar.write_bytes(tar.read_bytes().replace(b'["', b"xx"))
    views = {view.name: view for view in column_views(Corpus(str(tmp_path / "corpus")), {}, 7)}
    assert all("cannot be drawn" in value.lines[0] for value in views["words"].shown)


def test_a_corpus_built_anew_with_more_shards_has_its_report(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    shutil.copytree(corpus.parent / "in", tmp_path / "in")
    recipe = tmp_path / "in/recipe.yaml"
    before = len(Corpus(str(corpus)).shards)
    recipe.write_text(recipe.read_text().replace("samples_per_shard: 12", "samples_per_shard: 4"))
    run_build(recipe, tmp_path / "corpus")
    rebuilt = Corpus(str(tmp_path / "corpus"))
    assert len(rebuilt.shards) > before
    assert [view.shown for view in column_views(rebuilt, {}, 7)] == [[], []]
    page = (tmp_path / "corpus/stats/report.html").read_bytes()
    assert "Columns" in "".join(Elements(page).text)


def test_values_made_from_other_shards_are_not_shown(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def column_shards(path: str, name: str) -> list[ColumnShard]:
        first, *others = made(path, name)
        return [first.model_copy(update={"base_sha256": "0"}), *others[:-1]]

    made = columns.column_shards
    monkeypatch.setattr(columns, "column_shards", column_shards)
    monkeypatch.setattr(columns, "_SHOWN", 1000)
    shards = [shard.first_key for shard in Corpus(str(corpus)).shards]
    for view in column_views(Corpus(str(corpus)), {}, 7):
        assert view.shown
        assert all(shards[1] <= one.key < shards[-1] for one in view.shown)


def test_refreshing_the_report_gives_what_writing_it_gives(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    page = tmp_path / "corpus/stats/report.html"
    page.unlink()
    refresh_report(str(tmp_path / "corpus"), {})
    refreshed = page.read_bytes()
    write_report(str(tmp_path / "corpus"))
    assert refreshed == page.read_bytes()
    (tmp_path / "corpus/stats/statistics.json").unlink()
    page.unlink()
    refresh_report(str(tmp_path / "corpus"), {})
    assert not page.exists()


def test_what_killed_and_concurrent_writers_of_the_report_leave_is_taken_away(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    page = tmp_path / "corpus/stats/report.html"
    page.unlink()
    refresh_report(str(tmp_path / "corpus"), {})
    whole = page.read_bytes()
    page.unlink()
    page.with_name(".report.html.0123abcd.septet-tmp").write_bytes(b"cut short by a ki")
    written, put = [], files.write_bytes

    def in_the_middle(path: str, data: bytes) -> None:
        if not written:  # another writer ends first, and takes this one's temporary file
            written.append(path)
            put(path, data)
            raise FileNotFoundError(path)
        put(path, data)

    monkeypatch.setattr(files, "write_bytes", in_the_middle)
    refresh_report(str(tmp_path / "corpus"), {})
    assert page.read_bytes() == whole and written
    assert not [*page.parent.glob(".*.septet-tmp")]


def test_stats_lists_columns(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["stats", str(corpus)])
    out = capsys.readouterr().out
    assert "Columns" in out and "language not supported" in out


def test_stats_compares_columns(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(corpus, tmp_path / "less")
    shutil.rmtree(tmp_path / "less/columns/drawn")
    with pytest.raises(SystemExit):
        main(["stats", str(tmp_path / "less"), "--json"])
    less = capsys.readouterr().out
    (words,) = json.loads(less)["columns"]
    assert words["name"] == "words" and words["without"]["language_not_supported"] > 0
    assert words["values"] + sum(words["without"].values()) == words["samples"]
    (tmp_path / "less.json").write_text(less)
    with pytest.raises(SystemExit):
        main(["stats", str(corpus), "--against", str(tmp_path / "less.json"), "--json"])
    changed = json.loads(capsys.readouterr().out)["changes"]
    assert {(c["group"], c["name"]) for c in changed} == {
        ("columns", "drawn values"), ("columns", "drawn bytes"),
    }  # fmt: skip
