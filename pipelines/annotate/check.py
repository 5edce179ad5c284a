"""`septet check` for columns: they are compared with their manifests and with the corpus."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.check import (
    MOST_A_SHARD,
    Faults,
    check_digests,
    check_files,
    guarded,
    shards_to_check,
    size_fault,
)
from septet.pipelines.report.readable import one_line
from septet.preprocess import files
from septet.preprocess.columns.base import Column
from septet.preprocess.columns.members import check_member
from septet.preprocess.columns.reader import column_shards, read_manifest
from septet.preprocess.columns.registry import ColumnError, stored_column
from septet.preprocess.shards.reader import Corpus
from septet.schemas.columns import ColumnManifest, ColumnShard
from septet.schemas.layout import (
    COLUMNS,
    column_folder,
    column_manifest,
    column_sidecar,
    column_tar,
)
from septet.schemas.versioned import ManifestError


def check_columns(path: str, console: Console, trusted: Collection[str] = ()) -> list[str]:
    """Check all columns of a corpus; returns a line for each fault.

    Checked are: that each shard was made from the base shard that is there, digests, that tars
    give their sidecars' keys and members and the base's keys in its order, checksums, and every
    value against the column's member format and by its kind's own check. A column without a
    manifest was begun and is not complete, which is a fault too.

    Args:
        path: The corpus folder.
        console: The console for progress bars.
        trusted: Classes (`module:Class`) that may be imported to check columns that were made with
            them; of other columns of such kinds the form alone is checked.
    """
    corpus = Corpus(path)
    path, numbers = corpus.path, shards_to_check(corpus)
    faults = Faults()
    for name in files.list_folder(files.join(path, COLUMNS)):
        try:
            manifest, made = read_manifest(path, name), column_shards(path, name)
        except (ManifestError, OSError) as error:
            begun = f"; or delete {column_folder(name)}/"
            faults.add(f"{column_manifest(name)}: {error}{begun}")
            continue
        for fault in _head_faults(corpus, manifest, len(made)):
            faults.add(fault)
        if len(made) != len(corpus.shards):
            continue
        checker = _checker(manifest, console, trusted)

        def checked(
            number: int, manifest: Any = manifest, made: Any = made, checker: Any = checker
        ) -> list[str]:
            shard = made[number]
            found = Faults(MOST_A_SHARD, f"{shard.tar}: ")
            for fault in guarded(shard, _shard_faults(corpus, manifest, shard, number, checker)):
                found.add(fault)
            return found.lines()

        results = map_ahead(checked, numbers)
        for one in track(
            results, one_line(name, 40), len(numbers), console=console, transient=True
        ):
            for fault in one:
                faults.add(fault)
    return faults.lines()


def _head_faults(corpus: Corpus, manifest: ColumnManifest, shards: int) -> Iterator[str]:
    told = manifest.shard_list
    if told.sha256 and (found := files.sha256(files.join(corpus.path, told.path))) != told.sha256:
        yield f"{told.path}: sha256 is {found}, the manifest says {told.sha256}"
    if shards != len(corpus.shards):
        yield (
            f"column {manifest.name}: {shards} shards, the corpus has {len(corpus.shards)}: "
            "annotate again"
        )
    for other, fingerprint in manifest.reads.items():
        if fingerprint != _fingerprint(corpus.path, other):
            yield (
                f"column {manifest.name} was made from another column {other!r} than is there: "
                "annotate again"
            )


def _fingerprint(path: str, name: str) -> str | None:
    try:
        return read_manifest(path, name).fingerprint
    except ManifestError:
        return None


def _checker(manifest: ColumnManifest, console: Console, trusted: Collection[str]) -> Column | None:
    try:
        return stored_column(manifest, trusted)
    except ColumnError as error:
        console.print(
            one_line(f"column {manifest.name}: values are checked by their form alone ({error})"),
            markup=False,
        )
        return None


def _shard_faults(
    corpus: Corpus,
    manifest: ColumnManifest,
    shard: ColumnShard,
    number: int,
    checker: Column | None,
) -> Iterator[str]:
    base = corpus.shards[number]
    if shard.base_sha256 != base.tar_sha256:
        yield f"{shard.tar}: made from another {base.tar} than is there: annotate again"
        return
    where = (column_tar(manifest.name, base.tar), column_sidecar(manifest.name, base.tar))
    if (shard.tar, shard.sidecar) != where:
        yield f"{shard.tar}: the column's list of shards names it, readers look at {where[0]}"
        return
    if fault := size_fault(corpus.path, shard):
        yield fault
        return
    yield from check_digests(corpus.path, shard)
    keys = iter(corpus.metadata(number, ["key"])["key"])

    def inspect(row: Mapping[str, Any], members: dict[str, bytes] | None) -> Iterator[str]:
        key = next(keys, None)
        if key is None or key.as_py() != row["key"]:
            yield f"its key is not that of {base.sidecar} in this row"
        elif members is None:
            return
        elif fault := _fault(manifest, checker, members, row["reason"]):
            yield fault

    columns, removed = ("reason",), corpus.removed.of(number)
    yield from check_files(corpus.path, shard, lambda ext: True, inspect, columns, removed)


def _fault(
    manifest: ColumnManifest,
    checker: Column | None,
    sample: Mapping[str, bytes],
    reason: str | None,
) -> str | None:
    if list(sample) != [manifest.member.ext]:
        return f"members {sorted(sample)}, expected {manifest.member.ext}"
    data = sample[manifest.member.ext]
    if not data:
        return None if reason else "no value, and no reason why"
    if reason:
        return f"a value, and a reason why there is none ({reason})"
    try:
        check_member(data, manifest.member)
        if checker is not None:
            checker.check(data)
    except (ValueError, KeyError, TypeError) as error:
        return str(error)
    return None
