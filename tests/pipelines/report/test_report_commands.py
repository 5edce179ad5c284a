import inspect
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from septet.pipelines.index import index_folder
from septet.pipelines.report import readable
from septet.pipelines.report.charts import value_text
from septet.pipelines.report.commands import show, stats
from septet.pipelines.report.compare import compare
from septet.pipelines.report.figures import ColumnFigures, Statistics
from septet.pipelines.report.measures import MEASURES
from septet.pipelines.report.page import refresh_report
from septet.pipelines.report.show import resolve_key
from septet.pipelines.report.statistics import corpus_statistics
from septet.pipelines.report.terminal import print_columns, print_comparison, print_statistics
from septet.preprocess.shards.heads import read_head
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import STATISTICS
from tests.pipelines.report.corpora import HOSTILE, build_corpus, rewrite

app = typer.Typer()
app.command("stats")(stats)
app.command("show")(show)


def run(*arguments: str):
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, list(arguments))


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exception is None, result.exception
    return result.stdout


def fault(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, ValueError), result.exception
    return str(result.exception)


def test_stats_prints_tables_and_writes_nothing(truth):
    def listing():
        return sorted(str(path) for path in Path(truth.path).rglob("*"))

    before = listing()
    text = said("stats", truth.path)
    for words in ("harbour", "180 samples", "too short", "passing", "Caption length in words",
                  "figcaption", "example.co.uk", "duplicate image"):  # fmt: skip
        assert words in text
    assert listing() == before


def test_stats_json_is_the_statistics_and_nothing_else(truth):
    text = said("stats", truth.path, "--json")
    assert text == corpus_statistics(truth.path).to_json()
    assert Statistics.from_json(text).samples == 180


def test_stats_html_writes_the_page_where_it_is_told(truth, tmp_path):
    target = tmp_path / "deep" / "page.html"
    text = said("stats", truth.path, "--html", str(target))
    assert target.read_text().startswith("<!doctype html>")
    assert str(target) in text
    assert len(text.splitlines()) == 1
    both = run("stats", truth.path, "--json", "--html", str(target))
    assert json.loads(both.stdout)["samples"] == 180


def test_stats_against_a_corpus_or_its_json_tells_the_changes(truth, tmp_path):
    old = build_corpus(tmp_path / "old", samples=60, shards=1, name="older")
    text = said("stats", truth.path, "--against", old.path)
    assert "older → harbour" in text
    row = next(line for line in text.splitlines() if " samples " in line)
    assert [*row.split()][1:] == ["samples", "60", "180", "+120", "+200.0", "%"]
    (tmp_path / "old.json").write_text(said("stats", old.path, "--json"))
    assert said("stats", truth.path, "--against", str(tmp_path / "old.json")) == text
    changes = json.loads(said("stats", truth.path, "--against", old.path, "--json"))
    assert {"group": "total", "name": "shards", "before": 1, "after": 3} in changes["changes"]
    assert "All" in said("stats", truth.path, "--against", truth.path)
    assert "no such file" in fault("stats", truth.path, "--against", str(tmp_path / "no.json"))


def test_comparison_lists_every_figure_that_differs_and_no_other(truth, tmp_path):
    a = corpus_statistics(build_corpus(tmp_path, samples=60, shards=3, name="older").path)
    b = corpus_statistics(truth.path)
    found = compare(a, b)
    figures = {(change.group, change.name): change for change in found.changes}
    assert ("total", "shards") not in figures
    for stats_of, side in ((a, "before"), (b, "after")):
        for entry in stats_of.categories["language"].values:
            change = figures[("language", entry.value)]
            assert getattr(change, side) == entry.count
    assert ("rejects", "filter: too_short") not in figures
    assert compare(b, a).changes[0].difference == -found.changes[0].difference
    assert compare(a, a).changes == []


def test_tables_fit_narrow_terminals_and_neutralise_controls(truth):
    found = corpus_statistics(truth.path).model_copy(
        update={"name": "\x1b]0;owned\x07[red]x[/red]"}
    )
    for width in (60, 200):
        out = io.StringIO()
        console = Console(file=out, width=width, no_color=True)
        print_statistics(found, console)
        print_comparison(compare(found, found), console)
        assert "\x1b" not in out.getvalue()
        assert "[red]x[/red]" in out.getvalue()
        assert max(map(len, out.getvalue().splitlines())) <= width


def test_show_prints_a_sample_by_key_and_by_its_beginning(truth):
    row = next(row for row in truth.rows if row["caption"] == HOSTILE)
    text = said("show", truth.path, row["key"])
    for words in (row["key"], row["url"], "<script>window.pwned", f".{row['_ext']}", "figcaption"
                  if row["caption_from"] == "figcaption" else "alt"):  # fmt: skip
        assert words in text
    assert said("show", truth.path, row["key"][:10]) == text


def test_show_writes_the_image_as_it_is_stored(truth, tmp_path):
    row = next(row for row in truth.rows if row["_ext"] == "png")
    said("show", truth.path, row["key"], "--image", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes() == row["_image"]
    assert Image.open(tmp_path / "a.png").size == (row["width"], row["height"])
    said("show", truth.path, row["key"], "--image", str(tmp_path / "b"))
    assert (tmp_path / "b.png").read_bytes() == row["_image"]
    (tmp_path / "folder").mkdir()
    said("show", truth.path, row["key"], "--image", str(tmp_path / "folder"))
    assert (tmp_path / "folder" / f"{row['key']}.png").read_bytes() == row["_image"]
    message = fault("show", truth.path, row["key"], "--image", str(tmp_path / "c.jpg"))
    assert "is stored as png" in message
    assert not (tmp_path / "c.jpg").exists()


def test_show_names_what_is_wrong_with_a_key(truth):
    assert "no sample whose key is or begins with 'zzz'" in fault("show", truth.path, "zzz")
    assert "no sample whose key" in fault("show", truth.path, "")
    first = truth.rows[0]["key"]
    alike = sum(row["key"].startswith(first[0]) for row in truth.rows)
    message = fault("show", truth.path, first[0])
    assert f"begins {alike} keys: {first}" in message
    assert "septet build" in fault("show", truth.path + "/nothing", "a")


def test_a_whole_key_wins_over_longer_keys_and_unsorted_corpora_are_searched(own):
    rewrite(own.path, shards=lambda shards: shards[::-1], sorted_keys=False)
    row = own.rows[100]
    assert row["url"] in said("show", own.path, row["key"][:12])


def test_a_whole_key_wins_wherever_it_stands(tmp_path):
    names = ("a", "ab", "b", "bc", "bd", "ca", "cb")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"{name}.txt"))
    index_folder(str(tmp_path), None, Console(quiet=True))
    corpus = Corpus(str(tmp_path))
    assert [resolve_key(corpus, name) for name in names] == list(range(7))
    with pytest.raises(ValueError, match="begins 2 keys: ca, cb"):
        resolve_key(corpus, "c")


def test_flags_that_are_not_given_are_off():
    found = {
        name: parameter.default
        for command in (stats, show)
        for name, parameter in inspect.signature(command).parameters.items()
        if isinstance(parameter.default, bool)
    }
    assert found.keys() >= {"recount"} and not any(found.values()), found


def test_help_teaches_by_example():
    for command in ("stats", "show"):
        text = said(command, "--help")
        assert f"septet {command} corpora/demo" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (11 * 2**19, "5.5 MiB"), (2**60, "1024 PiB")],
)
def test_sizes_are_readable(value, text):
    assert readable.size(value) == text


def test_figures_are_readable():
    assert [readable.number(v) for v in (0, 1234567, 9.2651, 47.61)] == [
        "0", "1,234,567", "9.27", "47.6",
    ]  # fmt: skip
    assert [readable.share(*v) for v in ((1, 0), (0, 5), (1, 9999), (9999, 10_000), (1, 3))] == [
        "–", "0.0 %", "< 0.1 %", "> 99.9 %", "33.3 %",
    ]  # fmt: skip
    assert [readable.seconds(v) for v in (0.4, 12.34, 245, 7900)] == [
        "0.40 s", "12.3 s", "4 min 05 s", "2 h 11 min",
    ]  # fmt: skip
    assert readable.one_line("a\x1b[31m\n\u202eb\u2067") == "a�[31m �b�"
    assert readable.one_line("x" * 20, 5) == "xxxx…"


def test_a_missing_corpus_leaves_no_trace(tmp_path):
    fault("stats", str(tmp_path / "none"), "--html", str(tmp_path / "x.html"))
    assert list(tmp_path.iterdir()) == []
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_figure_is_cut_however_narrow_the_terminal(truth, width):
    stats = corpus_statistics(truth.path)
    columns = [ColumnFigures(name="regions", kind="regions", samples=180, values=1234567, bytes=2**40,
                             without={"image_undecodable": 17, "too_small": 123_456})]  # fmt: skip
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_statistics(stats, console)
    print_columns(columns, console)
    other = stats.model_copy(update={"samples": 1_234_567, "bytes": 3 * 2**40})
    print_comparison(compare(other, stats), console)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    figures = [readable.number(n) for n in (stats.samples, 1_234_567, 17, 123_456)]
    figures += ["1 TiB", "3 TiB", *(readable.number(reason.count) for reason in stats.rejects)]
    for name, found in stats.measures.items():
        values = (found.min, *found.quantiles.values(), found.max, found.mean)
        shown = {"p5", "p50", "p95"}
        kept = [found.min, found.max, found.mean, *(found.quantiles[key] for key in shown)]
        figures += [value_text(found.unit, value) for value in kept if value in values]
        assert all(word in text for word in MEASURES[name].title.split())
    words = " ".join(text.split())
    missing = [figure for figure in figures if figure not in words]
    assert not missing, (missing, text)


def test_figures_that_the_build_counted_are_not_counted_again(own):
    counted = corpus_statistics(own.path)
    assert counted.shard_list and counted.shard_list == read_head(own.path).shard_list.sha256
    stored = Path(own.path) / STATISTICS
    stored.parent.mkdir(exist_ok=True)

    def told(*more: str) -> tuple[int, int]:
        found = json.loads(said("stats", own.path, "--json", *more))
        return found["bytes"], found["samples"]

    def changed(**update: object) -> str:
        return counted.model_copy(update={"bytes": 7, **update}).to_json()

    whole = (counted.bytes, 180)
    stored.write_text(changed())
    assert told() == (7, 180) and told("--recount") == whole
    stored.unlink()
    assert told() == whole
    form = json.loads(changed())
    for unfit in (
        changed(shard_list="0"), changed(samples=8), "{", "[" * 100_000, "[]", "{}",
        json.dumps({**form, "format_version": form["format_version"] + 1}),
        json.dumps({**form, "figure_of_tomorrow": 1}),
    ):  # fmt: skip
        stored.write_text(unfit)
        assert told() == whole, unfit[:60]
    stored.write_text("{")
    refresh_report(own.path, {})
    assert (stored.parent / "report.html").exists()
