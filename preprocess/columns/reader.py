"""A reader of columns: which ones a corpus has, and their values by row."""

from septet.preprocess import files
from septet.preprocess.shards.heads import read_head_file
from septet.preprocess.shards.lists import RowList, open_list, rows_in_memory
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.schemas import layout
from septet.schemas.columns import (
    COLUMN_SHARD_LIST,
    ColumnManifest,
    ColumnManifestV1,
    ColumnShard,
)
from septet.schemas.versioned import ManifestError, parse_versioned


def column_names(corpus: str) -> list[str]:
    """Names of the columns that a corpus has complete."""
    names = files.list_folder(files.join(corpus, layout.COLUMNS))
    return [n for n in names if files.exists(files.join(corpus, layout.column_manifest(n)))]


def _parse(corpus: str, name: str) -> tuple[str, ColumnManifest, ColumnManifestV1 | None]:
    where = files.join(corpus, layout.column_manifest(name))
    if not files.exists(where):
        have = ", ".join(column_names(corpus)) or "none"
        raise ManifestError(
            f"{corpus} has no complete column {name!r} (it has {have}): make or finish it with "
            f"`septet annotate {corpus} --column {name}`"
        )
    remedy = ColumnManifest.remedy
    text = read_head_file(where, remedy)
    first = None
    if parse_versioned(text, where, ColumnManifest.newest, remedy)["format_version"] == 1:
        first = ColumnManifestV1.from_json(text, where)
    head = first.head() if first else ColumnManifest.from_json(text, where)
    if head.name != name:
        raise ManifestError(f"{where} is the head of a column {head.name!r}, not of {name!r}")
    return where, head, first


def read_manifest(corpus: str, name: str) -> ColumnManifest:
    """Read a column's head; its list of shards is not opened.

    Raises:
        ManifestError: there is no such column, or it was begun and is not complete.
    """
    return _parse(corpus, name)[1]


def column_shards(corpus: str, name: str) -> RowList[ColumnShard]:
    """Read a column's list of shards.

    Raises:
        ManifestError: there is no such column, or its list cannot be read.
    """
    where, head, first = _parse(corpus, name)
    if first is not None:
        return rows_in_memory(first.shards, ColumnShard, COLUMN_SHARD_LIST, where)
    return open_list(corpus, head.shard_list, ColumnShard, COLUMN_SHARD_LIST, where)


def is_stale(corpus: Corpus, manifest: ColumnManifest) -> bool:
    """Whether a column was made from other shards than the corpus has: it belongs to another build.

    Raises:
        ManifestError: the column's list of shards cannot be read.
    """
    if manifest.base_list == corpus.manifest.shard_list.sha256 != "":
        return False
    made = column_shards(corpus.path, manifest.name)
    if len(made) != len(corpus.shards):
        return True
    if not made.column("base_sha256").equals(corpus.shards.column("tar_sha256")):
        return True
    # Equal shards may have other names, where one corpus was compacted and the other built anew.
    tars = zip(made.column("tar"), corpus.shards.column("tar"), strict=True)
    return any(own.as_py() != layout.column_tar(manifest.name, base.as_py()) for own, base in tars)


class ColumnShardReader(ShardReader):
    """A reader of one shard of a column: the value of each row.

    Args:
        corpus: The corpus.
        name: The column.
        number: The shard's place in the corpus's list.
        version: Of the column and its base, where the corpus has a cache.
    """

    def __init__(self, corpus: Corpus, name: str, number: int, version: str = ""):
        base = corpus.shards[number]
        tar, sidecar = layout.column_tar(name, base.tar), layout.column_sidecar(name, base.tar)
        super().__init__(
            files.join(corpus.path, tar),
            files.join(corpus.path, sidecar),
            corpus.cache,
            version,
            base.samples,
            corpus.removed.of(number),
        )

    def value(self, row: int) -> bytes:
        """A row's value; empty where it has none.

        Raises:
            IndexError: no such row.
            RemovedError: the sample was removed.
            OSError: the tar is shorter than its sidecar says.
            ValueError: the row has no member, or several.
        """
        (data,) = self.read(row).values()
        return data
