"""What a sample's page draws and tells: its graph, its codes, its rules, and what models say."""

import base64
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser
from safetensors.torch import save_file
from starlette.testclient import TestClient

import septet
from septet.pipelines.browse import database
from septet.pipelines.browse.child import Child, ChildError
from septet.pipelines.browse.drawing import codes_of, read_value
from septet.pipelines.browse.graphs import MOST_NODES, lay_out
from septet.pipelines.browse.measured import measure
from septet.pipelines.browse.models import Decoder, Trained
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.preprocess.annotators.codes import decoded
from septet.preprocess.codes.vqgan import Vqgan, VqganSettings
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.preprocess.weights import read_state
from septet.schemas.tables import REJECTS
from tests.browser import browser as browser
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.browse.serving import TOKEN, Visitor, served
from tests.trainers.conftest import TINY
from tests.trainers.test_cli import call


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built corpus with duplicates and image codes."""
    folder = tmp_path_factory.mktemp("sample")
    run_build(write_site(folder / "in", pages=12, images=12), folder / "corpus")
    torch.manual_seed(3)
    sizes = VqganSettings(32, (1, 1), 1, (), 8, 8, 64, gumbel=False)
    save_file(Vqgan(sizes).state_dict(), folder / "vqgan.safetensors")
    chosen = {"weights": str(folder / "vqgan.safetensors"), "size": 32}
    run_annotation(folder / "corpus", "codes", chosen)
    key = Corpus(str(folder / "corpus")).key(0)
    gone = {"stage": "curate", "source": "a", "extra": None}
    rows = [
        {**gone, "id": "0" * 32, "reason": "duplicate_image", "value": key, "caption": "<b>copy"},
        {**gone, "id": "1" * 32, "reason": "near_duplicate_text", "value": f"{key}, 0.9", "caption": None},
        {**gone, "id": key, "stage": "dedup", "reason": "duplicate_pair", "value": "x", "caption": "y"},
        {**gone, "id": key, "reason": "too_small", "value": key, "caption": "no duplicate"},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, REJECTS), folder / "corpus/rejects/more.parquet")
    return folder / "corpus"


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP that was trained on it for a step."""
    out = tmp_path_factory.mktemp("run") / "clip"
    changes = [part for change in (*TINY, "train.workers=0") for part in ("--set", change)]
    found = call("clip", corpus, *changes, "--steps", "1", "--out", out)
    assert found.exit_code == 0, found.output
    return out


@pytest.fixture(scope="module")
def address(corpus: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("scratch")
    with served(
        corpus, scratch, None, Trained(str(run), scratch), str(corpus.parent / "vqgan.safetensors")
    ) as found:
        yield found


def test_codes_are_drawn_and_decoded_where_asked(
    browser: Browser, address: str, corpus: Path
) -> None:
    one = Visitor(browser, address)
    asked: list[str] = []
    one.page.on("request", lambda request: asked.append(request.url))
    one.go("/samples/0/0")
    one.until("document.querySelector('.codes img').naturalWidth > 100")
    assert not any("/codes/image/" in url for url in asked), "decoded when asked for alone"
    assert (
        "view 0" in one.page.locator("figure label", has_text="codes").locator("+ ul").inner_text()
    )
    one.page.click("summary:has-text('Decoded')")
    one.until("document.querySelector('details .codes img').naturalWidth === 32")
    _, data = read_value(Corpus(str(corpus)), "codes", 0, 0)
    codes = codes_of(data)[0]
    state = read_state(str(corpus.parent / "vqgan.safetensors"))
    wanted = decoded(Vqgan.from_state(state, decoder=True), codes)
    answer = one.page.request.get(f"{address}/codes/image/codes/0/0/0")
    found = np.asarray(Image.open(io.BytesIO(answer.body())))
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert one.page.request.get(f"{address}/codes/image/codes/0/0/1").status == 404
    drawn = one.page.request.get(f"{address}/codes/false/codes/0/0/0").body()
    shown = septet.show(str(corpus), 0)._repr_html_()
    assert base64.b64encode(drawn).decode() in shown, "in a notebook, too"
    assert one.complaints == one.outside == []


def test_codes_that_cannot_be_decoded_are_told(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")
    decoder = Decoder(str(other))
    head = read_manifest(str(corpus), "codes")
    assert "not those that the column was made by" in decoder.unfit(head)
    assert "--codes WEIGHTS" in Decoder(None).unfit(head)
    assert Decoder(str(corpus.parent / "vqgan.safetensors")).unfit(head) == ""
    older = head.model_copy(update={"models": {}})
    assert decoder.unfit(older) == "", "whose head does not say which weights it was made by"
    notes = head.member.model_copy(update={"notes": {"tokenizer": "<dvae>"}})
    assert "of a <dvae>, which" in decoder.unfit(head.model_copy(update={"member": notes}))
    site = TestClient(Site(Tables(str(corpus), tmp_path / "scratch"), codes=str(other)).app())
    page = site.get("/samples/0/0").text
    assert "the weights of --codes are not those" in page and "/codes/image/" not in page
    refused = site.get("/codes/image/codes/0/0/0")
    assert refused.status_code == 404 and "not those that the column" in refused.text
    other.unlink()
    assert "no such file" in Decoder(str(other)).unfit(head)
    with pytest.raises(ChildError, match=r"other\.safetensors"):
        decoder.png([[1]])
    decoder.end()
    decoder = Decoder(str(corpus.parent / "vqgan.safetensors"))
    with pytest.raises(ChildError, match="the codebook has 64 codes"):
        decoder.png([[64]])
    assert decoder.png([[63] * 4] * 4)[:4] == b"\x89PNG", "the same process goes on"
    decoder.end()
    with pytest.raises(ChildError, match="--codes WEIGHTS"):
        Decoder(None).png([[1]])


def test_a_model_is_asked_when_a_person_says_so(browser: Browser, address: str, run: Path) -> None:
    one = Visitor(browser, address)
    one.go("/samples/0/1")
    caption = one.text("blockquote")
    one.page.click(f"text=Ask {run}")
    one.page.fill(".task input[name=text]", f"{caption}|something else")
    one.page.click(".task button")
    one.page.wait_for_selector(".answer")
    assert one.text(".answer").startswith("match ") and "score 0." in one.text(".answer")
    one.page.fill(".task input[name=text]", "|")
    one.page.click(".task button")
    one.page.wait_for_selector("[role=alert]")
    assert one.page.request.get(f"{address}/answers/7").status == 404
    assert one.dialogs == one.outside == []


def test_any_answer_of_a_model_is_shown(browser: Browser, corpus: Path, tmp_path: Path) -> None:
    """Of a model's process that answers what it is told to, whatever it is asked."""
    about = {"model": "x", "preset": "y", "tasks": {"find": {
        "meaning": "<b>finds", "needs": ["image"], "may": [], "gives": "boxes", "text": "", "language": "",
    }}}  # fmt: skip
    answer = {"text": "<i>two", "score": "nan", "size": [200, 100], "boxes": [
        {"box": [20, 10, 120, 60], "label": "a dog"}, {"box": [9, 9, 9, 9], "label": ""},
        {"box": ["nan", 0, "inf", 1], "label": "<b>odd"}]}  # fmt: skip
    code = (
        "import sys\nfor line in sys.stdin: "
        f"print({json.dumps(about)!r} if line == '{{}}\\n' else {json.dumps(answer)!r}, flush=True)"
    )
    model = Trained("runs/<b>one", tmp_path)
    model._child = Child([sys.executable, "-c", code], 60)
    with served(corpus, tmp_path, None, model) as address:
        one = Visitor(browser, address)
        one.go("/samples/0/0/model")
        one.page.click(".task button")
        one.page.wait_for_selector(".answer")
        box = one.page.locator(".picture .layer rect")
        sides = [float(box.get_attribute(name) or "") for name in ("x", "y", "width", "height")]
        assert sides == [10, 10, 50, 50], "the one that has an area and a place"
        told = one.text(".answer")
        assert told.startswith("find <i>two") and "score nan" in told
        assert "a dog 20, 10, 120, 60" in told and "<b>odd nan, 0, inf, 1" in told
        assert one.complaints == one.outside == []


def test_a_child_that_fails_is_told_and_started_anew(tmp_path: Path) -> None:
    code = "import sys\nfor line in sys.stdin: print(line, end='', flush=True) if 'a' in line else sys.exit('no such <b>thing')"
    child = Child(["python3", "-c", code], 20)
    assert child.ask({"a": 1}) == child.ask({"a": 1}) == {"a": 1}
    with pytest.raises(ChildError, match="no such <b>thing"):
        child.ask({"b": 1})
    assert child.ask({"a": 2}) == {"a": 2}
    with pytest.raises(ChildError, match="it is sad"):
        child.ask({"error": "it is sad"})
    slow = Child(["sleep", "60"], 0.3)
    with pytest.raises(ChildError, match=r"within 0\.3 seconds"):
        slow.ask({})
    child.end()
    nothing = Trained(str(tmp_path), tmp_path)
    with pytest.raises(ChildError, match=r"run\.json does not exist"):
        nothing.about()
    nothing.end()


def test_duplicates_and_what_rules_measured(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    one.go("/samples/0/0")
    told = one.text("section[aria-label=Duplicates]")
    assert "3 went for this sample" in told and "<b>copy" in told and "no duplicate" not in told
    caption = Corpus(str(corpus)).metadata(0)["caption"][0].as_py()
    rules = one.page.locator("section[aria-label='What rules measured'] tr").all_inner_texts()
    assert f"too_long\t{len(caption)}\tat most 1000 characters" in rules
    one.page.keyboard.press("n")
    one.page.wait_for_url("**/samples/0/1")


def test_rules_of_any_recipe() -> None:
    facts = {"caption": "A dog", "url": "x", "original_width": 300, "original_height": 100,
             "original_bytes": 500, "language": "en"}  # fmt: skip
    recipe = {"filter": {"min_words": 3, "own_rules": [{"rule": "antigravity:Rule"}],
                         "stop_list": "/etc/passwd", "max_capitals": 0.1},
              "curate": {"min_side": 128, "max_aspect_ratio": 3.0, "min_bytes": None}}  # fmt: skip
    found = {one.setting: (one.value, one.passes) for one in measure(recipe, facts)}
    assert found["min_words"] == ("2", False) and found["min_side"] == ("100", False)
    assert found["max_aspect_ratio"] == ("3.0", True)
    assert found.keys() == {"min_words", "max_capitals", "min_side", "max_aspect_ratio"}
    assert measure(None, facts) == measure({"filter": 7}, facts) == []
    assert measure(recipe, {"caption": None}) == []
    with pytest.raises(ValueError):
        measure({"filter": {"min_words": "many"}}, facts)


@settings(max_examples=40)
@given(
    st.integers(1, 14).flatmap(
        lambda n: st.tuples(
            st.lists(st.sampled_from(["dog", "a very long name of a thing that is cut", "狗" * 9, ""]),
                     min_size=n, max_size=n),
            st.lists(st.tuples(st.integers(0, n - 1), st.just("on"), st.integers(0, n - 1)), max_size=24),
        )
    )
)  # fmt: skip
def test_nodes_of_any_graph_stand_apart(
    graph: tuple[list[str], list[tuple[int, str, int]]],
) -> None:
    names, relations = graph
    things = [(name, name[:3] if number % 2 else "", False) for number, name in enumerate(names)]
    drawn = lay_out(things, relations)
    assert [node.text for node in drawn.nodes] == names and len(drawn.edges) == len(relations)
    assert drawn == lay_out(things, relations)
    for number, one in enumerate(drawn.nodes):
        assert one.x >= 0 and one.x + one.width <= drawn.width
        assert one.y >= 0 and one.y + one.height <= drawn.height
        for other in drawn.nodes[number + 1 :]:
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert apart or one.y + one.height < other.y or other.y + other.height < one.y
    for edge in drawn.edges:
        assert 0 <= edge.x <= drawn.width and 0 <= edge.y <= drawn.height


def test_edges_point_down_and_many_nodes_are_cut() -> None:
    drawn = lay_out([(name, "", False) for name in "abcd"], [(0, "x", 1), (1, "y", 2), (0, "z", 2)])
    assert [node.y for node in drawn.nodes[:3]] == sorted({node.y for node in drawn.nodes[:3]})
    many = lay_out([("x", "", False)] * 5000, [(i, "to", i + 1) for i in range(4999)])
    assert (len(many.nodes), many.given) == (MOST_NODES, 5000)
    assert lay_out([], []).nodes == []


def _connected(host: str, port: int) -> socket.socket:
    """A connection to a server that is starting."""
    for _ in range(200):
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("the server does not start")


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Makes the page of samples ask what has no end; told when that begins, and when it ends."""
    begun, ended = threading.Event(), threading.Event()

    def count(tables: Tables, keep: str = "") -> int:
        begun.set()
        try:
            tables.database.ask(
                "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = 3"
            )
        finally:
            ended.set()
        return 0

    monkeypatch.setattr(Tables, "count", count)
    monkeypatch.setattr(database, "QUERY_SECONDS", 150.0)
    return begun, ended


def test_who_leaves_is_not_worked_for(
    corpus: Path, tmp_path: Path, endless: tuple[threading.Event, threading.Event]
) -> None:
    begun, ended = endless
    with served(corpus, tmp_path) as address:
        host, port = address.removeprefix("http://").split(":")
        with _connected(host, int(port)) as leaving:
            head = f"GET /samples HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: septet-browse-{port}={TOKEN}\r\n\r\n"
            leaving.sendall(head.encode())
            assert begun.wait(60)
            assert not ended.is_set()
        assert ended.wait(120), "before the most time that a question has"


def test_what_runs_long_is_shown_and_stopped(
    browser: Browser,
    corpus: Path,
    tmp_path: Path,
    endless: tuple[threading.Event, threading.Event],
) -> None:
    """Through the protocol of Chromium's tools: playwright waits for the page that is on its way."""
    begun, ended = endless
    with served(corpus, tmp_path) as address:
        one = Visitor(browser, address)
        one.go("/rejects")  # where nothing else is to be clicked on below the bar
        send = one.page.context.new_cdp_session(one.page).send

        def click(x: float, y: float) -> None:
            for kind in ("mousePressed", "mouseReleased"):
                send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})  # fmt: skip

        def escape() -> None:
            # Without a window Chromium does not end loading by itself, and lets a page do so where
            # a person did something within the last seconds: Escape does not count.
            for key in ("Shift", "Escape"):
                for kind in ("keyDown", "keyUp"):
                    send("Input.dispatchKeyEvent", {"type": kind, "key": key})

        middle = "(one) => { const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }"
        link = one.page.eval_on_selector("nav a[href='/samples']", middle)
        one.page.evaluate("document.querySelector('#runs').hidden = false")
        button = one.page.eval_on_selector("#runs button", middle)
        one.page.evaluate("document.querySelector('#runs').hidden = true")
        one.page.evaluate(
            "window.noted = []; const bar = document.querySelector('#runs');"
            "new MutationObserver(() => noted.push(bar.hidden)).observe(bar, {attributes: true})"
        )
        for stop in (escape, lambda: click(*button)):
            begun.clear()
            ended.clear()
            click(*link)
            assert begun.wait(60) and not ended.is_set()
            for _ in range(200):  # nothing comes of it until the bar is there
                stop()
                if ended.wait(0.3):
                    break
            assert ended.is_set(), "before the most time that a question has"
            assert one.page.evaluate("noted.splice(0)") == [False, True], "shown, and hidden again"
            assert one.page.url == f"{address}/rejects"
        click(*link)
        one.go("/")
        assert "samples" in one.text(".count")
        assert one.outside == []


def test_a_view_saved_here_trains_on_its_samples_alone(
    browser: Browser, address: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Visitor(browser, address)
    one.page.fill("#keep", "language in de, fr")
    one.page.keyboard.press("Enter")
    one.page.wait_for_url("**keep=**")
    one.page.fill("input[name=name]", "to-train")
    one.page.click(".save button")
    one.page.wait_for_url("**/views")
    view = Corpus(f"{corpus}@to-train")
    wanted = {view.key(index) for index in range(len(view))}
    assert 0 < len(wanted) < len(Corpus(str(corpus)))
    seen: list[str] = []
    read = ShardReader.read

    def noted(shard: ShardReader, row: int, *more: object, **named: object) -> dict[str, bytes]:
        seen.append(shard.key(row))
        return read(shard, row, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardReader, "read", noted)
    changes = [part for change in (*TINY, "train.workers=0") for part in ("--set", change)]
    steps = len(wanted) // 16 + 2
    found = call(
        "clip", f"{corpus}@to-train", *changes, "--steps", steps, "--out", tmp_path / "run"
    )
    assert found.exit_code == 0, found.output
    assert set(seen) == wanted
