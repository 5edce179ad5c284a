"""One build from servers whose robots.txt forbids, breaks, hangs or never ends: each image ends in
its reject, and the build ends."""

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from aiohttp import web

from septet.preprocess.http.robots import MAX_BYTES
from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer

FORBID = b"User-agent: *\nDisallow: /"


def said(body: bytes = b"", status: int = 200, **headers: str):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def hang(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"#")
        await asyncio.sleep(0.02)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(FORBID + b"\n")
    while True:
        await response.write(b"# and so on\n" * 1000)


TDM = {"tdmrep.json": "/.well-known/tdmrep.json", "ai.txt": "/ai.txt"}
SERVERS = {
    "forbids": ("/robots.txt", said(FORBID), "robots"),
    "with a byte-order mark": ("/robots.txt", said(b"\xef\xbb\xbf" + FORBID), "robots"),
    "never ends": ("/robots.txt", endless, "robots"),
    "as long as is read": ("/robots.txt", said(b"#\n" * (MAX_BYTES // 2 - 20) + FORBID), "robots"),
    "hangs": ("/robots.txt", hang, "robots_unreachable"),
    "drips": ("/robots.txt", drip, "robots_unreachable"),
    "is busy": ("/robots.txt", said(status=429, **{"Retry-After": "3600"}), "robots_unreachable"),
    "fails": ("/robots.txt", said(status=500), "robots_unreachable"),
    "leads inside": ("/robots.txt", said(status=302, Location="http://10.0.0.1/"), "robots_unreachable"),
    "leads in circles": ("/robots.txt", said(status=302, Location="/robots.txt"), None),
    "is forbidden itself": ("/robots.txt", said(FORBID, 403), None),
    "reserves": (TDM["tdmrep.json"], said(b'[{"location": "/", "tdm-reservation": 1}]'), "opt_out"),
    "reserves images": (TDM["ai.txt"], said(b"User-Agent: *\nDisallow: *.jpg"), "opt_out"),
    "hangs with reservations": (TDM["tdmrep.json"], hang, None),
}  # fmt: skip


def test_each_server_has_its_outcome(tmp_path: Path) -> None:
    hosts: dict[str, str] = {}
    with ExitStack() as stack:
        with (tmp_path / "a.jsonl").open("w") as file:
            for number, (name, (path, answer, _)) in enumerate(SERVERS.items()):
                images = {f"/{n}.jpg": random_image(10 * number + n) for n in range(2)}
                server = stack.enter_context(HostileServer(images))
                server.answers[path] = answer
                hosts[server.host] = name
                for image in images:
                    row = {"url": server.url(image), "caption": f"An image of {number} {image}"}
                    file.write(json.dumps(row) + "\n")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "name: rules\nsources: [{kind: list, paths: [a.jsonl]}]\n"
            f"fetch: {{allowed_hosts: {json.dumps([*hosts])}, first_byte_timeout: 1, "
            "total_timeout: 3, retries: 1, contact: a@example.org}\n"
        )
        result = run_build(recipe, tmp_path / "corpus")
    lost = Counter(
        (hosts[row["image_url"].split("/")[2]], row["reason"])
        for row in rows(tmp_path / "corpus", "rejects")
    )
    assert lost == {(name, reason): 2 for name, (*_, reason) in SERVERS.items() if reason}
    assert result.manifest.samples == 2 * len(SERVERS) - lost.total()
