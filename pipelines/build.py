"""A build: the stages of a recipe in order, then its columns; what is complete is skipped."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from septet.pipelines.annotate.from_recipe import annotate_corpus, recipe_columns
from septet.pipelines.input_cache import CACHE_FOLDER
from septet.pipelines.inputs import find_inputs
from septet.pipelines.ownership import require_ours
from septet.pipelines.progress import BuildProgress
from septet.pipelines.report.current import is_current
from septet.pipelines.runners import Runner
from septet.pipelines.runners.usage import Usage
from septet.pipelines.sources.base import Input, whole_inputs
from septet.pipelines.stages.balance import BalanceStage
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.curate import CurateStage
from septet.pipelines.stages.dedup import DedupStage
from septet.pipelines.stages.fetch import FetchStage
from septet.pipelines.stages.filter import FilterStage
from septet.pipelines.stages.folders import move_into_folders, remove_others
from septet.pipelines.stages.report import ReportStage
from septet.pipelines.stages.source import SourceStage
from septet.pipelines.stages.stage import Context, Done, Pass, Stage
from septet.pipelines.stages.write import WriteStage
from septet.pipelines.store.store import Store
from septet.preprocess import files
from septet.preprocess.images.plug_ins import missing_packages
from septet.preprocess.locks import locked
from septet.preprocess.shards.heads import read_head
from septet.schemas import layout
from septet.schemas.columns import ColumnManifest
from septet.schemas.manifest import Manifest
from septet.schemas.recipe import Recipe
from septet.schemas.recipe_file import RecipeError
from septet.schemas.sources import ListSource

STAGES: tuple[type[Stage], ...] = (
    SourceStage, FilterStage, BalanceStage, DedupStage, FetchStage, CurateStage, WriteStage,
    ReportStage,
)  # fmt: skip
"""The stages in the order in which they run, where a recipe asks for them; each reads what those
before it give."""


@dataclass(frozen=True)
class StageResult:
    """The result of one stage: its figures, its seconds, whether it was up to date, and what its
    tasks used in this build."""

    name: str
    counts: Counts
    seconds: float
    skipped: bool
    used: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class BuildResult:
    """The result of a build: the corpus, the figures of its stages, and its columns."""

    corpus: str
    """Its folder."""
    manifest: Manifest
    stages: list[StageResult]
    columns: list[ColumnManifest]
    nothing_to_do: bool
    """Whether every stage and every column was up to date."""
    inputs: list[str]
    """Paths of the inputs."""
    image_roots: dict[str, str]
    """Folders of images that were read, with a digest of the names, sizes and times in each."""


class EmptyCorpusError(ValueError):
    """Raised when a build keeps no sample; says what became of its rows."""


def resolve(
    recipe: Recipe,
    folder: str,
    corpus: str,
    remember: bool = False,
    workers: int | None = None,
) -> list[Stage]:
    """Make the stages of a build with their fingerprints; looks into the inputs, runs nothing.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.
        corpus: The corpus folder.
        remember: Whether to note what the inputs are, so that the next start need not read them.
        workers: The number of tasks that run at once, where that is known.

    Raises:
        RecipeError: an input that is not there.
        InputError: an input that cannot be used.
    """
    inputs = find_inputs(recipe, folder, corpus, remember=remember)
    return chain(recipe, inputs, folder, corpus, workers)


def chain(
    recipe: Recipe,
    inputs: tuple[Input, ...],
    folder: str,
    corpus: str,
    workers: int | None = None,
) -> list[Stage]:
    """Make the stages of given inputs, each with the stages that give what it reads."""
    context = Context(corpus, recipe, folder, inputs, workers)
    stages: list[Stage] = []
    givers: dict[str, Stage] = {}
    for kind in STAGES:
        if not kind.asked_for(recipe):
            continue
        stage = kind(context, {name: givers[name] for name in kind.reads})
        givers |= dict.fromkeys(kind.gives, stage)
        if isinstance(stage, ReportStage):
            stage.before = tuple(stages)
        stages.append(stage)
    return stages


class LostRowsError(RuntimeError):
    """Raised when a stage's figures do not add up, which is a fault of Septet."""


def build(
    recipe: Recipe,
    folder: str,
    corpus: str,
    runner: Runner,
    progress: BuildProgress,
    retry: Sequence[str] = (),
) -> BuildResult:
    """Build a corpus, or finish or refresh one; a corpus that is up to date is left as it is.

    Args:
        recipe: A parsed recipe.
        folder: Where the recipe's relative paths start.
        corpus: The corpus folder.
        runner: The runner of the pipelines.
        progress: Told what happens.
        retry: Classes of failures (see `septet.schemas.reasons.CLASSES`), or reasons, whose images
            are to be fetched again, beside those of the recipe; `passing` are those that may
            succeed later.

    Raises:
        RecipeError: an input that is not there, a column that cannot be made, or a format for
            which a package is missing.
        InputError: an input that cannot be used.
        EmptyCorpusError: no sample is left to be written; an earlier corpus stays as it is.
        ForeignFolderError: the folder holds what no build put there.
        ValueError: no such class of failures.
        FolderBusyError: another build or an annotation is at work in the same folder.
        OutageError: there was no network, or none for most of the fetches; what arrived is kept.
        StageFailed: a stage failed; what it finished is kept.
    """
    recipe_columns(recipe, folder)  # before anything is run
    if missing := missing_packages(recipe.image.more_formats):
        raise RecipeError(
            f"image.more_formats: {' and '.join(missing)} is not installed; "
            "`pip install septet[formats]`"
        )
    if recipe.curate.near_text != "off" and find_spec("numba") is None:
        raise RecipeError("curate.near_text: numba is not installed; `pip install septet[near]`")
    require_ours(corpus)
    busy = f"another build or annotation is at work in {corpus}"
    with locked(corpus, alone=True, busy=busy), _without_temporaries(corpus):
        if moved := move_into_folders(files.join(corpus, layout.STAGES)):
            progress.warn(
                f"{layout.STAGES}/: {moved:,} files of a build by an earlier Septet were moved "
                "into folders of a thousand; what it finished is used"
            )
        store = Store(corpus, recipe)
        if again := [*dict.fromkeys((*retry, *recipe.fetch.retry_failed))]:
            store.retry(again)
        stages = resolve(recipe, folder, corpus, remember=True, workers=runner.tasks_at_once)
        if lacks_contact(recipe):
            progress.warn(
                "fetch: no `contact` is set, and a list names images by URL: the build will stop "
                "before it asks a public host for any that the store lacks"
            )
        results: list[StageResult] = []
        for stage in stages[:-1]:
            if isinstance(stage, WriteStage):
                _require_samples(results)
            results.append(_run_stage(stage, runner, progress))
            _require_no_loss(results)
        results.append(_report(stages, results, runner, progress))
        if not results[-1].skipped:
            _remove_old_stages(corpus, stages)
            store.sweep()
    columns, made, worked = annotate_corpus(recipe, folder, corpus, runner, progress)
    if not is_current(corpus):
        from septet.pipelines.report.page import refresh_report  # only here: plotting and templates

        refresh_report(corpus, made)
    manifest = read_head(corpus)
    nothing = not worked and all(result.skipped for result in results)
    inputs = [one.path for one in whole_inputs(stages[0].context.inputs)]
    roots = {
        root.path: root.digest
        for stage in stages
        if isinstance(stage, FetchStage)
        for root in stage.image_roots.values()
    }
    return BuildResult(corpus, manifest, results, columns, nothing, inputs, roots)


@contextmanager
def _without_temporaries(corpus: str) -> Iterator[None]:
    """Remove temporary files that workers left when they were killed, before the block and after
    it, also where it failed: on a full disk they take the space that would let it go on."""
    files.remove_temporaries(corpus)
    try:
        yield
    finally:
        files.remove_temporaries(corpus)


def lacks_contact(recipe: Recipe) -> bool:
    """Whether public hosts are likely to be asked, and nothing says whom they may turn to. Known
    for certain when the stage fetch has found what is missing."""
    fetch = recipe.fetch
    if fetch.has_contact or fetch.without_contact != "stop" or fetch.allowed_hosts:
        return False
    lists = (source for source in recipe.sources if isinstance(source, ListSource))
    return any(one.url_col and not one.image_root and not one.image_col for one in lists)


def _require_samples(results: list[StageResult]) -> None:
    if results[-1].counts.rows_out:
        return
    lines = [
        f"  {result.name}: {result.counts.rows_in:,} in, {result.counts.rows_out:,} out"
        + "".join(f", {reason} {n:,}" for reason, n in result.counts.rejected.most_common())
        for result in results
    ]
    raise EmptyCorpusError(
        "no sample is left, so no corpus was written; docs/reasons.md has what the reasons mean:\n"
        + "\n".join(lines)
    )


def _run_stage(stage: Stage, runner: Runner, progress: BuildProgress) -> StageResult:
    start = time.monotonic()
    done = stage.done()
    if done is not None:
        progress.skip(stage.name, done.counts)
        return StageResult(stage.name, done.counts, 0.0, True)
    stage.prepare()
    last, used = None, Usage()
    for last in stage.passes():
        used.add(_run_pass(last, stage.corpus, runner, progress))
    assert last is not None
    counts = stage.finish(last).counts
    seconds = time.monotonic() - start
    progress.finish(stage.name, counts, seconds, **used.to_dict())
    return StageResult(stage.name, counts, seconds, False, used)


def _run_pass(one: Pass, corpus: str, runner: Runner, progress: BuildProgress) -> Usage:
    """Run what is left of a pass; returns what its tasks used."""
    todo = one.todo()
    if not todo:
        return Usage()
    with progress.watch(one, len(todo)) as told:
        return runner.run(
            one.label, one.graph(todo), told, files.join(corpus, layout.STAGES, "usage")
        )


def _require_no_loss(results: list[StageResult]) -> None:
    """Check that every row that a stage was given is kept or rejected, and that it was given all
    rows of the stage before.

    Raises:
        LostRowsError: some are missing.
    """
    last, counts = results[-1].name, results[-1].counts
    if counts.rows_in != counts.rows_out + counts.rejected.total():
        raise LostRowsError(
            f"stage {last} took in {counts.rows_in:,} rows, but gave {counts.rows_out:,} and "
            f"rejected {counts.rejected.total():,}: please report this"
        )
    if len(results) > 1 and results[-2].counts.rows_out != counts.rows_in:
        raise LostRowsError(
            f"stage {results[-2].name} gave {results[-2].counts.rows_out:,} rows, but {last} took "
            f"in {counts.rows_in:,}: please report this"
        )


def _report(
    stages: list[Stage], results: list[StageResult], runner: Runner, progress: BuildProgress
) -> StageResult:
    from septet.pipelines.report.page import write_report  # only here: plotting and templates

    stage = stages[-1]
    assert isinstance(stage, ReportStage)
    start = time.monotonic()
    published = files.exists(files.join(stage.corpus, layout.MANIFEST))
    done = stage.done()
    if done is not None and published:
        progress.skip(stage.name, done.counts)
        return StageResult(stage.name, done.counts, 0.0, True)
    stage.prepare()
    used = Usage()
    for one in stage.passes():
        used.add(_run_pass(one, stage.corpus, runner, progress))
    manifest = stage.publish([result.counts for result in results])
    counts = Counts(rows_in=manifest.samples, rows_out=manifest.samples)
    seconds = time.monotonic() - start
    result = StageResult(stage.name, counts, seconds, False, used)
    times = [
        {"stage": r.name, "seconds": round(r.seconds, 3), "skipped": r.skipped}
        | ({} if r.skipped else r.used.to_dict())
        for r in [*results, result]
    ]
    ran = {"runner": runner.name, "workers": runner.job.workers, "stages": times}
    files.write_bytes(
        files.join(stage.corpus, layout.BUILD_TIMES), (json.dumps(ran, indent=1) + "\n").encode()
    )
    write_report(stage.corpus, stage.statistics())
    stage.mark(Done(counts))
    progress.finish(stage.name, counts, time.monotonic() - start, **used.to_dict())
    return result


def _remove_old_stages(corpus: str, stages: list[Stage]) -> None:
    """Remove the intermediate files of other recipes: they can be made again, and disks are
    finite."""
    current = (path for stage in stages for path in stage.current_files())
    remove_others(files.join(corpus, layout.STAGES), current, (CACHE_FOLDER,))
