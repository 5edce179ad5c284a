"""Is a corpus what its manifest says?"""

import io
import zlib
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from rich.console import Console
from rich.progress import track

from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus, Sample, ShardReader
from septet.preprocess.shards.tar import TarError, index_tar
from septet.schemas.columns import ColumnShard
from septet.schemas.layout import is_image
from septet.schemas.manifest import Shard


def check_corpus(path: str, decode: bool, console: Console) -> list[str]:
    """All faults of a corpus, a line each.

    Checked are: digests and sizes of tars and sidecars, that each tar read by itself gives the
    sidecar's keys and members, checksums of members, and that no key stands twice.

    Args:
        path: The corpus folder.
        decode: Decode every image member, too.
        console: For a progress bar.
    """
    corpus = Corpus(path)
    faults: list[str] = []
    owners: dict[str, str] = {}
    for number in track(
        range(len(corpus.shards)), description="check", console=console, transient=True
    ):
        shard = corpus.shards[number]
        try:
            faults += list(_check_shard(corpus, number, decode))
            for key in corpus.shard(number).keys.to_pylist():
                if key in owners:
                    faults.append(f"{shard.sidecar}: key {key!r} stands in {owners[key]} as well")
                owners[key] = shard.sidecar
        except (OSError, ValueError) as error:
            faults.append(f"{shard.tar}: {error}")
    return faults


def _check_shard(corpus: Corpus, number: int, decode: bool) -> Iterator[str]:
    shard: Shard = corpus.shards[number]
    yield from check_digests(corpus.path, shard)
    sidecar = corpus.metadata(number, ["key", "members"])
    if len(sidecar) != shard.samples:
        yield f"{shard.sidecar}: {len(sidecar)} rows, the manifest says {shard.samples}"
    if corpus.manifest.sorted_keys:
        keys = sidecar["key"]
        if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
            yield f"{shard.sidecar}: keys do not ascend"
    yield from check_index(corpus.path, shard, sidecar)
    for row, sample in read_checked(corpus.shard(number)):
        if isinstance(sample, str):
            yield f"{shard.tar}: row {row}: {sample}"
            continue
        for ext, data in sample.items():
            if decode and is_image(ext) and (fault := _decode_fault(data)):
                yield f"{shard.tar}: row {row}: {ext} does not decode: {fault}"


def check_digests(path: str, shard: Shard | ColumnShard) -> Iterator[str]:
    """Whether a shard's files have the digests of their manifest."""
    for name, expected in ((shard.tar, shard.tar_sha256), (shard.sidecar, shard.sidecar_sha256)):
        found = files.sha256(files.join(path, name))
        if found != expected:
            yield f"{name}: sha256 is {found}, the manifest says {expected}"


def check_index(path: str, shard: Shard | ColumnShard, sidecar: pa.Table) -> Iterator[str]:
    """Whether the tar, read by itself, holds the keys and members of its sidecar's rows."""
    tar = files.join(path, shard.tar)
    with fsspec.open(tar, "rb") as file:
        try:
            in_tar = [{"key": key, "members": members} for key, members in index_tar(file, tar)]
        except TarError as error:
            yield str(error)
            return
    rows = sidecar.select(["key", "members"]).to_pylist()
    for row, (here, there) in enumerate(zip(rows, in_tar, strict=False)):
        if here != there:
            yield f"{shard.sidecar}: row {row} ({here['key']}) is not what the tar holds"
    if len(rows) != len(in_tar):
        yield f"{shard.tar}: {len(in_tar)} samples, its sidecar has {len(rows)}"


def read_checked(reader: ShardReader) -> Iterator[tuple[int, Sample | str]]:
    """Each row's members, or what is wrong with one of them."""
    for row in range(len(reader)):
        sample, wanted = reader.read(row), reader.crc32s(row)
        wrong = [ext for ext, data in sample.items() if zlib.crc32(data) != wanted[ext]]
        fault = f"{wrong[0]} has another CRC-32 than its sidecar says" if wrong else None
        yield row, fault or sample


def _decode_fault(data: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        return str(error)
    return None
