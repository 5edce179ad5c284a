"""Making a column of a corpus: which shards are missing, the run that makes them, the column's
manifest."""

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

from septet.pipelines.annotate.listing import ListWork
from septet.pipelines.annotate.work import PIECES, AnnotateWork, JoinWork, PieceWork
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import Runner, StageFailed
from septet.pipelines.runners.base import COLUMN_PASS
from septet.pipelines.runners.usage import Usage
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Pass, digest_of
from septet.preprocess import files
from septet.preprocess.columns.base import Column
from septet.preprocess.columns.reader import is_stale, read_manifest
from septet.preprocess.columns.registry import ColumnError, make_column
from septet.preprocess.locks import locked
from septet.preprocess.shards.lists import write_list
from septet.preprocess.shards.reader import Corpus
from septet.schemas.columns import COLUMN_SHARD_LIST, ColumnManifest, ColumnShard, MemberFormat
from septet.schemas.layout import (
    COLUMN_BUILD,
    COLUMN_FOOTER,
    COLUMN_MANIFEST,
    MANIFEST,
    SHARD_LIST,
    column_folder,
    column_manifest,
    column_shard_list,
    column_sidecar,
)
from septet.schemas.versioned import ManifestError

_SHARDS_A_WORKER = 4
"""With fewer shards than this for each worker, some would wait for the last one's shard."""
_ON_A_CLUSTER = 25
"""The number of tasks that a cluster is taken to run at once, which decides by itself."""
_USAGE = "usage"
"""The folder, in a column's, in which workers of a cluster note what they use during a pass."""


@dataclass(frozen=True)
class Plan:
    """A column of a corpus with the shards that it lacks."""

    corpus: Corpus
    name: str
    column: Column
    models: dict[str, str]
    reads: dict[str, str]
    fingerprint: str
    missing: list[int]
    """Numbers of the shards that are not there, or were made with other settings or from another
    base shard."""
    foreign: list[str]
    """Sidecars that are there and are not this column's; they make way for its own."""

    @property
    def folder(self) -> str:
        """The column's folder."""
        return files.join(self.corpus.path, column_folder(self.name))


def resolve_column(kind: str, settings: Mapping[str, Any]) -> tuple[Column, dict[str, str]]:
    """Find a column's class, check its settings, and take the digests of its models; runs no model.

    Raises:
        ColumnError: no such kind, or settings that do not fit.
        ValueError: a model is missing, or the settings do not fit it.
    """
    column = make_column(kind, settings)
    models = column.models()
    # Raises where settings do not fit the weights, before any work.
    column.notes = column.member.notes
    return column, models


def plan_column(path: str, name: str, kind: str, settings: Mapping[str, Any]) -> Plan:
    """Find out which shards of a column are to be made; runs no model and writes nothing.

    Args:
        path: The corpus folder; PATH@VIEW makes values of the view's samples alone.
        name: The column's name in the corpus.
        kind: The kind of column.
        settings: The column's settings.

    Raises:
        ColumnError: no such kind, or settings that do not fit.
        ValueError: a model, a column that it reads or the corpus is missing, or the settings do
            not fit the model.
    """
    if not name or "/" in name or name.startswith("."):
        raise ColumnError(f"{name!r} cannot be the name of a column: it is the name of a folder")
    corpus = Corpus(path)
    path = corpus.path
    column, models = resolve_column(kind, settings)
    reads = {}
    for other in column.columns():
        manifest = read_manifest(path, other)
        if is_stale(corpus, manifest):
            raise ColumnError(
                f"column {other!r} was made from other shards than {path} has: make it anew first"
            )
        reads[other] = manifest.fingerprint
    if name in reads:
        raise ColumnError(f"column {name!r} cannot be made from itself")
    of = [corpus.view.digest] if corpus.view else []  # values are of its samples alone
    fingerprint = digest_of(kind, column.version, column.settings.deciding(), models, reads, *of)
    missing, foreign = _state(corpus, name, fingerprint)
    return Plan(corpus, name, column, models, reads, fingerprint, missing, foreign)


def _state(corpus: Corpus, name: str, fingerprint: str) -> tuple[list[int], list[str]]:
    """The shards that a column lacks, and the sidecars in its folder that are not its own."""
    complete = _is_complete(corpus, name, fingerprint)
    sidecars = [column_sidecar(name, tar.as_py()) for tar in corpus.shards.column("tar")]
    folders = dict.fromkeys([column_folder(name), *(one.rpartition("/")[0] for one in sidecars)])
    with ThreadPoolExecutor(16) as pool:
        listed = pool.map(lambda one: files.list_folder(files.join(corpus.path, one)), folders)
        known = {
            f"{folder}/{found}"
            for folder, names in zip(folders, listed, strict=True)
            for found in names
            if found.endswith(".parquet") and found != SHARD_LIST
        }

        def is_ours(number: int) -> bool | None:
            """Whether a shard's sidecar is this column's; None where there is none."""
            if sidecars[number] not in known:
                return None
            if complete:
                return True
            wanted = {"fingerprint": fingerprint, "base_sha256": corpus.shards[number].tar_sha256}
            _, footer = files.read_table_metadata(files.join(corpus.path, sidecars[number]))
            return bool(json.loads(footer.get(COLUMN_FOOTER.encode(), b"{}")) == wanted)

        states = list(pool.map(is_ours, range(len(sidecars))))
    left = sorted(known - set(sidecars))
    foreign = [one for one, ours in zip(sidecars, states, strict=True) if ours is False]
    return [number for number, ours in enumerate(states) if not ours], foreign + left


def _is_complete(corpus: Corpus, name: str, fingerprint: str) -> bool:
    """Whether a column with that fingerprint is complete for the corpus's shards."""
    if not files.exists(files.join(corpus.path, column_manifest(name))):
        return False
    try:
        manifest = read_manifest(corpus.path, name)
        return manifest.fingerprint == fingerprint and not is_stale(corpus, manifest)
    except ManifestError:  # damaged: made anew
        return False


def annotate(
    plan: Plan, only_missing: bool, runner: Runner, progress: BuildProgress
) -> tuple[ColumnManifest, bool]:
    """Make the missing shards of a column; a column that is up to date is left as it is.

    Args:
        plan: A plan of `plan_column`.
        only_missing: Refuse rather than make anew what was made with other settings.
        runner: The runner of the pipeline.
        progress: Told what happens.

    Returns:
        The column's manifest, and whether there was anything to do, if only to note other
        names of classes.

    Raises:
        ColumnError: `only_missing`, and shards are there that were made otherwise.
        ValueError: a file that the column reads has another form.
        FolderBusyError: the corpus is being built, or the column made.
        StageFailed: the pipeline failed; shards that were finished are kept, and where there is
            none, nothing is left of the column.
    """
    if only_missing and plan.foreign:
        raise ColumnError(
            f"column {plan.name!r} has {len(plan.foreign)} shards that were made with other "
            "settings, models or from other base shards; leave --only-missing out to make them "
            f"anew, or choose another --name (the first one: {plan.foreign[0]})"
        )
    path, folder = plan.corpus.path, plan.folder
    with (
        locked(path, alone=False, busy=f"a build is at work in {path}"),
        locked(folder, alone=True, busy=f"column {plan.name!r} is being made already"),
    ):
        where = files.join(folder, COLUMN_MANIFEST)
        if not plan.missing and not plan.foreign and files.exists(where):
            manifest = read_manifest(path, plan.name)
            progress.skip(plan.name, _counts(manifest))
            member = MemberFormat.model_validate_json(plan.column.member.model_dump_json())
            if manifest.member == member:
                return manifest, False
            # Values hold; what is noted of them (names of their classes) is other.
            manifest = manifest.model_copy(update={"member": member})
            files.write_bytes(where, manifest.to_json().encode())
            return manifest, True
        start = time.monotonic()
        try:
            read = plan.column.index()
        except ValueError:
            if not files.list_folder(folder):
                files.remove(folder)  # made by the lock
            raise
        # First the manifest: from here on the old column is no longer complete.
        files.remove(where)
        files.remove(files.join(folder, COLUMN_BUILD))
        files.remove_temporaries(folder)
        for sidecar in plan.foreign:
            files.remove(files.join(path, sidecar))
            files.remove(files.join(path, sidecar.removesuffix("parquet") + "tar"))
        view = plan.corpus.view
        asked = (
            plan.corpus.label,
            files.sha256(files.join(path, MANIFEST)) + (view.digest if view else ""),
            plan.name,
            plan.column.kind,
            plan.column.settings.model_dump(mode="json"),
            plan.fingerprint,
        )
        work = AnnotateWork(*asked)
        outputs = {number: work.path(number) for number in range(len(plan.corpus.shards))}
        pieces_folder = files.join(folder, PIECES)
        making = _Making(runner, progress, files.join(folder, _USAGE))
        if plan.missing:
            try:
                if pieces := _pieces(plan, work, runner.tasks_at_once):
                    work = JoinWork(*asked)
                    apart = PieceWork(*asked)
                    paths = {key: apart.path(key) for key in pieces}
                    making.run(Pass(plan.name, paths, partial(map_tasks, apart)), COLUMN_PASS)
                one = Pass(plan.name, outputs, partial(map_tasks, work))
                making.run(one, "join " if pieces else COLUMN_PASS)
            except StageFailed:
                if not any(map(files.exists, outputs.values())) and not files.list_folder(
                    pieces_folder
                ):
                    files.remove(folder)  # nothing is kept, so nothing is begun
                raise
        files.remove(pieces_folder)
        files.remove_temporaries(folder)
        manifest = _manifest(plan, work.manifest_sha256, read, making)
        seconds, used = time.monotonic() - start, making.used.to_dict()
        ran = {"runner": runner.name, "workers": runner.job.workers, "seconds": round(seconds, 3)}
        files.write_bytes(
            files.join(folder, COLUMN_BUILD), (json.dumps(ran | used, indent=1) + "\n").encode()
        )
        files.write_bytes(where, manifest.to_json().encode())
        progress.finish(plan.name, _counts(manifest), seconds, **used)
        return manifest, True


def _pieces(plan: Plan, work: AnnotateWork, at_once: int | None) -> list[str]:
    """Pieces of the missing shards, `SHARD.PIECE`; none where there are shards enough for all
    workers, or no shard has two pieces."""
    at_once = _ON_A_CLUSTER if at_once is None else at_once
    if at_once == 1 or len(plan.missing) >= _SHARDS_A_WORKER * at_once:
        return []
    counts = {number: work.pieces(number) for number in plan.missing}
    if max(counts.values()) < 2:
        return []
    return [f"{number}.{piece}" for number, count in counts.items() for piece in range(count)]


@dataclass
class _Making:
    """The passes over a column: where they run, and what their tasks used."""

    runner: Runner
    progress: BuildProgress
    notes: str
    """See `Runner.run`."""
    used: Usage = field(default_factory=Usage)

    def run(self, one: Pass, label: str) -> None:
        """Run what is left of a pass."""
        if todo := one.todo():
            with self.progress.watch(one, len(todo)) as told:
                name = f"{label}{one.label}"
                self.used.add(self.runner.run(name, one.graph(todo), told, self.notes))


def _manifest(
    plan: Plan, corpus_sha256: str, read: dict[str, dict[str, int]], making: _Making
) -> ColumnManifest:
    """Write the column's list of shards, and make the manifest that goes with it; `read` is what
    `Column.index` told."""
    name = f".list-{secrets.token_hex(4)}{files.TEMPORARY_SUFFIX}"
    work = ListWork(
        plan.corpus.path,
        corpus_sha256,
        plan.name,
        len(plan.corpus.shards),
        files.join(plan.folder, name),
    )
    outputs = {number: work.path(number) for number in range(len(work.runs))}
    one = Pass(f"{plan.name}: list", outputs, lambda todo: map_tasks(work, todo))
    making.run(one, "")
    total, size = one.poll(), 0

    def rows() -> Iterator[ColumnShard]:
        nonlocal size
        for row in work.rows():
            size += row.bytes
            yield row

    listed = write_list(plan.corpus.path, column_shard_list(plan.name), COLUMN_SHARD_LIST, rows())
    languages = work.languages()
    files.remove(work.folder)
    return ColumnManifest(
        name=plan.name,
        kind=plan.column.kind,
        version=plan.column.version,
        septet=version("septet"),
        fingerprint=plan.fingerprint,
        settings=plan.column.settings.deciding(),
        models=plan.models,
        reads=plan.reads,
        member=plan.column.member,
        bytes=size,
        base_list=plan.corpus.manifest.shard_list.sha256,
        shard_list=listed,
        counts={
            "samples": total.rows_in,
            "values": total.rows_out,
            **dict(sorted(total.rejected.items())),
        },
        languages=languages,
        rows=read,
    )


def _counts(manifest: ColumnManifest) -> Counts:
    return Counts(manifest.samples, manifest.values, Counter(manifest.reasons))
