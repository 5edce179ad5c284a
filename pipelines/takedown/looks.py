"""What images look like that a takedown asks for, and the images of a shard."""

import re
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from septet.pipelines.takedown.wanted import MAX_BYTES, Wanted, lines_of
from septet.preprocess import files
from septet.preprocess.images.appearance import appearance
from septet.preprocess.images.decode import OpenedImage
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.preprocess.images.sniff import image_kind
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import read_sidecar
from septet.schemas.layout import is_image
from septet.schemas.manifest import BARRED_LIST
from septet.schemas.reasons import RejectedError
from septet.schemas.recipe import Image
from septet.schemas.tables import SAMPLES

LOOKS = ("phash", "thumbnail", "width", "height")
_HASH = re.compile(r"[0-9a-f]{16}")


def read_looks(file: str, image: Image) -> Wanted:
    """Read an image, or a text file with a perceptual hash of 16 hex digits or the path of an image
    a line; relative paths start at the list's folder.

    Args:
        file: The file.
        image: How the corpus's images were resized: these are, too.

    Raises:
        ValueError: there is no such file, or a line is neither; says which.
    """
    try:
        alone = files.size(file) <= MAX_BYTES and _may_be_image(file)
    except OSError:
        alone = False  # as a list it is told what is wrong with it
    if alone:
        return _wanted([_look_of(file, file, image)], [file])
    lines = [line for _, line in lines_of(file)]
    rows: list[dict[str, object]] = []
    for line in lines:
        if _HASH.fullmatch(line.lower()):
            rows.append({"what": "phash", "value": line.lower()})
        else:
            rows.append(_look_of(_beside(file, line), f"{file}: {line[:300]!r}", image))
    return _wanted(rows, lines)


def _wanted(rows: list[dict[str, object]], lines: list[str]) -> Wanted:
    """Each look once, under the first line that means it."""
    first = {(row["value"], row.get("thumbnail")): i for i, row in reversed([*enumerate(rows)])}
    kept = sorted(first.values())
    looks = pa.Table.from_pylist([rows[i] for i in kept], BARRED_LIST)
    return Wanted("phash", {lines[i]: lines[i] for i in kept}, looks)


def _beside(file: str, line: str) -> str:
    if "://" in line or PurePosixPath(line).is_absolute() or "/" not in file:
        return line
    return files.join(file.rpartition("/")[0], line)


def _may_be_image(file: str) -> bool:
    with files.open_read(file) as opened:
        try:
            return bool(image_kind(opened.read(4096)))
        except RejectedError:
            return False


def _look_of(path: str, label: str, image: Image) -> dict[str, object]:
    if path.lower().startswith(("http://", "https://")):
        raise ValueError(f"{label} is a URL, and no server is asked here: give the image as a file")
    try:
        found = process_image(files.read_bytes(path), image)
    except OSError as error:
        why = error.strerror or error  # whose own text may name the file once more, at any length
        raise ValueError(
            f"{label} is no hash of 16 hex digits, nor an image that can be read ({why})"
        ) from error
    if not isinstance(found, ProcessedImage):
        raise ValueError(f"{label} is no image that can be used: {found.reason} {found.value}")
    return {
        "what": "phash", "value": found.appearance.phash,
        "aspect": float(np.log(found.width / found.height)),
        "thumbnail": found.appearance.thumbnail,
    }  # fmt: skip


def shard_looks(corpus: Corpus, number: int) -> pa.Table:
    """What the images of a shard look like: `LOOKS`, a row a row of the shard, null where it has no
    image that can be decoded. Read from its sidecar where a build of this version wrote it, else
    from the images themselves, without those that were removed."""
    shard = corpus.shards[number]
    schema = pa.schema([SAMPLES.field(name) for name in LOOKS])
    if corpus.manifest.recipe is not None and corpus.manifest.format_minor:
        return read_sidecar(files.join(corpus.path, shard.sidecar), LOOKS, shard.samples)
    rows: list[dict[str, object]] = [{} for _ in range(shard.samples)]
    there = np.setdiff1d(np.arange(shard.samples), corpus.removed.of(number))
    with corpus.shard(number) as reader:
        for row in there.tolist():
            ext = next((ext for ext in reader.exts(row) if is_image(ext)), None)
            if ext is None:
                continue
            try:
                image = OpenedImage(reader.read(row, frozenset({ext}))[ext])
                looks = appearance(image.small())
            except RejectedError:
                continue
            rows[row] = {
                "phash": looks.phash, "thumbnail": looks.thumbnail,
                "width": image.width, "height": image.height,
            }  # fmt: skip
    return pa.Table.from_pylist(rows, schema)
