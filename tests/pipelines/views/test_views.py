"""A view stands for its samples wherever a corpus is asked for."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from rich.console import Console
from typer.testing import CliRunner

import septet
from septet.pipelines.annotate.check import check_columns
from septet.pipelines.annotate.work import NOT_IN_VIEW
from septet.pipelines.cli import main
from septet.pipelines.report.gallery import sample_cards
from septet.pipelines.report.page import report_page
from septet.pipelines.report.show import resolve_key
from septet.pipelines.report.statistics import known_statistics
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.export import export_tars
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.views import split_view
from septet.schemas.versioned import ManifestError
from septet.trainers.commands.export import export
from tests.corpora import digests, run_annotation
from tests.pipelines.takedown.corpora import WORDS, built, records, same_image, taken_down

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("views"))


@pytest.fixture
def corpus(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "corpus"))


def at(corpus: Path, view: str) -> Path:
    return Path(f"{corpus}@{view}")


def test_conditions_choose_samples_without_touching_them(corpus: Path) -> None:
    before, known = digests(corpus), records(corpus)
    (view,) = septet.curate(
        corpus, "wide", keep=["original_width >= 305", "language in de, fr or language == zh"]
    )
    expected = {
        k for k, one in known.items()
        if one["original_width"] >= 305 and one.get("language") in ("de", "fr", "zh")
    }  # fmt: skip
    assert 3 < len(expected) < len(known) and set(records(at(corpus, "wide"))) == expected
    assert (view.given, view.samples) == (len(known), len(expected))
    assert view.keep[0].samples == sum(one["original_width"] >= 305 for one in known.values())
    added = {f"views/wide/{name}" for name in ("view.json", "ids.npy", "places.npy")}
    assert {k: v for k, v in digests(corpus).items() if k not in added} == before
    # DataComp's form: what reads its subsets reads these, and the other way round.
    ids = np.load(corpus / "views/wide/ids.npy")
    assert ids.dtype == np.dtype("u8,u8") and (np.sort(ids) == ids).all()
    assert {f"{a:016x}{b:016x}" for a, b in ids.tolist()} == expected
    opened = septet.open(at(corpus, "wide"))
    assert [opened.key(i) for i in range(len(opened))] == sorted(expected)
    assert all(opened.find(key) == i for i, key in enumerate(sorted(expected)))
    with pytest.raises(KeyError):
        opened.find(min(set(known) - expected))
    listed = corpus.parent / "some.npy"
    np.save(listed, ids[::2])
    assert set(records(at(corpus, str(listed)))) == set(sorted(expected)[::2])
    septet.curate(at(corpus, "wide"), "narrower", keep=["height missing or original_width >= 312"])
    assert set(records(at(corpus, "narrower"))) == {
        k for k in expected if known[k]["original_width"] >= 312
    }  # fmt: skip


def test_shares_are_taken_within_languages_of_scores_in_columns(corpus: Path) -> None:
    known = records(corpus)
    (view,) = septet.curate(corpus, "best", keep=["words_words top 40%"], by="language")
    kept, chosen = set(records(at(corpus, "best"))), 0
    for language in {one.get("language") for one in known.values()} - {"de"}:  # which has no words
        mine = {k: len(one["caption"].split()) for k, one in known.items()
                if one.get("language") == language}  # fmt: skip
        best, chosen = kept & set(mine), chosen + int(0.4 * len(mine) + 0.5)
        assert len(best) == int(0.4 * len(mine) + 0.5)
        assert not best or min(mine[k] for k in best) >= max(mine[k] for k in set(mine) - best)
    assert view.samples == len(kept) == chosen > 3


def test_a_share_is_held_out_by_image_and_stays_so(corpus: Path) -> None:
    known = records(corpus)
    test, val, rest = septet.curate(corpus, "all", split={"test": 0.2, "val": 0.3})
    parts = [set(records(at(corpus, name))) for name in ("all-test", "all-val", "all")]
    assert set().union(*parts) == set(known) and sum(map(len, parts)) == len(known)
    assert all(map(len, parts)) and (test.part, val.part, rest.part) == ("test", "val", None)
    images = [{key[:16] for key in part} for part in parts]
    assert not images[0] & images[1] and not (images[0] | images[1]) & images[2]
    septet.curate(corpus, "de", keep=["language == de"], split={"test": 0.2, "val": 0.3})
    assert set(records(at(corpus, "de-test"))) <= parts[0]
    assert set(records(at(corpus, "de"))) <= parts[2]


def test_every_command_takes_a_view(corpus: Path, tmp_path: Path) -> None:
    septet.curate(corpus, "some", keep=["language in de, en"], out=tmp_path / "elsewhere")
    shutil.move(tmp_path / "elsewhere/some", corpus / "views/some")
    view, known = at(corpus, "some"), records(at(corpus, "some"))
    assert septet.check(view, decode=True) == [] == septet.check(corpus)
    found = known_statistics(str(view))
    assert found.samples == len(known)
    assert {one.value for one in found.categories["language"].values} == {"de", "en"}
    (column,) = found.columns or []
    assert column.samples == len(known) and set(column.languages) == {"de", "en"}
    page = report_page(str(view), found).decode()
    drawn = {card.key for card in sample_cards(Corpus(str(view)), 100, 7)}
    assert drawn == set(known) and all(key in page for key in list(known)[:5])
    others = set(records(corpus)) - set(known)
    with pytest.raises(SystemExit) as ended:
        main(["show", str(view), min(known)])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["show", str(view), min(others)])
    assert ended.value.code == 2
    # A column of a view has values of its samples alone.
    run_annotation(view, WORDS, name="few")
    manifest = read_manifest(str(corpus), "few")
    assert manifest.counts[NOT_IN_VIEW] == len(others)
    assert check_columns(str(corpus), QUIET) == []
    assert run_annotation(corpus, WORDS, name="few").counts.get(NOT_IN_VIEW) is None
    # Plain tars, which webdataset reads.
    result = CliRunner().invoke(_app(), [str(view), str(tmp_path / "tars"), "--samples-per-tar", "7",
                                         "--column", "words"])  # fmt: skip
    assert result.exit_code == 0, result.output
    tars = sorted(map(str, (tmp_path / "tars").glob("*.tar")))
    assert len(tars) == -(-len(known) // 7)
    samples = {one["__key__"]: one for one in wds.WebDataset(tars, shardshuffle=False)}
    assert {key: json.loads(one["json"]) for key, one in samples.items()} == known
    assert any(any("words" in ext for ext in one) for one in samples.values())
    again = CliRunner().invoke(_app(), [str(view), str(tmp_path / "tars")])
    assert again.exit_code == 1 and "holds tars already" in again.output
    for own in (corpus, corpus / "views" / "../new"):
        with pytest.raises(ValueError, match="belongs to the corpus"):
            export_tars(Corpus(str(view)), str(own))


def _app() -> object:
    import typer

    app = typer.Typer()
    app.command()(export)
    return app


def test_a_removed_sample_leaves_views_too(corpus: Path, tmp_path: Path) -> None:
    known = records(corpus)
    septet.curate(corpus, "all")
    key = sorted(known)[11]
    (tmp_path / "keys.txt").write_text(key)
    taken_down(corpus, ids=tmp_path / "keys.txt")
    left = set(known) - same_image(known, key)
    assert set(records(at(corpus, "all"))) == left
    assert septet.check(at(corpus, "all")) == []
    (view,) = septet.curate(corpus, "later", keep=["caption exists"])
    assert view.given == len(left) and set(records(at(corpus, "later"))) == left
    septet.remove(corpus, compact=True)
    assert set(records(at(corpus, "all"))) == left == set(records(at(corpus, "later")))
    assert septet.check(at(corpus, "all")) == []


def test_what_cannot_be_a_view_is_told(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"has no field 'with'; it has: .*words\.words"):
        septet.curate(corpus, "x", keep=["with > 3"])
    for name in ("3", "a/b", "nan", "", "../x"):
        with pytest.raises(ValueError, match="cannot be the name of a view"):
            septet.curate(corpus, name)
    with pytest.raises(ValueError, match=r"a-long-part' cannot be the name of a view: .* most 100"):
        septet.curate(corpus, "a" * 90, split={"a-long-part": 0.5})
    assert not (corpus / "views").exists()
    with pytest.raises(ValueError, match="leave a rest"):
        septet.curate(corpus, "x", split={"val": 0.5, "test": 0.5})
    with pytest.raises(ManifestError, match=r"has no view 'best' \(it has none\)"):
        Corpus(f"{corpus}@best")
    with pytest.raises(SystemExit) as ended:
        main(["curate", str(corpus), "--keep", "language == de", "--name", "german"])
    assert ended.value.code == 0 and "view german" in capsys.readouterr().err
    septet.curate(corpus, "none", keep=["width < 0"])
    with pytest.raises(ValueError, match=r"@none has no sample whose key is .* \(0 samples\)$"):
        resolve_key(Corpus(f"{corpus}@none"), "0")  # a key outside the view is not told
    (corpus / "views/german/ids.npy").write_bytes(b"no array")
    with pytest.raises(ManifestError, match="no list of ids"):
        Corpus(f"{corpus}@german")
    out = io.BytesIO()
    np.save(out, np.array([(2, 1), (1, 1)], "u8,u8"))
    (corpus.parent / "odd.npy").write_bytes(out.getvalue())
    with pytest.raises(ManifestError, match="not sorted"):
        Corpus(f"{corpus}@{corpus.parent}/odd.npy")
    assert any("views/german" in fault for fault in septet.check(corpus))


def test_a_path_is_split_only_where_a_corpus_is(corpus: Path) -> None:
    assert split_view(f"{corpus}@x") == (str(corpus), "x")
    for path in (str(corpus), f"{corpus}@2", f"{corpus}@0.5", f"{corpus}@x@2", "no@where"):
        assert split_view(path) == (path, None)
    odd = Path(shutil.copytree(corpus, corpus.parent / "a@b"))
    assert split_view(str(odd)) == (str(odd), None)
    assert split_view(f"{odd}@x") == (str(odd), "x")


def test_a_view_is_opened_by_places_without_reading_keys(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    septet.curate(corpus, "some", keep=["original_width >= 305"])
    head = corpus / "views/some/view.json"
    told = json.loads(head.read_text())

    def opened() -> tuple[list[list[int]], int]:
        view = Corpus(str(at(corpus, "some")))
        return [view.rows(n).tolist() for n in range(len(view.shards))], len(view)

    with monkeypatch.context() as patch:
        patch.setattr("septet.preprocess.shards.reader.read_sidecar", None)
        by_places = opened()
    # A view of an earlier version tells no places; nor do those of other shards count.
    old = {k: v for k, v in told.items() if k not in ("format_minor", "places_sha256")}
    for other in (old, told | {"shard_list": "another"}):
        head.write_text(json.dumps(other))
        assert opened() == by_places
    head.write_text(json.dumps(told))
    places = np.load(corpus / "views/some/places.npy")
    assert len(places) == by_places[1] > 3
    for wrong in (places[:-1], places[::-1], places + 1, places.astype("i4"), places * 10**6):
        np.save(corpus / "views/some/places.npy", wrong)
        with pytest.raises(ManifestError, match=r"places\.npy is not the list that view\.json"):
            opened()
    (corpus / "views/some/places.npy").unlink()
    with pytest.raises(ManifestError, match=r"places\.npy cannot be read"):
        opened()


def test_a_name_that_another_view_has_is_not_written_over(corpus: Path) -> None:
    septet.curate(corpus, "all", split={"val": 0.3})
    before = digests(corpus)
    septet.curate(corpus, "all", split={"val": 0.3})
    assert digests(corpus) == before
    for name, more in (
        ("all", {}), ("all", {"split": {"val": 0.2}}), ("all-val", {}),
        ("all", {"split": {"val": 0.3}, "keep": ["width > 3"]}),
        ("all", {"split": {"val": 0.3}, "by": "language"}),
    ):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"has a view all(-val)? that was chosen otherwise \(all\)"
        ):
            septet.curate(corpus, name, **more)
    with pytest.raises(ValueError, match="chosen otherwise"):
        septet.curate(at(corpus, "all"), "all", split={"val": 0.3})
    assert digests(corpus) == before
    septet.curate(corpus, "all", keep=["width > 300"], force=True)
    with pytest.raises(
        ValueError, match=r"chosen otherwise \('width > 300'\): give another --name"
    ):
        septet.curate(corpus, "all", split={"val": 0.3})
