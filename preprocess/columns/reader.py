"""Reading columns: which a corpus has, and values by row."""

from septet.preprocess import files
from septet.preprocess.shards.blocks import BlockCache
from septet.preprocess.shards.reader import ShardReader
from septet.schemas.columns import ColumnManifest
from septet.schemas.layout import COLUMN_MANIFEST, COLUMNS
from septet.schemas.manifest import Shard
from septet.schemas.versioned import ManifestError


def column_folder(corpus: str, name: str) -> str:
    """Where a column's files lie."""
    return files.join(corpus, COLUMNS, name)


def stem(shard: Shard) -> str:
    """A base shard's file name without `.tar`; its columns' files have the same."""
    return shard.tar.rsplit("/", 1)[-1].removesuffix(".tar")


def column_names(corpus: str) -> list[str]:
    """Names of the columns that a corpus has whole."""
    names = files.list_folder(files.join(corpus, COLUMNS))
    return [n for n in names if files.exists(files.join(column_folder(corpus, n), COLUMN_MANIFEST))]


def read_manifest(corpus: str, name: str) -> ColumnManifest:
    """A column's manifest.

    Raises:
        ManifestError: there is no such column, or it was begun and is not whole.
    """
    where = files.join(column_folder(corpus, name), COLUMN_MANIFEST)
    if not files.exists(where):
        have = ", ".join(column_names(corpus)) or "none"
        raise ManifestError(
            f"{corpus} has no whole column {name!r} (it has {have}): make or finish it with "
            f"`septet annotate {corpus} --column {name}`"
        )
    return ColumnManifest.from_json(files.read_bytes(where), where)


class ColumnShardReader(ShardReader):
    """One shard of a column: the value of each row. `cache` and `version` as of `ShardReader`."""

    def __init__(
        self,
        corpus: str,
        name: str,
        base: Shard,
        cache: BlockCache | None = None,
        version: str = "",
    ):
        path = files.join(column_folder(corpus, name), stem(base))
        super().__init__(f"{path}.tar", f"{path}.parquet", cache, version)

    def value(self, row: int) -> bytes:
        """A row's value; empty where it has none.

        Raises:
            IndexError: no such row.
            OSError: the tar is shorter than its sidecar says.
        """
        (data,) = self.read(row).values()
        return data
