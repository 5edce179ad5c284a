"""Whole builds of images from a local server: Septet beside img2dataset and Daft.

    python -m benchmarks.fetch [--quick] [--images N] [--rounds N] [--only NAME …]

Each fetches the same URLs from the same server on this machine, decodes, resizes to 256 pixels on
the short side and writes shards: `septet build`, img2dataset's command (two processes of 64
threads, webdataset), and Daft's expressions written as Parquet (it writes no tars). The images are
JPEGs of 1024x768, 200 kB each; all of Septet's guards are on. Over https the certificate is of an
authority that stands behind the machine's own in one bundle.

In turns, whole commands, set-up included; the set-up alone is the time of the same command for one
image. The ratios are medians of the rounds', with their spread. CPU is that of the command and all
its processes, without the server's. `make peers` installs the peers; img2dataset's 1.47.0 makes a
TLS context a connection on Python 3.11, newer ones need not.
"""

import argparse
import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.growth import looked_at
from benchmarks.images import made_image

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv" / "peers"
SERVED = 50
SMALL = 200
DAFT = """
import os
import sys
import daft
from daft import col
from daft.functions import decode_image, download, encode_image, resize
rows = daft.read_parquet(sys.argv[1])
image = decode_image(download(col("url"), max_connections=64, on_error="null"), on_error="null")
rows = rows.with_column("jpg", encode_image(resize(image, 341, 256), "jpeg")).exclude("url")
written = rows.where(col("jpg").not_null()).write_parquet(sys.argv[2])
print(daft.read_parquet(sys.argv[2] + "/**").count_rows(), flush=True)
os._exit(0)  # 0.7.26 may crash while Python ends
"""


@dataclass(frozen=True)
class Spent:
    """What one command took: wall seconds, and CPU seconds of all its processes."""

    seconds: float
    cpu: float


@contextlib.contextmanager
def server(images: Path, certificate: Path | None) -> Iterator[int]:
    """The port of a server of a folder's images, a process of its own."""
    command = [sys.executable, "-m", "benchmarks.image_server", str(images)]
    command += [str(certificate)] if certificate else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 with its key, and the machine's bundle of authorities with the one
    that issued it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now, key = datetime.datetime.now(datetime.UTC), ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    known = ssl.get_default_verify_paths().cafile
    (folder / "server.pem").write_bytes(made + private)
    (folder / "bundle.pem").write_bytes((Path(known).read_bytes() if known else b"") + made)
    return folder / "server.pem", folder / "bundle.pem"


def make_list(folder: Path, images: int, origin: str) -> Path:
    """A list of so many URLs with captions, as Parquet."""
    numbers = range(images)
    rows = {
        "url": [f"{origin}/{n}.jpg" for n in numbers],
        "caption": [f"An image of a harbour, number {n}" for n in numbers],
    }
    path = folder / f"{images}.parquet"
    pq.write_table(pa.table(rows), path)
    return path


def timed(command: list[str], log: Path, bundle: Path) -> Spent:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; shows what it said.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SSL_CERT_FILE": str(bundle),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "DO_NOT_TRACK": "1",
    }
    start = time.monotonic()
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=said,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        cpu: dict[int, float] = {}  # of each process: who waits for whom differs by peer
        while process.poll() is None:
            cpu |= {pid: used for pid, (_, used) in looked_at(process.pid).items()}
            time.sleep(0.1)
    seconds = time.monotonic() - start
    if process.returncode:
        told = log.read_text()[-3000:]
        raise SystemExit(f"{command[0]} ended with status {process.returncode}:\n{told}")
    return Spent(seconds, sum(cpu.values()))


def septet(rows: Path, folder: Path, bundle: Path) -> Spent:
    """Build with Septet; checks that every image became a sample."""
    origin = pq.read_table(rows, columns=["url"])["url"][0].as_py().rsplit("/", 1)[0]
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"name: fetched\nsources: [{{kind: list, paths: ['{rows}']}}]\n"
        f"fetch: {{allowed_hosts: ['{origin.split('//')[1]}'], per_host: 128, concurrency: 64}}\n"
        "curate: {identical_images: keep_all}\nwrite: {samples_per_shard: 1000}\n"
    )
    command = [sys.executable, "-m", "septet", "build", str(recipe), "--out", str(folder / "c")]
    spent = timed(command, folder / "said", bundle)
    head = json.loads((folder / "c" / "corpus.json").read_text())
    _require("Septet", head["samples"], rows)
    return spent


def img2dataset(rows: Path, folder: Path, bundle: Path) -> Spent:
    """Build with img2dataset; checks likewise."""
    out = folder / "c"
    command = [
        str(PEERS / "img2dataset/bin/img2dataset"), "--url_list", str(rows), "--input_format",
        "parquet", "--url_col", "url", "--caption_col", "caption", "--output_format", "webdataset",
        "--output_folder", str(out), "--processes_count", "2", "--thread_count", "64",
        "--image_size", "256", "--resize_mode", "keep_ratio", "--number_sample_per_shard", "1000",
    ]  # fmt: skip
    spent = timed(command, folder / "said", bundle)
    done = sum(json.loads(path.read_text())["successes"] for path in out.glob("*_stats.json"))
    _require("img2dataset", done, rows)
    return spent


def daft(rows: Path, folder: Path, bundle: Path) -> Spent:
    """Build with Daft; checks likewise."""
    python = str(PEERS / "daft/bin/python")
    spent = timed([python, "-c", DAFT, str(rows), str(folder / "c")], folder / "said", bundle)
    _require("Daft", int((folder / "said").read_text().split()[-1]), rows)
    return spent


def _require(who: str, done: int, rows: Path) -> None:
    wanted = pq.read_metadata(rows).num_rows
    if done != wanted:
        raise SystemExit(f"{who} stored {done} images of {wanted}")


Builder = Callable[[Path, Path, Path], Spent]


def run(builder: Builder, rows: Path, folder: Path, bundle: Path) -> Spent:
    """Run one build in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return builder(rows, folder, bundle)


def compare(
    name: str, peer: Builder, rows: Path, one: Path | None, rounds: int, bundle: Path
) -> None:
    """Run Septet and a peer in turns on one list, and print what they took, and the ratio."""
    images, folder = pq.read_metadata(rows).num_rows, rows.parent / "build"
    told: dict[str, list[Spent]] = {"septet": [], peer.__name__: []}
    for _ in range(rounds):
        for builder in (septet, peer):
            told[builder.__name__].append(run(builder, rows, folder, bundle))
    for builder in (septet, peer):
        spent = told[builder.__name__]
        walls = ", ".join(f"{each.seconds:.1f} s" for each in spent)
        milliseconds = 1e3 * statistics.median(each.cpu for each in spent) / images
        set_up = f", set-up {run(builder, one, folder, bundle).seconds:.1f} s" if one else ""
        print(
            f"{name:<28}{builder.__name__:<12}{images:>6,} images: {walls}; "
            f"{milliseconds:.1f} ms of CPU an image{set_up}",
            flush=True,
        )
    pairs = zip(told[peer.__name__], told["septet"], strict=True)
    ratios = sorted(theirs.seconds / ours.seconds for theirs, ours in pairs)
    print(
        f"ratio {name} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    names = ["build_200_vs_img2dataset", "fetch_http_vs_img2dataset", "fetch_https_vs_img2dataset",
             "fetch_http_vs_daft"]  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="300 images, one round")
    parser.add_argument("--images", type=int, help="images of a build (5000)")
    parser.add_argument("--rounds", type=int, help="builds of each kind (3)")
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="these ratios")
    options = parser.parse_args()
    images = options.images or (300 if options.quick else 5000)
    rounds = options.rounds or (1 if options.quick else 3)
    print(f"Python {sys.version.split()[0]}, load before: {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        served = folder / "served"
        served.mkdir()
        for n in range(SERVED):
            (served / f"{n:03d}.jpg").write_bytes(made_image(1024, 768, n))
        certificate, bundle = certify(folder)
        for name in options.only:
            scheme = "https" if "https" in name else "http"
            with server(served, certificate if scheme == "https" else None) as port:
                origin = f"{scheme}://127.0.0.1:{port}"
                count = SMALL if "200" in name else images
                one = None if "200" in name else make_list(folder, 1, origin)
                rows = make_list(folder, count, origin)
                peer = daft if "daft" in name else img2dataset
                compare(name, peer, rows, one, rounds, bundle)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
