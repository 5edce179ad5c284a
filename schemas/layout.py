"""Names and paths of everything in a corpus folder (format version 2).

```
corpus/
  corpus.json                     the head: format version, recipe, counts, digests of the lists
  shards.parquet                  the list of shards: a row a shard, in order
  inputs.parquet                  the list of input files: a row a file, in the recipe's order
  shards/0000/0000000.tar         {key}.jpg {key}.txt {key}.json of each sample, by ascending key
  shards/0000/0000000.parquet     its sidecar: a row a sample, with offset, size, CRC-32 of members
  columns/<name>/column.json      the head of a column of annotations
  columns/<name>/shards.parquet   its list of shards: a row a base shard, in the corpus's order
  columns/<name>/build.json       the time of its last making, and what its tasks used
  columns/<name>/0000/0000000.tar     one member a sample, keys and order of shards/0000/0000000.tar
  columns/<name>/0000/0000000.parquet its sidecar
  rejects/                        what the build dropped, Parquet, a row a pair, with the reason
  stats/funnel.json               rows in and out of each stage, what its rules measured
  stats/build.json                times of the last build, and what its tasks used
  stats/statistics.json           figures of the samples
  stats/report.html               the report
  views/<name>/view.json          the head of a view: some samples, and what they were chosen by
  views/<name>/ids.npy            their ids, sorted, 128 bits each (dtype "u8,u8")
  views/<name>/places.npy         their rows' numbers in the order of the shards, int64
  removed/0001.parquet            samples that were removed, as of the first removal; and so on
  removed/barred-0001.parquet     what later builds drop besides: URLs, domains, looks, texts
  removed/log.jsonl               when, by whom and why, a line a removal
  stages/                         intermediate files of the build; may be deleted
  store/                          fetched images by URL; may be deleted, and is then fetched again
  store/sites/                    what servers' robots.txt, tdmrep.json and ai.txt say, for a day
```

A folder of shards holds at most 1,000; numbers have seven digits, so that names sort as numbers do
up to ten million shards. Of an indexed folder of foreign shards the tars keep their names and
places, and all that Septet adds lies in `corpus.json` and `index/`:

```
folder/
  corpus.json
  index/shards.parquet
  index/sidecars/<tar's name>.parquet
  columns/...                     as above, named like the tars
```

Where samples were taken out of a shard, its files have names of their own, such as
`shards/0000/0000000-r1.tar`. Its sidecar keeps a row of each with its key, its language and nothing
else, so that no row changes its number.

All paths in lists are relative to the corpus folder and never lead out of it. The head names the
lists, and the lists name the shards' files. A column's file for a shard is named like the shard's
tar, below the column's folder.
"""

import re
from pathlib import PurePosixPath

MANIFEST = "corpus.json"
SHARD_LIST = "shards.parquet"
INPUT_LIST = "inputs.parquet"

SHARDS = "shards"
COLUMNS = "columns"
REJECTS = "rejects"
STATS = "stats"
STAGES = "stages"
STORE = "store"
SITES = "store/sites"
INDEX = "index"
VIEWS = "views"
REMOVED = "removed"
REMOVED_LOG = "removed/log.jsonl"

COLUMN_MANIFEST = "column.json"
COLUMN_BUILD = "build.json"

FUNNEL = "stats/funnel.json"
BUILD_TIMES = "stats/build.json"
STATISTICS = "stats/statistics.json"
REPORT = "stats/report.html"

TAR_FOOTER = "septet.tar"
"""Footer entry of a sidecar: JSON of its tar's `bytes` and `sha256`."""
COLUMN_FOOTER = "septet.column"
"""Footer entry of a column's sidecar: JSON of the `fingerprint` that it was made with and of
`base_sha256`, its base tar's digest."""

SHARDS_A_FOLDER = 1000

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
"""Extensions of members that are a sample's image, those that builds write first."""


class LayoutError(ValueError):
    """Raised when a path of a corpus does not stay inside it."""


def shard_name(number: int) -> str:
    """A shard's folder and file name without extension: `0001/0001234`."""
    return f"{number // SHARDS_A_FOLDER:04d}/{number:07d}"


def shard_tar(number: int) -> str:
    """The tar of a built corpus's shard: `shards/0001/0001234.tar`."""
    return f"{SHARDS}/{shard_name(number)}.tar"


def shard_sidecar(number: int) -> str:
    """The sidecar of a built corpus's shard: `shards/0001/0001234.parquet`."""
    return f"{SHARDS}/{shard_name(number)}.parquet"


def column_folder(name: str) -> str:
    """The folder of a column."""
    return f"{COLUMNS}/{name}"


def column_manifest(name: str) -> str:
    """The head of a column."""
    return f"{COLUMNS}/{name}/{COLUMN_MANIFEST}"


def column_build(name: str) -> str:
    """The time of a column's making, and what its tasks used."""
    return f"{COLUMNS}/{name}/{COLUMN_BUILD}"


def column_shard_list(name: str) -> str:
    """A column's list of shards."""
    return f"{COLUMNS}/{name}/{SHARD_LIST}"


def column_tar(name: str, base: str) -> str:
    """The tar of a column for the base shard whose tar is `base`."""
    return f"{COLUMNS}/{name}/{base.removeprefix(SHARDS + '/').removesuffix('.tar')}.tar"


def column_sidecar(name: str, base: str) -> str:
    """The sidecar of a column for the base shard whose tar is `base`."""
    return column_tar(name, base).removesuffix("tar") + "parquet"


def index_sidecar(tar: str) -> str:
    """The sidecar that `septet index` writes for a foreign tar."""
    return f"{INDEX}/sidecars/{tar.removesuffix('.tar')}.parquet"


def reject_file(number: int) -> str:
    """A file of rejects; a corpus has at most 1,024."""
    return f"{REJECTS}/rejects-{number:04d}.parquet"


def removed_list(number: int) -> str:
    """The list of removed samples as of one removal, counted from 1."""
    return f"{REMOVED}/{number:04d}.parquet"


def barred_list(number: int) -> str:
    """The list of what later builds drop as of one removal, counted from 1."""
    return f"{REMOVED}/barred-{number:04d}.parquet"


def compacted_tar(tar: str, number: int) -> str:
    """The tar that takes the place of `tar` without the samples of a removal and those before."""
    return re.sub(r"(-r\d+)?\.tar$", f"-r{number}.tar", tar)


def inside(path: str, where: str) -> str:
    """Check that `path` is relative to the corpus and stays in it; returns it.

    A manifest can come from a stranger, and what it names is opened.

    Args:
        path: A path of a manifest or a list.
        where: The name, in the error, of the file that holds it.

    Raises:
        LayoutError: it is absolute, a URL, empty, or leads out by `..`.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "://" in path or "::" in path:
        raise LayoutError(
            f"{where} names {path!r}: expected a path inside the corpus folder, such as "
            f"{shard_tar(0)}; do not use this corpus unless you know who made it"
        )
    if "\0" in path or "\\" in path:
        raise LayoutError(f"{where} names {path!r}: a path has no NUL and no backslash")
    return path


def is_image(ext: str) -> bool:
    """Whether a member of that extension is a sample's image."""
    return ext.lower() in IMAGE_EXTENSIONS
