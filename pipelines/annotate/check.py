"""Are a corpus's columns what their manifests say, and do they still belong to it?"""

from collections.abc import Iterator

from rich.console import Console
from rich.progress import track

from septet.pipelines.check import check_digests, check_index, read_checked
from septet.preprocess import files
from septet.preprocess.columns.base import Column
from septet.preprocess.columns.members import check_member
from septet.preprocess.columns.reader import ColumnShardReader, column_shards, read_manifest
from septet.preprocess.columns.registry import ColumnError, make_column
from septet.preprocess.shards.reader import Corpus
from septet.schemas.columns import ColumnManifest, ColumnShard
from septet.schemas.layout import COLUMNS, column_manifest
from septet.schemas.versioned import ManifestError


def check_columns(path: str, console: Console) -> list[str]:
    """All faults of a corpus's columns, a line each.

    Checked are: that each shard was made from the base shard that is there, digests, that tars
    give their sidecars' keys and members and the base's keys in its order, checksums, and every
    value against the column's member format and by its kind's own check. A column without a
    manifest was begun and is not whole, which is a fault too.

    Args:
        path: The corpus folder.
        console: For progress bars.
    """
    corpus = Corpus(path)
    faults: list[str] = []
    for name in files.list_folder(files.join(path, COLUMNS)):
        try:
            manifest, made = read_manifest(path, name), column_shards(path, name)
        except ManifestError as error:
            faults.append(f"{column_manifest(name)}: {error}")
            continue
        if len(made) != len(corpus.shards):
            faults.append(
                f"column {name}: {len(made)} shards, the corpus has "
                f"{len(corpus.shards)}: annotate again"
            )
            continue
        faults += [
            f"column {name} was made from another column {other!r} than is there: annotate again"
            for other, fingerprint in manifest.reads.items()
            if fingerprint != _fingerprint(path, other)
        ]
        checker = _checker(manifest, console)
        numbers = range(len(corpus.shards))
        for number in track(numbers, description=name, console=console, transient=True):
            try:
                faults += _check_shard(corpus, manifest, made[number], number, checker)
            except (OSError, ValueError) as error:
                faults.append(f"{made[number].tar}: {error}")
    return faults


def _fingerprint(path: str, name: str) -> str | None:
    try:
        return read_manifest(path, name).fingerprint
    except ManifestError:
        return None


def _checker(manifest: ColumnManifest, console: Console) -> Column | None:
    try:
        return make_column(manifest.kind, manifest.settings)
    except ColumnError as error:
        console.print(f"column {manifest.name}: values are checked by their form alone ({error})")
        return None


def _check_shard(
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
    yield from check_digests(corpus.path, shard)
    sidecar = files.read_table(files.join(corpus.path, shard.sidecar))
    keys = corpus.metadata(number, ["key"])["key"]
    if not keys.equals(sidecar["key"]):
        yield f"{shard.sidecar}: its keys are not those of {base.sidecar}, in its order"
        return
    yield from check_index(corpus.path, shard, sidecar)
    reasons = sidecar["reason"].to_pylist()
    with ColumnShardReader(corpus.path, manifest.name, base) as reader:
        for row, found in read_checked(reader):
            fault = (
                found if isinstance(found, str) else _fault(manifest, checker, found, reasons[row])
            )
            if fault:
                yield f"{shard.tar}: row {row}: {fault}"


def _fault(
    manifest: ColumnManifest, checker: Column | None, sample: dict[str, bytes], reason: str | None
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
