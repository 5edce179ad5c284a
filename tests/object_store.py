"""An object store on this machine (moto's S3 server), for tests of remote corpora."""

import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest


class Throttle:
    """A share of a store's requests that it answers as S3 does when there are too many: with 503
    SlowDown, at random. `answered` counts them."""

    def __init__(self, share: float, seed: int = 0):
        self.share, self.answered = share, 0
        self._random, self._lock = random.Random(seed), threading.Lock()

    def hits(self) -> bool:
        """Draw for one request."""
        with self._lock:
            hit = self._random.random() < self.share
            self.answered += hit
        return hit

    def call(self, application: Any, environ: dict[str, Any], start: Any) -> Any:
        """The WSGI application of a store that throttles."""
        if not self.hits():
            return application(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start("503 Slow Down", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]


@contextmanager
def object_store(throttle: Throttle | None = None) -> Iterator[str]:
    """Runs a store for the block, with settings for fsspec in the environment of this process and
    its children; gives the URL of an empty bucket."""
    from moto.moto_server import threaded_moto_server as moto

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    plain = moto.DomainDispatcherApplication
    with pytest.MonkeyPatch.context() as patch:
        if throttle:
            patch.setattr(
                moto,
                "DomainDispatcherApplication",
                lambda create: partial(throttle.call, plain(create)),
            )
        server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            environment.setenv(name, value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket = f"corpora-{secrets.token_hex(4)}"
        fs.mkdir(bucket)
        try:
            yield f"s3://{bucket}"
        finally:
            fsspec.filesystem("s3").clear_instance_cache()
            server.stop()


def upload(folder: Path, url: str) -> str:
    """Copy a folder's files into the store; returns `url`."""
    fs, plain = fsspec.url_to_fs(url)
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{plain}/{path.relative_to(folder)}", path.read_bytes())
    return url


def download(url: str, folder: Path) -> Path:
    """Copy the files below a URL of the store into a folder; returns the folder."""
    fs, plain = fsspec.url_to_fs(url, use_listings_cache=False)
    for name in fs.find(plain):
        path = folder / name.removeprefix(f"{plain}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fs.cat_file(name))
    return folder
