"""A writer of a corpus's samples as plain tars, for tools that know nothing of sidecars."""

import re
import zlib
from collections.abc import Sequence
from contextlib import ExitStack

from septet.preprocess import files
from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.tar import ShardWriter

_TAR = re.compile(r"\d{5,}\.tar")


def export_tars(
    corpus: Corpus, out: str, a_tar: int = 10_000, columns: Sequence[str] = ()
) -> tuple[int, int]:
    """Write a corpus's samples, or those of a view, in their order; equal samples give equal bytes.

    Args:
        corpus: The corpus.
        out: A folder without tars, outside the corpus.
        a_tar: Samples of a tar.
        columns: Columns whose values go with the samples, under their own extensions.

    Returns:
        The numbers of tars and of samples.

    Raises:
        ValueError: the folder holds tars or is the corpus's, no samples are to be written, or there
            is no such column.
        DamagedError: a shard is damaged.
    """
    place, own = (f"{_whole(one)}/" for one in (out, corpus.path))
    if place.startswith(own):
        raise ValueError(f"{out} belongs to the corpus {corpus.path}: give another folder")
    if any(_TAR.fullmatch(name) for name in files.list_folder(out)):
        raise ValueError(f"{out} holds tars already: give another folder, or delete them")
    if a_tar < 1:
        raise ValueError(f"a tar of {a_tar} samples: expected one at least")
    if not len(corpus):
        raise ValueError(f"{corpus.label} has no samples")
    for name in columns:
        read_manifest(corpus.path, name)
    tars = 0
    for begin in range(0, len(corpus), a_tar):
        with files.open_atomic(files.join(out, f"{tars:05d}.tar")) as file:
            writer = ShardWriter(file)
            _write(corpus, range(begin, min(begin + a_tar, len(corpus))), columns, writer)
            writer.close()
        tars += 1
    return tars, len(corpus)


def _whole(path: str) -> str:
    return str(files.local_path(path).resolve()) if files.is_local(path) else path.rstrip("/")


def _write(corpus: Corpus, wanted: range, columns: Sequence[str], writer: ShardWriter) -> None:
    index = wanted.start
    while index < wanted.stop:
        number, first = corpus.locate(index)
        rows = corpus.rows(number)
        rows = rows[rows >= first][: wanted.stop - index]
        shard = corpus.shard(number)
        with ExitStack() as stack:
            others = [stack.enter_context(ColumnShardReader(corpus, c, number)) for c in columns]
            for row in rows.tolist():
                members = shard.read(row, checksum=zlib.crc32)
                for other in others:
                    found = other.read(row, checksum=zlib.crc32).items()
                    members |= {ext: value for ext, value in found if value}
                writer.add(shard.key(row), members)
        index += len(rows)
