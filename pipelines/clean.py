"""`septet clean`: files of a corpus folder that nothing refers to any more, and their removal.

What is needed is what the corpus's head names: its shards, its columns' files for them, and the
images of the fetch store that its samples were made of. Only files with names that Septet gives are
looked at, and none in a folder of foreign shards that was indexed. Intermediate files below
`stages/` are left alone: each complete build removes those of other recipes itself.
"""

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import pyarrow.compute as pc
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.stages.counts import Counts
from septet.pipelines.store.store import FILE_OF_A_TASK, LIMITS_FOOTER, Store, read_stored
from septet.preprocess import files
from septet.preprocess.locks import locked
from septet.preprocess.shards.heads import read_corpus, read_head
from septet.preprocess.shards.views import require_whole
from septet.schemas import layout, tables
from septet.schemas.manifest import Manifest
from septet.schemas.recipe import Recipe

KINDS = {
    "settings": "images that were fetched under other settings, or for other codecs",
    "images": "images that no sample of the last build has; fetched again if an input brings them "
    "back (what failed stays known)",
    "shards": "shards, and columns' files for shards, that the corpus does not have",
    "unfinished": "what writers left that were killed",
    "sites": "what servers' robots.txt and the like said, longer ago than `fetch.robots_hours`: it "
    "is asked for anew",
}
_ROOMS = (layout.SHARDS, layout.COLUMNS, layout.REJECTS, layout.STATS, layout.STAGES, layout.STORE,
          layout.REMOVED)  # fmt: skip
_SHARD = re.compile(r"(\d{4}/\d{7}|\d{5})(-r\d+)?\.(tar|parquet)")
_STORED = re.compile(
    rf"({layout.STORE}/[0-9a-f]{{16}})/"
    rf"(settings\.json|retries\.json|{FILE_OF_A_TASK}\.(bin|parquet))"
)
"""A file of the store (`store.store`): the store's path, and the file's name there."""
_SITE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{16}\.json")
_TEMPORARY = re.compile(rf"\.(.+\.|list-|shuffle-)[0-9a-f]{{8}}{re.escape(files.TEMPORARY_SUFFIX)}")


@dataclass(frozen=True)
class Leftover:
    """Files of one kind that may be removed."""

    kind: str
    """A name of `KINDS`."""
    paths: tuple[str, ...]
    """Within the corpus, in the order in which they may be removed: what refers to a file comes
    before it."""
    bytes: int
    ages: tuple[float, float] | None = None
    """Of `sites`: seconds since the latest and the earliest of these files was written."""


def find_leftovers(corpus: str, kinds: Collection[str] = tuple(KINDS)) -> list[Leftover]:
    """Find the files that may be removed, by kind; empty where there are none.

    Where a build was stopped while it fetched, no images of the store are listed: that build wants
    them when it goes on. Nor are any where nothing says which store the corpus has its images of.

    Args:
        corpus: The corpus folder.
        kinds: Names of `KINDS`.

    Raises:
        ValueError: no such kind.
        ManifestError: the folder has no corpus, so nothing says what is needed.
    """
    _require_corpus(corpus)
    _require_kinds(kinds)
    head, shards = read_corpus(corpus)
    if head.recipe is None:
        return []
    sizes = _sizes(corpus)
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    found["shards"] = _unlisted(sizes, {shard.tar for shard in shards})
    if not _is_stopped(corpus):
        used = _used_files(corpus)
        if stores := _stores(corpus, head, used, sizes):
            found["settings"], found["images"] = _unused(corpus, sizes, used, stores)
    known = {path for paths in found.values() for path in paths}
    found["unfinished"] = [path for path in _unfinished(sizes) if path not in known]
    ages = _old_sites(corpus, head)
    found["sites"] = list(ages)
    sizes |= {path: size for path, (size, _) in ages.items()}
    old = [age for _, age in ages.values()]
    return [
        Leftover(
            kind,
            tuple(paths),
            sum(sizes[path] for path in paths),
            (min(old), max(old)) if kind == "sites" else None,
        )
        for kind, paths in found.items()
        if paths and kind in kinds
    ]


def _old_sites(corpus: str, head: Manifest) -> dict[str, tuple[int, float]]:
    """Size and age in seconds of each file of servers' rules that no fetch reads any more."""
    hours = 24.0
    with suppress(ValidationError):  # a recipe of an earlier version
        hours = Recipe.model_validate(head.recipe).fetch.robots_hours
    now = time.time()
    found = {}
    for path, size, written in files.walk_times(files.join(corpus, layout.SITES)):
        age = 0.0 if written is None else now - written
        if _SITE.fullmatch(path) and age > hours * 3600:
            found[f"{layout.SITES}/{path}"] = size, age
    return found


def _require_corpus(path: str) -> None:
    require_whole(
        path,
        "files belong to the corpus: `septet clean {corpus}`; a view is no more than its folder, "
        "which may be deleted",
    )


def remove_leftovers(corpus: str, kinds: Collection[str], console: Console) -> list[Leftover]:
    """Remove the files that `find_leftovers` finds once the folder is held.

    Raises:
        FolderBusyError: a build or an annotation is at work in the folder.
        ValueError, ManifestError: see `find_leftovers`.
    """
    _require_kinds(kinds)
    _require_corpus(corpus)
    read_head(corpus)  # a lock would make the folder where there is none
    with locked(corpus, alone=True, busy=f"a build or annotation is at work in {corpus}"):
        found = find_leftovers(corpus, kinds)
        paths = [path for leftover in found for path in leftover.paths]
        images = {path for one in found if one.kind == "images" for path in one.paths}
        quiet = not console.is_terminal
        for path in track(paths, "removing", console=console, transient=True, disable=quiet):
            if path in images and path.endswith(".bin"):
                table = path.removesuffix("bin") + "parquet"
                if table not in images:
                    _keep_failures(files.join(corpus, table))
            files.remove(files.join(corpus, path))
    return found


def _require_kinds(kinds: Collection[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"there is no kind {kind!r} of leftovers; there are {', '.join(KINDS)}"
            )


def _sizes(corpus: str) -> dict[str, int]:
    """Bytes of each file of the corpus; folders of it may be links, to a larger disk."""
    sizes = dict(files.walk(corpus))
    for room in _ROOMS if files.is_local(corpus) else ():
        folder = files.join(corpus, room)
        if files.local_path(folder).is_symlink():
            sizes |= {f"{room}/{path}": size for path, size in files.walk(folder)}
    return sizes


def _keep_failures(table: str) -> None:
    """Take the rows of images out of a table of the store, before the images go."""
    _, footer = files.read_table_metadata(table)
    rows = read_stored(table, tables.STORED.names)
    limits = {LIMITS_FOOTER: footer[LIMITS_FOOTER.encode()].decode()}
    files.write_table(table, rows.filter(rows["reason"].is_valid()), metadata=limits)


def _unlisted(sizes: Mapping[str, int], tars: set[str]) -> list[str]:
    """Files of shards, and of columns for shards, that the list does not have; sidecars first."""
    names = {tar.removeprefix(f"{layout.SHARDS}/").removesuffix(".tar") for tar in tars}
    found = []
    for path in sizes:
        room, _, rest = path.partition("/")
        if room == layout.COLUMNS:
            rest = rest.partition("/")[2]
        ours = room in (layout.SHARDS, layout.COLUMNS) and _SHARD.fullmatch(rest)
        if ours and rest.rpartition(".")[0] not in names:
            found.append(path)
    return sorted(found, key=lambda path: (path.endswith(".tar"), path))


def _is_stopped(corpus: str) -> bool:
    """Whether a build has begun to fetch and not ended."""
    marks = set(files.list_folder(files.join(corpus, layout.STAGES, "done")))
    begun = (name for name in marks if name.endswith(".generation"))
    return any(name.removesuffix("generation") + "json" not in marks for name in begun)


def _used_files(corpus: str) -> set[str] | None:
    """Files of the store that the last build's samples were made of; None where its intermediate
    files are gone, which say it."""
    folder = files.join(corpus, layout.STAGES, "fetched")
    names = (name for name, _ in files.walk(folder))
    paths = [files.join(folder, name) for name in names if name.endswith(".parquet")]

    def of(path: str) -> list[str]:
        found: list[str] = pc.unique(files.read_table(path, ["file"])["file"]).to_pylist()
        return found

    used = {name for names in map_ahead(of, paths) for name in names if name is not None}
    return used if paths else None


def _stores(corpus: str, head: Manifest, used: set[str] | None, sizes: Collection[str]) -> set[str]:
    """Paths of the stores of the corpus, by its recipe where that store is there and by what was
    read of them; empty where neither says it."""
    found = {"/".join(name.split("/")[:2]) for name in used or ()}
    with suppress(ValidationError):  # a recipe of an earlier version
        name = Store(corpus, Recipe.model_validate(head.recipe)).name
        if any(path.startswith(f"{name}/") for path in sizes):  # else made with other codecs
            found.add(name)
    return found


def _unused(
    corpus: str, sizes: Mapping[str, int], used: set[str] | None, stores: set[str]
) -> tuple[list[str], list[str]]:
    """Files of other stores; of these stores files of images that are not used, with their tables
    where they have no failures. Tables come first: without its table a file of images does not
    count."""
    others, blocks = [], []
    for path in sizes:
        if not (name := _STORED.fullmatch(path)):
            continue
        if name[1] not in stores:
            others.append(path)
        elif (
            used is not None
            and path.endswith(".bin")
            and path not in used
            and path.removesuffix("bin") + "parquet" in sizes
        ):
            blocks.append(path)

    def without_failures(block: str) -> list[str]:
        table = block.removesuffix("bin") + "parquet"
        count, footer = files.read_table_metadata(files.join(corpus, table))
        return [block] if count > Counts.from_metadata(footer).rows_out else [table, block]

    images = [path for paths in map_ahead(without_failures, blocks) for path in paths]
    order = {".parquet": 0, ".bin": 2}
    for paths in (others, images):
        paths.sort(key=lambda path: (order.get(path[path.rfind(".") :], 1), path))
    return others, images


def _unfinished(sizes: Mapping[str, int]) -> Iterator[str]:
    """Temporary files, and files of images of the store that have no table."""
    for path in sizes:
        room, *below = path.split("/")
        if below and room not in _ROOMS:
            continue
        images = _STORED.fullmatch(path) and path.endswith(".bin")
        if any(map(_TEMPORARY.fullmatch, (room, *below))) or (
            images and path.removesuffix("bin") + "parquet" not in sizes
        ):
            yield path
