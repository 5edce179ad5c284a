"""robots.txt as it is asked for, kept and kept to, over real sockets."""

import asyncio
import gzip
import json
from collections import Counter

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.http.robots import MAX_BYTES, read_robots, read_tdmrep
from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, fetch_list, quick

FILES = {"/a.jpg": IMAGE, "/private/a.jpg": IMAGE, "/b.png": IMAGE}


@pytest.fixture
def server():
    with HostileServer(FILES) as running:
        yield running


def polite(server, **changes):
    return quick(server, **{"robots": "respect", **changes})


def outcomes(server, paths, policy, sites=None):
    """Reason and value of each path, "" where the image came."""
    found = fetch_list([server.url(path) for path in paths], policy, sites)
    by_path = {result.url.split(server.host)[1]: result for result in found}
    assert len(by_path) == len(paths)
    return [
        (by_path[path].reason, by_path[path].value) if by_path[path].reason else ""
        for path in paths
    ]


def answering(text, status=200, **headers):
    async def answer(request):
        return web.Response(body=text, status=status, headers=headers)

    return answer


GOOD, BAD = "/a.jpg", "/private/a.jpg"
REFUSED = ("robots", "/private/a.jpg")


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (b"User-agent: *\nDisallow: /private/", "", REFUSED),
        (b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /private/\r\n", "", REFUSED),
        (b"user-agent: SEPTET\ndisallow: /private\n\nUser-agent: *\nDisallow: /", "", REFUSED),
        (b"User-agent: Septet/1.0\nDisallow: /private", "", REFUSED),
        (b"User-agent: sept\nDisallow: /", "", ""),
        (b"User-agent: septet-images\nDisallow: /", "", ""),
        (b"User-agent: other\nUser-agent: septet\nDisallow: /private # secret", "", REFUSED),
        (b"User-agent: *\nDisallow: /*/a.jpg$", "", REFUSED),
        (b"User-agent: *\nDisallow: /private\nAllow: /private/a.jpg", "", ""),
        (b"User-agent: *\nDisallow: /\nAllow: /a.jpg", "", REFUSED),
        (b"User-agent: *\nDisallow: /%70rivate/", "", REFUSED),
        (b"Disallow: /", "", ""),
        (b"", "", ""),
        (b"<html><body>Not here</body></html>", "", ""),
        (bytes(range(256)) * 40, "", ""),
        (b"User-agent: *\nDisallow: /private\n" + b"# x\n" * MAX_BYTES, "", REFUSED),
        (b"# y\n" * (MAX_BYTES // 4) + b"User-agent: *\nDisallow: /private\n", "", ""),
        (b"User-agent: *\nDisallow: /private\n" + b"User-agent: a%d\n" * 20_000, "", REFUSED),
        (b"User-agent: *\nDisallow: /private\nDisallow: /a" + b"*a" * 3000 + b"b$", "", REFUSED),
    ],
)  # fmt: skip
def test_rules(server, text, good, bad):
    server.answers["/robots.txt"] = answering(text)
    assert outcomes(server, [GOOD, BAD], polite(server)) == [good, bad]
    assert server.rules["/robots.txt"] == 1
    assert server.hits == Counter([path for path, had in ((GOOD, good), (BAD, bad)) if not had])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_without_robots_all_is_allowed(server, status):
    server.answers["/robots.txt"] = answering(b"User-agent: *\nDisallow: /", status)
    assert outcomes(server, [GOOD, BAD], polite(server)) == ["", ""]
    assert server.rules["/robots.txt"] == 1


@pytest.mark.parametrize(("before", "bad"), [(1, REFUSED), (MAX_BYTES, "")])
def test_of_a_compressed_file_the_first_part_counts(server, before, bad):
    text = b"#" * before + b"\nUser-agent: *\nDisallow: /private\n" + b"# x\n" * 10 * MAX_BYTES
    packed = answering(gzip.compress(text), **{"Content-Encoding": "gzip"})
    server.answers["/robots.txt"] = packed
    assert outcomes(server, [GOOD, BAD], polite(server)) == ["", bad]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_where_robots_cannot_be_had_nothing_is_asked(server, status):
    server.answers["/robots.txt"] = answering(b"", status)
    lost = ("robots_unreachable", str(status))
    assert outcomes(server, [GOOD, BAD], polite(server, retries=2)) == [lost, lost]
    assert server.rules["/robots.txt"] == 3 and not server.hits
    policy = polite(server, retries=2, robots_unreachable="allow")
    assert outcomes(server, [GOOD, BAD], policy) == ["", ""]
    assert server.rules["/robots.txt"] == 6


def test_robots_that_come_at_a_second_try(server):
    tries = []

    async def answer(request):
        tries.append(request)
        busy = {"status": 503, "headers": {"Retry-After": "0"}}
        return (
            web.Response(**busy)
            if len(tries) < 3
            else web.Response(text="User-agent: *\nDisallow: /private")
        )

    server.answers["/robots.txt"] = answer
    assert outcomes(server, [GOOD, BAD], polite(server, retries=2, backoff=99)) == ["", REFUSED]


async def hang(request):
    await asyncio.sleep(60)


async def drip(request):
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"#")
        await asyncio.sleep(0.02)


async def reset(request):
    request.transport.abort()
    await asyncio.sleep(1)


async def cut(request):
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"User-agent: *")
    request.transport.close()
    await asyncio.sleep(1)


async def no_http(request):
    request.transport.write(b"\0\1SSH-2.0\r\n\r\n")
    request.transport.close()
    await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        (hang, ("robots_unreachable", "timeout: first_byte")),
        (drip, ("robots_unreachable", "timeout: total")),
        (cut, ("robots_unreachable", "truncated: 13")),
        (no_http, ("robots_unreachable", "protocol: the first line is no status line")),
        (reset, ("connect", "disconnected")),
        (answering(b"\x1f\x8bx", **{"Content-Encoding": "gzip"}), ("robots_unreachable", "truncated: 3 of the gzip stream")),
        (answering(b"", 302, Location="http://127.0.0.2:1/robots.txt"), ("robots_unreachable", "address: 127.0.0.2")),
        (answering(b"", 302, Location="file:///etc/passwd"), ("robots_unreachable", "scheme: file")),
    ],
)  # fmt: skip
def test_robots_that_break(server, answer, lost):
    server.answers["/robots.txt"] = answer
    policy = polite(server, first_byte_timeout=0.5, total_timeout=1.2, retries=0, concurrency=1)
    assert outcomes(server, [GOOD, BAD], policy) == [lost, lost]
    assert not server.hits
    allowing = polite(server, **{**policy.model_dump(), "robots_unreachable": "allow"})
    assert outcomes(server, [GOOD, BAD], allowing) == ["", ""]


def test_redirects_to_other_hosts_bring_the_rules_of_the_first(server):
    with HostileServer(
        {"/rules": b"User-agent: *\nDisallow: /private", "/private/a.jpg": b"x"}
    ) as other:
        there = other.url("/hops/4?to=/rules", host="localhost")
        server.answers["/robots.txt"] = answering(b"", 301, Location=there)
        policy = polite(server, allowed_hosts=["localhost", "127.0.0.1"])
        assert outcomes(server, [GOOD, BAD], policy) == ["", REFUSED]
        assert other.hits["/rules"] == 1
        found = fetch_list([other.url("/private/a.jpg")], policy)
        assert [result.body for result in found] == [b"x"], "it has no rules of its own"
        server.answers["/robots.txt"] = answering(b"", 301, Location="/hops/9?to=/rules")
        assert outcomes(server, [GOOD, BAD], policy) == ["", ""], "too many redirects: no rules"


def test_where_a_redirect_leads_is_asked_first_too(server):
    with HostileServer({"/secret.jpg": IMAGE}) as other:
        other.answers["/robots.txt"] = answering(b"User-agent: *\nDisallow: /secret")
        policy = polite(server, allowed_hosts=["127.0.0.1"])
        [found] = fetch_list([server.url("/redirect", other.url("/secret.jpg"))], policy)
        assert (found.reason, found.value) == ("robots", "/secret.jpg")
        assert not other.hits
        [found] = fetch_list([server.url("/redirect", server.url("/a.jpg"))], policy)
        assert found.body == IMAGE


def test_robots_are_asked_for_once_however_many_wait(server):
    async def slow(request):
        await asyncio.sleep(0.1)
        return web.Response(text="User-agent: *\nDisallow: /private")

    server.answers["/robots.txt"] = slow
    urls = [server.url(f"/a.jpg?{n}") for n in range(40)] + [
        server.url(f"{BAD}?{n}") for n in range(40)
    ]
    found = Counter(result.reason for result in fetch_list(urls, polite(server)))
    assert found == {None: 40, "robots": 40}
    assert server.rules["/robots.txt"] == 1


def test_what_was_said_is_kept_for_a_while(server, tmp_path):
    server.answers["/robots.txt"] = answering(b"User-agent: *\nDisallow: /private")
    for hours, asked in ((24, 1), (24, 1), (0, 2), (24, 2)):
        policy = polite(server, robots_hours=hours)
        assert outcomes(server, [GOOD, BAD], policy, str(tmp_path)) == ["", REFUSED]
        assert server.rules["/robots.txt"] == asked
    [kept] = tmp_path.glob("*/*.json")
    assert json.loads(kept.read_text())["origin"] == f"http://{server.host}"
    kept.write_text("{")
    assert outcomes(server, [GOOD, BAD], polite(server), str(tmp_path)) == ["", REFUSED]
    assert server.rules["/robots.txt"] == 3


def test_what_could_not_be_had_is_not_kept(server, tmp_path):
    server.answers["/robots.txt"] = answering(b"", 503)
    lost = ("robots_unreachable", "503")
    assert outcomes(server, [GOOD], polite(server, retries=0), str(tmp_path)) == [lost]
    del server.answers["/robots.txt"]
    assert outcomes(server, [GOOD], polite(server), str(tmp_path)) == [""]


# Files that reserve rights.

FORBIDDEN = ("opt_out", "tdmrep.json")


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (b'[{"location": "/private/", "tdm-reservation": 1}]', "", FORBIDDEN),
        (b'\xef\xbb\xbf[{"location": "*", "tdm-reservation": 1, "tdm-policy": "https://e.org/"}]', FORBIDDEN, FORBIDDEN),
        (b'[{"location": "/*.jpg$", "tdm-reservation": 1}, {"location": "/private/a.jpg", "tdm-reservation": 0}]', FORBIDDEN, ""),
        (b'[{"location": "private", "tdm-reservation": "1"}]', "", FORBIDDEN),
        (b'[{"location": "/private", "tdm-reservation": 0}]', "", ""),
        (b'[{"location": 3, "tdm-reservation": 1}, 4, null, {"tdm-reservation": 1}]', "", ""),
        (b'{"location": "/private", "tdm-reservation": 1}', "", FORBIDDEN),
        (b"[" * 100_000, "", ""),
        (b"<html></html>", "", ""),
    ],
)  # fmt: skip
def test_tdmrep(server, text, good, bad):
    server.answers["/.well-known/tdmrep.json"] = answering(text)
    policy = polite(server, opt_out_files=["tdmrep.json"])
    assert outcomes(server, [GOOD, BAD], policy) == [good, bad]
    assert server.rules == {"/robots.txt": 1, "/.well-known/tdmrep.json": 1}
    assert server.hits.total() == [good, bad].count("")


def test_ai_txt(server):
    server.answers["/ai.txt"] = answering(
        b"# Spawning AI\nUser-Agent: *\nDisallow: *.jpg\nAllow: *.png"
    )
    policy = polite(server, opt_out_files=["ai.txt"])
    assert outcomes(server, [GOOD, "/b.png"], policy) == [("opt_out", "ai.txt"), ""]
    server.answers["/ai.txt"] = answering(b"User-Agent: *\nDisallow: /", 503)
    assert outcomes(server, [GOOD, "/b.png"], policy) == ["", ""]


def test_files_that_robots_disallow_are_not_asked_for(server):
    server.answers["/robots.txt"] = answering(b"User-agent: *\nDisallow: /\nAllow: /*.jpg")
    policy = polite(server, opt_out_files=["tdmrep.json", "ai.txt"])
    assert outcomes(server, [GOOD, "/b.png"], policy) == ["", ("robots", "/b.png")]
    assert server.rules == {"/robots.txt": 1}


def test_nothing_is_asked_for_where_nothing_is_kept_to(server):
    server.answers["/robots.txt"] = answering(b"User-agent: *\nDisallow: /")
    assert outcomes(server, [GOOD, BAD], quick(server)) == ["", ""]
    assert not server.rules


# Who asks.


def test_no_public_host_is_asked_without_a_contact(server):
    policy = polite(server)
    for url in ("http://example.org/a.jpg", "http://8.8.8.8/a.jpg"):
        [found] = fetch_list([url], policy)
        assert (found.reason, found.value) == ("no_contact", url.split("/")[2])
    [found] = fetch_list([server.url("/redirect", "http://example.org/a.jpg")], policy)
    assert (found.reason, found.value) == ("no_contact", "example.org")


def test_the_contact_is_sent(server):
    assert outcomes(server, [GOOD], polite(server, contact="https://e.org/bot")) == [""]
    for path in ("/robots.txt", "/a.jpg"):
        assert server.headers[path]["User-Agent"] == "Septet/0.1 (+https://e.org/bot)"
    assert polite(server, user_agent="Mine/1 (crawler@e.org)").has_contact
    assert not polite(server, user_agent="Mine/1 (a crawler)").has_contact


lines = st.lists(
    st.sampled_from(["User-agent: *", "User-agent: septet", "Disallow: /a", "Allow: /*b$", "Disallow:", "Sitemap: x", "Crawl-delay: 1e9", "\x0cDisallow /", "user agent septet", ":", "Disallow: %zz*"])
    | st.text(max_size=20),
    max_size=12,
)  # fmt: skip


@given(st.binary(max_size=200) | lines.map(lambda some: "\n".join(some).encode()))
def test_any_bytes_are_rules(data):
    for rules in (read_robots(data, "septet"), read_tdmrep(data)):
        assert rules.allows("http://e.org/a/b?c=%20") in (True, False)
        assert rules.crawl_delay >= 0


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["location", "tdm-reservation", "x"]), one)))  # fmt: skip
def test_any_json_is_tdmrep(value):
    rules = read_tdmrep(json.dumps(value).encode())
    assert rules.allows("http://e.org/a/b?c=%20") in (True, False)
