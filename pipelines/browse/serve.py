"""The server of `septet browse`, on this machine's loopback address alone."""

import secrets
import socket
import tempfile
import webbrowser
from pathlib import Path

import uvicorn
from rich.console import Console

from septet.pipelines.browse.comparing import open_tables
from septet.pipelines.browse.guard import Guard
from septet.pipelines.browse.models import Trained
from septet.pipelines.browse.site import Site
from septet.preprocess import files

_ADDRESS = "127.0.0.1"


def serve(
    corpus: str, port: int, open_page: bool, run: str | None = None, codes: str | None = None,
    beside: str | None = None,
) -> None:  # fmt: skip
    """Serve the pages of a corpus until the process is stopped.

    Args:
        corpus: The corpus, or PATH@VIEW.
        port: The port; 0 for any free one.
        open_page: Whether this machine's browser is asked to show the first page.
        run: The folder or URL of a run whose model can be asked.
        codes: A file of the weights by which image codes are decoded.
        beside: Another corpus, or PATH@VIEW, that it is compared with.

    Raises:
        ValueError: there is no such corpus, view, run or file, or the port cannot be had.
    """
    console = Console(stderr=True)
    if run is not None and not files.exists(files.join(run, "run.json")):
        raise ValueError(f"--run {run}: there is no run.json; give the folder of a run")
    if codes is not None and not files.exists(codes):
        raise ValueError(f"--codes {codes}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="septet-browse-") as scratch, socket.socket() as sock:
        tables, compared = open_tables(corpus, beside, Path(scratch))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((_ADDRESS, port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"--port {port}: {error}") from error
        chosen = sock.getsockname()[1]
        token = secrets.token_urlsafe(24)
        hosts = [f"{name}:{chosen}" for name in (_ADDRESS, "localhost")]
        site = Site(tables, Trained(run, Path(scratch)) if run else None, codes, compared)
        app = Guard(site.app(), token, hosts)
        link = f"http://{_ADDRESS}:{chosen}/?token={token}"
        console.print(f"{link}\nstop it with Ctrl+C", soft_wrap=True, highlight=False, markup=False)
        if open_page:
            webbrowser.open(link)
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, ws="none", timeout_graceful_shutdown=2
        )
        try:
            uvicorn.Server(config).run(sockets=[sock])
        finally:
            site.end()
