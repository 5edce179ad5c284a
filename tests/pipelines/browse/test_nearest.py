"""Nearest images and captions, by embeddings that a small CLIP made."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from septet.pipelines.browse import nearest as nearest_module
from septet.pipelines.browse.nearest import search
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.columns.vectors import VectorColumn
from septet.preprocess.shards.reader import Corpus
from tests.browser import browser as browser
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.browse.serving import Visitor, served

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nearest")
    run_build(write_site(folder / "in", pages=12, images=12), folder / "corpus")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}})
    )
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(made.state_dict(), folder / "weights.pt")
    settings = {"model": f"local-dir:{folder}", "weights": str(folder / "weights.pt")}
    run_annotation(folder / "corpus", "clip", settings | {"text": True})
    return folder / "corpus"


def values(corpus: Path, array: str) -> dict[tuple[int, int], np.ndarray]:
    """Each sample's vector, read one at a time."""
    opened = Corpus(str(corpus))
    found = {}
    for number in range(len(opened.shards)):
        with ColumnShardReader(opened, "clip", number) as reader:
            for row in opened.rows(number).tolist():
                if data := reader.value(row):
                    found[number, row] = unpack_arrays(data)[array].astype(np.float32)
    return found


@pytest.mark.parametrize(("by", "of"), [("image", "image"), ("image", "text"), ("text", "text")])
def test_the_nearest_are_those_of_the_greatest_cosine(corpus: Path, by: str, of: str) -> None:
    opened = Corpus(str(corpus))
    vectors, place = values(corpus, of), (0, 1)
    query = values(corpus, by)[place]
    column = VectorColumn(opened, read_manifest(opened.path, "clip"), of)
    found = search(opened, column, query, opened.rows, place, 10)
    assert found.is_whole and found.compared == len(vectors) and found.samples == len(opened)
    scores = {one: float(vector @ query) for one, vector in vectors.items() if one != place}
    wanted = sorted(scores.values(), reverse=True)[:10]
    assert np.allclose([score for *_, score in found.near], wanted, atol=1e-6)
    for shard, row, score in found.near:
        assert abs(scores.pop((shard, row)) - score) < 1e-6, "each sample once, with its own cosine"


def test_the_condition_is_kept(corpus: Path, tmp_path: Path) -> None:
    tables = Tables(str(corpus), tmp_path)
    keep = "language == de"
    german = {(one.shard, one.row) for one in tables.page(keep, ["key"], limit=1000)}
    page = TestClient(Site(tables).app()).get("/samples/0/1/nearest", params={"keep": keep}).text
    assert f"<b>{len(german)}</b> images of {len(german)} samples that are kept were" in page
    near = {one for one in values(corpus, "image") if f"/samples/{one[0]}/{one[1]}?" in page}
    assert german - {(0, 1)} <= near <= german | {(0, 1)}


def test_a_search_that_takes_too_long_says_so(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_module, "SECONDS", -1.0)
    page = TestClient(Site(Tables(str(corpus), tmp_path)).app()).get("/samples/0/1/nearest").text
    assert "<b>0</b> images of 0 samples" in page and "there may be nearer ones" in page


def test_values_of_other_forms_are_passed_over(corpus: Path, tmp_path: Path) -> None:
    opened = Corpus(str(corpus))
    head = read_manifest(opened.path, "clip")
    column = VectorColumn(opened, head, "text")
    vectors = values(corpus, "text")
    rows = np.array([0, 1, 2, 5, 7])
    got = {
        int(r): v for some, part in column.shard(0, rows) for r, v in zip(some, part, strict=True)
    }
    assert [*got] == [0, 1, 2, 5, 7]
    assert all((got[row] == vectors[0, row].astype(np.float16)).all() for row in got)
    offsets, sizes = column._where(0)
    sizes[1], sizes[5] = 0, sizes[5] - 4  # nothing, and one that is cut
    got = {
        int(r): v for some, part in column.shard(0, rows) for r, v in zip(some, part, strict=True)
    }
    assert [*got] == [0, 2, 7] and (got[7] == vectors[0, 7].astype(np.float16)).all()
    offsets[7] = 10**9
    with pytest.raises(OSError, match="ends before"):
        list(column.shard(0, rows))
    for name in ("nothing", "key"):
        with pytest.raises(ValueError, match="no vectors"):
            VectorColumn(opened, head, name)


def test_addresses_of_what_is_nearest(corpus: Path, tmp_path: Path) -> None:
    client = TestClient(Site(Tables(str(corpus), tmp_path)).app())
    for query, status in [("", 200), ("?of=text", 200), ("?of=x", 400), ("?by=x", 400),
                          ("?column=nothing", 400), ("?keep=width+>+", 400)]:  # fmt: skip
        assert client.get(f"/samples/0/1/nearest{query}").status_code == status, query
    assert client.get("/samples/0/99999/nearest").status_code == 400


@pytest.fixture(scope="module")
def address(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(corpus, tmp_path_factory.mktemp("scratch")) as found:
        yield found


def test_from_a_sample_to_the_nearest(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    one.go("/samples/0/1")
    one.page.click("text=Nearest samples")
    count = len(values(corpus, "image"))
    assert one.text(".count").startswith(f"{count} images of {len(Corpus(str(corpus)))} samples")
    one.until("document.querySelector('.grid img')?.naturalWidth > 50")
    scores = [float(text) for text in one.page.locator(".grid small b").all_inner_texts()]
    assert scores == sorted(scores, reverse=True) and len(scores) == min(60, count - 1)
    one.page.select_option("select[name=of]", "text")
    one.page.click(".order button")
    one.page.wait_for_url("**of=text**")
    assert one.text(".count").startswith(f"{count} captions of")
    one.page.fill("#keep", "language == fr")
    one.page.keyboard.press("Enter")
    one.page.wait_for_url("**/nearest?keep=**")
    one.page.locator(".grid small a").first.click()
    assert "/nearest?" in one.page.url and one.page.input_value("#keep") == "language == fr"
    assert one.complaints == one.outside == []
