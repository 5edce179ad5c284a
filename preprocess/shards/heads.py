"""A reader and writer of a corpus's head with its lists, of every format version."""

from collections.abc import Iterable, Iterator
from typing import Any

from septet.preprocess import files
from septet.preprocess.shards.lists import RowList, open_list, rows_in_memory, write_list
from septet.schemas.layout import INDEX, INPUT_LIST, MANIFEST, SHARD_LIST
from septet.schemas.manifest import (
    FORMAT_VERSION,
    FORMAT_VERSION_REMOVED,
    InputFile,
    ListFile,
    Manifest,
    ManifestV1,
    Shard,
)
from septet.schemas.manifest import INPUT_LIST as INPUT_ROWS
from septet.schemas.manifest import SHARD_LIST as SHARD_ROWS
from septet.schemas.versioned import ManifestError, parse_versioned

MAX_HEAD_BYTES = 64 * 2**20
"""Most bytes of a head; one of format version 1 holds its lists itself."""


def read_head_file(path: str, remedy: str) -> bytes:
    """Read the bytes of a head.

    Raises:
        ManifestError: it is larger than any head.
    """
    size = files.size(path)
    if size > MAX_HEAD_BYTES:
        raise ManifestError(f"{path} has {size:,} bytes, a head has a few thousand: {remedy}")
    return files.read_bytes(path)


def _parse(corpus: str) -> tuple[str, Manifest, ManifestV1 | None]:
    where = files.join(corpus, MANIFEST)
    if not files.exists(where):
        raise ManifestError(
            f"{corpus} has no {MANIFEST}: build a corpus there with `septet build`, or give "
            "a folder of img2dataset shards one with `septet index`"
        )
    text = read_head_file(where, Manifest.remedy)
    if parse_versioned(text, where, Manifest.newest, Manifest.remedy)["format_version"] == 1:
        first = ManifestV1.from_json(text, where)
        return where, first.head(), first
    return where, Manifest.from_json(text, where), None


def read_head(corpus: str) -> Manifest:
    """Read a corpus's head; its lists are not opened.

    Raises:
        ManifestError: there is no corpus, or its head cannot be read.
    """
    return _parse(corpus)[1]


def read_corpus(corpus: str) -> tuple[Manifest, RowList[Shard]]:
    """Read a corpus's head, and open its list of shards.

    Raises:
        ManifestError: there is no corpus, or one of both cannot be read.
    """
    where, head, first = _parse(corpus)
    if first is not None:
        return head, rows_in_memory(first.shards, Shard, SHARD_ROWS, where)
    return head, open_list(corpus, head.shard_list, Shard, SHARD_ROWS, where)


def read_inputs(corpus: str) -> RowList[InputFile]:
    """Open a corpus's list of input files.

    Raises:
        ManifestError: there is no corpus, or its list cannot be read.
    """
    where, head, first = _parse(corpus)
    if first is not None:
        return rows_in_memory(first.inputs, InputFile, INPUT_ROWS, where)
    return open_list(corpus, head.input_list, InputFile, INPUT_ROWS, where)


def removed_keys(removed: ListFile | None) -> dict[str, Any]:
    """The keys of a head that go with a list of removed samples, or with none."""
    version = FORMAT_VERSION if removed is None else FORMAT_VERSION_REMOVED
    return {"format_version": version, "removed": removed}


def write_corpus(
    corpus: str,
    shards: Iterable[Shard],
    *,
    name: str,
    septet: str,
    sorted_keys: bool,
    inputs: Iterable[InputFile] = (),
    recipe: dict[str, Any] | None = None,
    counts: dict[str, int] | None = None,
    indexed: bool = False,
    removed: ListFile | None = None,
) -> Manifest:
    """Write a corpus's lists and, last, its head; from then on the corpus is complete.

    Args:
        corpus: The corpus folder.
        shards: The corpus's shards in order; they are not all held at once.
        name: The corpus's name.
        septet: Version of Septet.
        sorted_keys: Whether keys ascend within and across shards.
        inputs: The files that the build read.
        recipe: The resolved recipe.
        counts: Rows that entered and left the build.
        indexed: Whether it is a folder of foreign shards, where lists lie in `index/`.
        removed: The list of removed samples; None where nothing was ever removed.
    """
    samples = size = 0

    def counted() -> Iterator[Shard]:
        nonlocal samples, size
        for shard in shards:
            samples, size = samples + shard.samples, size + shard.bytes
            yield shard

    files.remove(files.join(corpus, MANIFEST))
    lists = [f"{INDEX}/{one}" if indexed else one for one in (SHARD_LIST, INPUT_LIST)]
    shard_list = write_list(corpus, lists[0], SHARD_ROWS, counted())
    input_list = write_list(corpus, lists[1], INPUT_ROWS, inputs)
    head = Manifest(
        name=name,
        septet=septet,
        recipe=recipe,
        sorted_keys=sorted_keys,
        samples=samples,
        bytes=size,
        counts=counts or {},
        shard_list=shard_list,
        input_list=input_list,
        **removed_keys(removed),
    )
    files.write_bytes(files.join(corpus, MANIFEST), head.to_json().encode())
    return head
