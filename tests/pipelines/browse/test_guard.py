"""Who may ask the server, and what it answers to mistakes."""

import csv
import html
import io
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from septet.pipelines.browse import database as database_module
from septet.pipelines.browse import outgoing
from septet.pipelines.browse.bars import both
from septet.pipelines.browse.database import QueryError
from septet.pipelines.browse.guard import Guard
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.pipelines.views.expressions import parse
from tests.corpora import run_build, write_site
from tests.object_store import object_store, upload
from tests.pipelines.browse.test_foreign import write_table

HOST = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("guard")
    run_build(write_site(folder / "in", pages=8, images=8), folder / "corpus")
    return Tables(str(folder / "corpus"), folder / "scratch")


@pytest.fixture
def client(tables: Tables) -> Iterator[TestClient]:
    with TestClient(Guard(Site(tables).app(), "secret", [HOST]), f"http://{HOST}") as client:
        yield client


def test_only_who_has_the_token_may_ask(client: TestClient) -> None:
    for path in ("/", "/samples", "/images/0/0", "/static/browse.js", "/?token=", "/?token=secre"):
        assert client.get(path).status_code == 403, path
    answer = client.get("/samples?keep=width+%3E+1&token=secret", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/samples?keep=width+%3E+1"
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client.get("/samples").status_code == 200
    assert set(client.cookies) == {"septet-browse-8000"}, "servers of other ports have others"


@pytest.mark.parametrize(
    "path", ["//elsewhere.example/?token=secret", "/%2F/elsewhere?token=secret"]
)
def test_the_token_never_leads_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(f"http://{HOST}{path}", follow_redirects=False)
    assert not answer.headers.get("location", "/").startswith("//")


@pytest.mark.parametrize("host", ["elsewhere.example:8000", "127.0.0.1", "127.0.0.1:80", ""])
def test_other_names_of_this_machine_are_refused(client: TestClient, host: str) -> None:
    client.get("/?token=secret")
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", [None, "null", "http://elsewhere.example", f"https://{HOST}"])
def test_no_other_page_can_save(client: TestClient, tables: Tables, origin: str | None) -> None:
    client.get("/?token=secret")
    headers = {"origin": origin} if origin else {}
    answer = client.post("/views", data={"name": "stolen", "keep": ""}, headers=headers)
    assert answer.status_code == 403
    assert client.get("/views?name=stolen").status_code == 405, "nothing is changed by GET"
    assert not (Path(tables.corpus.path) / "views").exists()


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in ("/nothing", "/?token=secret", "/", "/static/browse.css", "/images/0/0"):
        answer = client.get(path, follow_redirects=False)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


MALFORMED = [
    "width", "width >", "> 3", "width >> 3", "width > > 3", "width = = 3", "width in", "width in ,",
    "width in 1,", "width not", "width not 3", "width top", "width top 30", "width top 0%",
    "width top 101%", "width top x%", "width bottom -5%", "width and", "and", "or", "not", "()", "(",
    ")", "(width > 1", "width > 1)", "width > 1 language == de", "language == 'de", 'language == "de',
    "language == de and", "language == de or or width > 1", "width exists 3", "width missing not",
    "top 30%", "in de", "5 > width", "width > 1; DROP TABLE rejects", "width > (SELECT 1)",
    "width > 1 --", "read_csv('/etc/passwd') exists", "nothing > 1", "a.b.c > 1", "width == de",
    "caption contains", "caption not contains", "caption contains ,",
    "width contains 5", "caption contains a b", "language > 5", "caption top 5%", "width > 1 " * 101,
]  # fmt: skip


def test_more_words_than_a_condition_takes_are_told(client: TestClient) -> None:
    client.get("/?token=secret")
    answer = client.get("/samples", params={"find": "a " * 1000}, follow_redirects=False)
    assert answer.status_code == 400 and "a condition of" in answer.text


@pytest.mark.parametrize("keep", MALFORMED, ids=range(len(MALFORMED)))
def test_what_cannot_be_understood_is_told(client: TestClient, keep: str) -> None:
    client.get("/?token=secret")
    for path in ("/", "/samples"):
        answer = client.get(path, params={"keep": keep})
        assert answer.status_code == 400
        told = answer.text.split('role="alert">')[1].split("</p>")[0]
        assert len(told) > 20 and "Error" not in told and "Traceback" not in told
        assert any(
            word in told for word in ("expected", "field", "is a", "is ", "words", "of numbers")
        ), told


@pytest.mark.parametrize(
    ("path", "status"),
    [("/samples?page=0", 400), ("/samples?page=x", 400), ("/samples?page=99999", 200),
     ("/samples?sort=nothing", 400), ("/samples/0/99999", 400), ("/samples/99/0", 400),
     ("/images/99/0", 404), ("/images/0/99999", 404), ("/thumbnails/7/7", 404), ("/keys?key=zz", 400),
     ("/keys?key=", 400), ("/rejects/x/y", 200), ("/rejects/filter/too_short?cut=x", 400),
     ("/rejects/filter/too_short?cut=nan", 400), ("/static/../site.py", 404), ("/etc/passwd", 404)],
)  # fmt: skip
def test_addresses_that_lead_nowhere(client: TestClient, path: str, status: int) -> None:
    client.get("/?token=secret")
    assert client.get(path).status_code == status


def test_a_key_leads_to_its_sample(client: TestClient, tables: Tables) -> None:
    client.get("/?token=secret")
    key = tables.corpus.key(3)
    answer = client.get("/keys", params={"key": key[:20]})
    assert answer.status_code == 200 and key in answer.text


def test_a_question_that_takes_too_long_is_given_up(
    client: TestClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "QUERY_SECONDS", 0.2)
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = 3"
    with pytest.raises(QueryError, match=r"more than 0\.2 seconds"):
        tables.database.ask(endless)
    monkeypatch.undo()
    client.get("/?token=secret")
    assert client.get("/").status_code == 200, "the server lives on"


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_csv('/etc/passwd')", "COPY rejects TO '/tmp/rejects.csv'", "INSTALL httpfs",
     "SET enable_external_access = true", "ATTACH '/tmp/x.db'", "SELECT * FROM glob('/*')",
     "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')"],
)  # fmt: skip
def test_the_database_reaches_nothing_else(tables: Tables, sql: str) -> None:
    with pytest.raises(QueryError, match="cannot be read"):
        tables.database.ask(sql)


def test_a_corpus_that_was_changed_meanwhile_is_told(tables: Tables, tmp_path: Path) -> None:
    shutil.copytree(tables.corpus.path, tmp_path / "corpus")
    client = TestClient(Site(Tables(str(tmp_path / "corpus"), tmp_path / "scratch")).app())
    assert client.get("/").status_code == 200
    gone = tmp_path / "corpus" / tables.corpus.shards[0].sidecar
    gone.unlink()
    answer = client.get("/")
    assert answer.status_code == 503
    assert f"{gone} is not there" in answer.text and "start it again" in answer.text


def test_a_long_condition_is_told_by_the_place(client: TestClient) -> None:
    client.get("/?token=secret")
    keep = "caption == " + "'" + "x" * 5000 + "' and and"
    told = client.get("/", params={"keep": keep}).text.split('role="alert">')[1].split("</p>")[0]
    assert "found &#39;and&#39;" in told and len(told) < 600


def test_each_sample_is_in_one_bar_of_each_chart(tables: Tables) -> None:
    opened = tables.corpus
    parts = [opened.metadata(number) for number in range(len(opened.shards))]
    rows = [row for part in parts for row in part.to_pylist()]
    for keep, kept in (("", rows), ("language == de", [r for r in rows if r["language"] == "de"])):
        found = tables.spread(["language", "caption_from"], ["width", "language_score"], keep)
        assert found.samples == len(kept) > 0
        for name, values in found.facets.items():
            assert dict(values) == Counter(row[name] for row in kept)
            assert [n for _, n in values] == sorted((n for _, n in values), reverse=True)
        for name, bins in found.numbers.items():
            for place, count in enumerate(bins.counts):
                low, high = bins.edges[place], bins.edges[place + 1]
                last = place == len(bins.counts) - 1
                inside = [r for r in kept if low <= r[name] < high or (last and r[name] >= high)]
                assert len(inside) == count, (name, place)
    assert tables.spread(["language"], ["width"], "width < 0").numbers == {}


def test_a_corpus_on_an_object_store(tables: Tables, tmp_path: Path) -> None:
    with object_store() as bucket:
        upload(Path(tables.corpus.path), f"{bucket}/corpus")
        site = Site(Tables(f"{bucket}/corpus", tmp_path))
        client = TestClient(site.app())
        for path in ("/", "/samples?sort=width", "/samples/0/1", "/rejects/filter/too_short"):
            answer = client.get(path)
            assert answer.status_code == 200, path
        here = TestClient(Site(tables).app()).get("/images/0/1")
        assert client.get("/images/0/1").content == here.content and here.status_code == 200


def test_conditions_are_joined() -> None:
    assert both("", "a > 1") == both("a > 1", "") == "a > 1"
    for one, other in [("a > 1 or b > 1", "c > 1"), ("a>1 or(b>1)", "c > 1"), ("a > 1", "c > 1")]:
        assert parse(both(one, other)).word == "and" and len(parse(both(one, other)).parts) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("typed", "keep"),
    [("red boat", 'caption contains "red" and caption contains "boat"'), ("中文", 'caption contains "中文"'),
     ('"old harbour" e\u0301t', 'caption contains "old harbour" and caption contains "\xe9t"'),
     ('a"b', 'caption contains "a" and caption contains "b"'), ("it's (or", 'caption contains "it\'s" and caption contains "(or"')],
)  # fmt: skip
def test_words_become_a_condition(client: TestClient, typed: str, keep: str) -> None:
    client.get("/?token=secret")
    for path in ("/", "/samples"):
        query = {"find": typed, "keep": "width > 1", "sort": "width", "path": "x"}
        answer = client.get(path, params=query, follow_redirects=False)
        assert answer.status_code == 303
        where = urlsplit(answer.headers["location"])
        assert where.path == path
        told = parse_qs(where.query)
        assert told == {"keep": [f"width > 1 and {keep}"], "sort": ["width"], "path": ["x"]}
        assert client.get(path, params=query).status_code == 200


@pytest.mark.parametrize("keep", ["", "language == de", "width < 0", "width top 30%"])
def test_ids_go_out(
    client: TestClient, tables: Tables, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_ROWS_AT_ONCE", 20)
    client.get("/?token=secret")
    kept = tables.page(keep, ["key"], limit=10_000)
    shards = tables.corpus.shards
    rows = [(one.facts["key"], shards[one.shard].tar, one.row) for one in kept]
    answer = client.get("/ids.csv", params={"keep": keep})
    assert "attachment" in answer.headers["content-disposition"]
    told = list(csv.reader(io.StringIO(answer.text)))
    assert told[0] == ["key", "shard", "row"]
    assert [(key, tar, int(row)) for key, tar, row in told[1:]] == rows
    answer = client.get("/ids.parquet", params={"keep": keep})
    table = pq.read_table(io.BytesIO(answer.content))
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert table.column_names == ["key", "shard", "row"]
    for path in ("/ids.csv", "/ids.parquet"):
        assert client.get(path, params={"keep": "width >"}).status_code == 400


def test_the_shell_is_told_the_same(client: TestClient, tables: Tables) -> None:
    client.get("/?token=secret")
    keep = "language in de, 'fr' and caption contains \"it's\""
    page = html.unescape(client.get("/", params={"keep": keep}).text)
    line = next(one for one in page.splitlines() if "septet curate" in one).split(">")[-1]
    assert shlex.split(line) == [
        "septet", "curate", tables.corpus.label, "--keep", keep, "--name", "NAME",
    ]  # fmt: skip


def test_no_id_is_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    keys = ["=1+1", "+1", "-1", "@sum(a1)", "a=1", "a"]
    site = TestClient(
        Site(Tables(str(write_table(tmp_path / "in", {"key": keys})), tmp_path)).app()
    )
    told = list(csv.reader(io.StringIO(site.get("/ids.csv").text)))
    kept = pq.read_table(pa.BufferReader(site.get("/ids.parquet").content))["key"].to_pylist()
    assert sorted(kept) == sorted(keys), "Parquet has them as they are"
    assert [row[0] for row in told[1:]] == [f"'{one}" if one[0] in "=+-@" else one for one in kept]
