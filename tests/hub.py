"""A server that answers what `huggingface_hub`'s file system asks of the Hub, for one repository of
data on this machine. Written from the client's requests; the Hub itself was never asked."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A repository `datasets/NAME` of the files in a folder.

    `hits` counts requests by the first words of their paths.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.hits: Counter[str] = Counter()
        self.url = ""

    def entry(self, path: Path) -> dict[str, Any]:
        """A file or folder as the Hub's trees have it."""
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "size": 0, "oid": SHA}
        data = path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return {"type": "file", "path": name, "size": len(data), "oid": oid}

    def tree(self, below: str, recursive: bool) -> list[dict[str, Any]]:
        """The entries below a folder."""
        folder = self.folder / below
        found = folder.rglob("*") if recursive else folder.iterdir()
        return [self.entry(path) for path in sorted(found)]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def answer(self, data: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def tell(self, value: Any, status: int = 200, **headers: str) -> None:
            self.answer(json.dumps(value).encode(), status, Content_Type="application/json", **headers)  # fmt: skip

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            path, query = unquote(address.path), parse_qs(address.query)
            api, data = f"/api/datasets/{hub.name}", f"/datasets/{hub.name}/resolve/"
            if path == api or path.startswith(f"{api}/revision/"):
                hub.hits["repository"] += 1
                self.tell({"id": hub.name, "sha": SHA, "private": False, "siblings": []})
            elif found := re.fullmatch(f"{re.escape(api)}/tree/[^/]+/?(.*)", path):
                hub.hits["tree"] += 1
                if not (hub.folder / found[1]).is_dir():
                    self.tell({"error": "no such entry"}, 404, X_Error_Code="EntryNotFound")
                else:
                    recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
                    self.tell(hub.tree(found[1], recursive))
            elif path.startswith(data):
                self.file(path.removeprefix(data).partition("/")[2])
            else:
                self.tell({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

        do_HEAD = do_GET

        def file(self, name: str) -> None:
            hub.hits["file"] += 1
            data, tag = (hub.folder / name).read_bytes(), hub.entry(hub.folder / name)["oid"]
            headers = {"ETag": f'"{tag}"', "X_Repo_Commit": SHA, "Accept_Ranges": "bytes"}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self.answer(data, **headers)
                return
            start = int(wanted[1])
            stop = min(int(wanted[2]) + 1 if wanted[2] else len(data), len(data))
            part = data[start:stop]
            self.answer(part, 206, Content_Range=f"bytes {start}-{stop - 1}/{len(data)}", **headers)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size).decode()
            if "/paths-info/" not in self.path:
                self.tell({"error": "not found"}, 404)
                return
            hub.hits["paths-info"] += 1
            is_json = "json" in self.headers.get("Content-Type", "")
            names = json.loads(body)["paths"] if is_json else parse_qs(body)["paths"]
            paths = [hub.folder / name for name in ([names] if isinstance(names, str) else names)]
            self.tell([hub.entry(path) for path in paths if path.exists()])

    return Handler


@contextmanager
def served_hub(name: str, folder: Path) -> Iterator[Hub]:
    """Serve a folder as a repository of data until the block ends; `HF_ENDPOINT` is for `url`."""
    hub = Hub(name, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
