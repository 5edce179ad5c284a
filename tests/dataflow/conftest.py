"""Dataflow without an account: both services on this machine, an image, and a worker that runs it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.dataflow.container import UV, image_folder
from tests.dataflow.service import Service, cloud_storage

CHECKOUT = Path(__file__).parents[2]
DATAFLOW = CHECKOUT / "infra/dataflow"
BUCKET = "septet-test"


def may_hide() -> bool:
    """Whether folders can be hidden from a process here: it takes a mount namespace of its own."""
    tried = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]
    return shutil.which("unshare") is not None and not subprocess.run(tried).returncode


def write_credentials(path: Path, token_uri: str) -> None:
    """Write the key of a service account that gets its tokens at `token_uri`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    facts = {
        "type": "service_account",
        "project_id": "a-project",
        "client_email": "septet@a-project.iam.gserviceaccount.com",
        "private_key": key.private_bytes(encoding, kind, serialization.NoEncryption()).decode(),
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(facts))


class Worker:
    """A worker machine: a process of an image's Python, in an empty folder, from which the checkout
    and the folder of the one who launches are hidden."""

    def __init__(self, image: Path, folder: Path, environment: dict[str, str], hidden: list[Path]):
        python = [str(image / "venv/bin/python"), "-I", str(folder / "worker.py")]
        folder.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("worker.py"), folder / "worker.py")
        if may_hide():
            mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in hidden)
            shell = f'{mounts} && exec "$@"'
            python = [
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                shell,
                "-",
                *python,
            ]
        self.errors = folder / "stderr"
        set_by_image = dict(
            line.split("=", 1) for line in (image / "environment").read_text().splitlines()
        )
        self._process = subprocess.Popen(
            python,
            cwd=folder,
            env=environment | set_by_image,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
        )

    def run(self, job: dict[str, Any]) -> str | None:
        """Run a job; returns what went wrong."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            return f"the worker did not start:\n{self.errors.read_text()}"
        error: str | None = json.loads(answer)
        return error

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@dataclass
class Dataflow:
    """The two services, and workers for them."""

    folder: Path
    storage: str
    images: Path = field(init=False)
    launcher: Path = field(init=False)
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.images, self.launcher = self.folder / "images", self.folder / "launcher"
        self.launcher.mkdir()
        self.service = Service(self.run)
        self._workers: dict[str, Worker] = {}
        write_credentials(self.folder / "credentials.json", f"{self.service.url}/token")
        container = self.folder / "container"
        container.write_text(
            f'#!/bin/sh\nexec {sys.executable} {CHECKOUT}/tests/dataflow/container.py "$@"\n'
        )
        container.chmod(0o755)

    def environment(self, image: str = "") -> dict[str, str]:
        """The environment of a shell that has an image's programs, and knows nothing of the tests."""
        cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True)
        kept = (
            "LANG",
            "TMPDIR",
            "SSL_CERT_FILE",
            "UV_INDEX_URL",
            "UV_DEFAULT_INDEX",
            "PIP_INDEX_URL",
        )
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{image_folder(self.images, image) / 'venv/bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "UV_CACHE_DIR": cache.stdout.strip(),
            "STORAGE_EMULATOR_HOST": self.storage,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.folder / "credentials.json"),
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # the emulator has one kind of buckets
            "CONTAINER": str(self.folder / "container"),
            "IMAGES": str(self.images),
        }

    def run(self, request: dict[str, Any]) -> str | None:
        """Run a job that the service took, in the image that it names."""
        (pool,) = request["environment"]["workerPools"]
        image = pool["workerHarnessContainerImage"]
        if image not in self._workers:
            self._workers[image] = Worker(
                image_folder(self.images, image),
                self.folder / f"worker-{len(self._workers)}",
                self.environment(image),
                [CHECKOUT, self.launcher],
            )
        options = request["environment"]["sdkPipelineOptions"]["options"]
        booted = len(self.service.jobs) == 1  # the first of all
        return self._workers[image].run(
            {"pipeline": options["pipelineUrl"], "options": options, "booted": booted}
        )

    def launch(
        self, image: str, own: list[str], recipe: Path, *flags: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `launch.sh` as its README says, but for the service's address; `own` are flags of the
        script's, `flags` of `septet build`."""
        places = [
            "--project",
            "a-project",
            "--region",
            "europe-west4",
            "--bucket",
            f"gs://{BUCKET}",
        ]
        return self.shell(
            image,
            *[str(DATAFLOW / "launch.sh"), *places, "--image", image, *own, str(recipe)],
            *[f"--beam=--dataflow_endpoint={self.service.url}", *flags],
        )

    def shell(self, image: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of an image's as the one who launches."""
        return subprocess.run(
            command,
            cwd=self.launcher,
            env=self.environment(image),
            capture_output=True,
            text=True,
            timeout=400,
        )

    def upload(self, name: str, data: bytes) -> None:
        """Put a file into the bucket."""
        where = f"{self.storage}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name)}"
        urlopen(Request(where, data=data, method="POST")).close()

    def download(self, prefix: str, folder: Path) -> Path:
        """Copy the files below `prefix` into a folder."""
        where = f"{self.storage}/storage/v1/b/{BUCKET}/o"
        with urlopen(f"{where}?prefix={quote(prefix + '/')}") as answer:
            found = json.load(answer)
        for item in found.get("items", ()):
            path = folder / item["name"].removeprefix(prefix + "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with urlopen(f"{where}/{quote(item['name'], safe='')}?alt=media") as answer:
                path.write_bytes(answer.read())
        return folder

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def dataflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataflow]:
    """Both services, for all tests."""
    with cloud_storage(_free_port(), BUCKET) as storage:
        found = Dataflow(tmp_path_factory.mktemp("dataflow"), storage)
        with found.service:
            yield found
        found.close()
