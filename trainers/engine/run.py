"""A run, and all of it that is made ready before its first step."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from septet.preprocess import files
from septet.preprocess.locks import unless_lost
from septet.preprocess.log import make_console
from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.checkpoint import Checkpoints, SavedWeights, completed
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.folder import RunFolder, set_aside
from septet.trainers.engine.initial import Initial
from septet.trainers.engine.lock import only_run_in
from septet.trainers.engine.metrics import Flops, Meter, Reporter, peak_flops, sample_flops
from septet.trainers.engine.optim import MovingAverage, learning_rate, make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.resume import Described
from septet.trainers.engine.update import Update, Updater
from septet.trainers.engine.world import World
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.kept import read_tombstones
from septet.trainers.loader.source import Health, Source
from septet.trainers.loader.tally import Tally, tally_figures
from septet.trainers.measures.named import measures_on
from septet.trainers.standard_json import standard, to_json
from septet.trainers.task import Evaluator, Task, Tracker


@dataclass(frozen=True)
class Run:
    """Everything that determines a run's result, with where it goes."""

    task: Task
    train: TrainSettings
    optimizer: OptimizerSettings
    corpora: Mapping[str, Sequence[tuple[Corpus, float]]]
    """Corpora and weights of each stream."""
    out: str
    """Its folder: a local path, or a URL that fsspec knows."""
    held_out: Mapping[str, Corpus] = field(default_factory=dict)
    """Corpora to measure on, by name; a name stands before its figures, an empty one does not."""
    evaluators: Sequence[Evaluator] = ()
    """Measures beside the task's own."""
    trackers: Sequence[Tracker] = ()
    initial: Sequence[Path | str] = ()
    """Files of weights to start from (`Task.initial`), or folders of runs whose weights are an
    earlier stage's; a resumed run does not look at them."""
    resume: bool = True
    """Go on from the newest checkpoint in the folder; otherwise the folder is set aside."""
    record: Mapping[str, Any] | None = None
    """What `run.json` should say of how the run was started."""


@dataclass
class Prepared:
    """A run that is ready for its next step. All ranks call its methods together."""

    run: Run
    world: World
    folder: RunFolder
    parallel: Parallel
    average: MovingAverage | None
    health: Health
    saves: Checkpoints
    progress: Progress
    flops: Mapping[str, Flops]
    """Of a sample, by kind; none where the device's peak is not known."""
    reporter: Reporter
    evaluators: Sequence[Evaluator]
    update: Updater
    loader: Loader
    meter: Meter = field(default_factory=Meter)
    last: Update | None = None
    """What the newest step came to."""
    tally: Tally = field(default_factory=Tally)
    """What this rank's rows were since the last report."""

    def advance(self, asked: bool) -> bool:
        """Do one step.

        Args:
            asked: Whether a signal asked this rank to leave.

        Returns:
            Whether one asked any rank. Where there are several, the step itself carries the
            question, so that a signal during a step may be answered after the next one.
        """
        self.meter.begin_step()
        with self.meter.waiting():
            step = next(self.loader)
        batches = [[batch.to(self.world.device) for batch in sub] for sub in step.sub_batches]
        rate = learning_rate(self.run.optimizer, self.progress.step, self.run.train.steps)
        self.last = self.update(batches, self.progress.step, rate, asked)
        if self.average:
            self.average.update(self.parallel.raw)
        self.progress = step.after
        self.tally += step.tally
        self.meter.steps += 1
        for sub in batches:
            rows = self.world.size * sum(len(batch) for batch in sub)
            self.meter.samples += rows
            self.meter.tokens += self.world.size * sum(batch.tokens for batch in sub)
            if sub[0].kind in self.flops:
                self.meter.flops += rows * self.flops[sub[0].kind].training
        self.saves.poll()
        return self.last.asked

    def report(self) -> None:
        """Record the newest step's figures and begin a new stretch of time."""
        assert self.last is not None
        rates = self.reporter.rates(self.meter, self.run.train.steps - self.progress.step)
        self.meter.restart()  # at once: writing the figures is part of the next stretch
        bad = self.world.sum(torch.tensor(float(self.health.bad)))
        tally, self.tally = sum(self.world.gather_objects(self.tally), Tally()), Tally()
        losses = {f"loss/{name}": value for name, value in self.last.losses.items()}
        figures = {
            "loss": self.last.total,
            **losses,
            "gradient_norm": self.last.gradient_norm,
            "learning_rate": self.last.rate,
            "skipped_samples": float(bad),
            **tally_figures(tally, self.run.task.streams),
            **rates,
        }
        self.reporter.log(self.progress.step, figures)
        named = self.last.losses if len(self.last.losses) > 1 else {}
        self.reporter.show(self.progress.step, {"loss": self.last.total, **named}, figures)

    def save(self) -> None:
        """Write a checkpoint."""
        self.world.max(torch.zeros(()))  # the wait for the slowest rank is no pause
        with self.meter.paused():
            self.saves.save(self.parallel.raw, self.update.optimizer, self.progress, self.average)
            self.folder.publish()

    def measure(self) -> None:
        """Take the measures, with the moving average of the weights where there is one. Before
        the last ones, a checkpoint that is being written is finished: measures may fail."""
        self.world.max(torch.zeros(()))
        with self.meter.paused():
            if self.progress.step >= self.run.train.steps:
                self.saves.wait()
            if self.average:
                self.average.swap(self.parallel.raw)
            with self.parallel.evaluating() as ready:
                figures = {
                    f"{evaluator.name}/{name}": value
                    for evaluator in self.evaluators
                    for name, value in evaluator(ready, self.world.device).items()
                }
            if self.average:
                self.average.swap(self.parallel.raw)
            if figures:
                self.reporter.log(self.progress.step, figures)
                shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
                self.reporter.say(f"held out: {shown}", step=self.progress.step, **figures)

    def finish(self, why: str) -> None:
        """Wait for a checkpoint that is being written, and say `why` the run ends."""
        self.saves.wait()
        self.reporter.say(f"{why} {self.progress.step}, checkpoints in {self.saves.folder}")


@contextmanager
def prepare(run: Run, world: World, console: Console | None = None) -> Iterator[Prepared]:
    """The run's parts, with its newest checkpoint loaded; closed when the block ends. If it ends
    by a failure, a checkpoint that is being written is finished first.

    Raises:
        CheckpointError: what is in `run.out` belongs to another run, or is damaged.
        FolderBusyError: another run trains in it.
        ValueError: something does not fit; what was in the folder stays as it was.
    """
    console = console or make_console(highlight=False, soft_wrap=True)
    task, train = run.task, run.train
    with ExitStack() as stack:
        held = stack.enter_context(only_run_in(run.out, world))
        sources = _sources(run, Health(train.max_bad_samples))
        evaluators = [
            *(m for name, corpus in run.held_out.items() for m in measures_on(task, corpus, name)),
            *run.evaluators,
        ]
        initial = Initial(task.build, train.seed)
        described = standard(_describe(run, sources, world))
        saves = Checkpoints(
            files.join(run.out, "checkpoints"),
            train.keep,
            described,
            world,
            train.async_save,
            train.damaged,
        )
        stack.callback(saves.abandon)
        newest = saves.newest(initial.module) if run.resume else None
        given = {} if newest else _given(run, initial)
        begun = set(given)
        parallel = Parallel(
            initial.module,
            task,
            train,
            world,
            lambda module: initial.fill(module, given, parameters=newest is None),
        )
        optimizer = make_optimizer(parallel.raw, task, run.optimizer)
        average = MovingAverage(parallel.raw, train.ema) if train.ema else None

        # All that can be found wrong has been; only now is anything written.
        aside = set_aside(run.out) if world.main and not run.resume else None
        world.barrier()
        folder = RunFolder(run.out)
        folder.fetch()
        progress = Progress()
        if newest is not None:
            progress = saves.load(newest, parallel.raw, optimizer, average)
        flops = sample_flops(task) if peak_flops(world.device) else {}
        parameters = sum(p.numel() for p in parallel.raw.parameters())
        if world.main:
            _write_record(folder.here, run, described, parameters, flops)
        health = next(iter(sources.values())).health
        health.report = folder.here / f"skipped-{world.rank}.jsonl"
        reporter = Reporter(folder.here, world, train.steps, progress.step, console, run.trackers)
        stack.push(unless_lost(folder.publish))
        stack.callback(reporter.close)
        saves.told += [held] if held else []
        for line in _greeting(run, world, newest, progress, aside, saves.told, parameters):
            reporter.say(line)
        if begun:
            rest = [name for name, _ in parallel.raw.named_parameters() if name not in begun]
            reporter.say(f"weights from files; at random: {', '.join(rest) or 'none'}")
        for line in itertools.chain(*(source.told() for source in sources.values())):
            reporter.say(line)
        loader = Loader(
            task,
            sources,
            seed=train.seed,
            progress=progress,
            rank=world.rank,
            world=world.size,
            micro_batch=train.micro_batch,
            workers=train.workers,
            prefetch=train.prefetch,
            readahead=train.readahead if train.cache else 0,
        )
        stack.callback(loader.close)
        yield Prepared(
            run=run,
            world=world,
            folder=folder,
            parallel=parallel,
            average=average,
            health=health,
            saves=saves,
            progress=progress,
            flops=flops,
            reporter=reporter,
            evaluators=evaluators,
            update=Updater(task, parallel, optimizer, train.seed, run.optimizer.clip_norm),
            loader=loader,
        )


def _greeting(
    run: Run,
    world: World,
    newest: str | None,
    progress: Progress,
    aside: str | None,
    told: Sequence[str],
    parameters: int,
) -> Iterator[str]:
    """The first lines that a run says."""
    start = f"resuming after step {progress.step}" if newest else "starting"
    yield (
        f"{start}: {parameters:,} parameters, {world.size} x {world.device.type}, "
        f"{run.train.global_batch} samples a step, results in {run.out}"
    )
    if aside:
        yield f"the earlier run is kept in {aside}"
    yield from told
    if newest and run.initial:
        names = ", ".join(map(str, run.initial))
        yield f"--initial {names} is not looked at: the weights are those of the checkpoint"


def _describe(run: Run, sources: Mapping[str, Source], world: World) -> Described:
    """What a checkpoint says of its run, see `engine.resume`."""
    settings = run.task.settings
    return {
        "model": settings.model_dump(mode="json") if settings else None,
        "corpora": {name: source.digests for name, source in sources.items()},
        "order": {name: source.order_digest for name, source in sources.items()},
        "shares": {name: [w for _, w in corpora] for name, corpora in run.corpora.items()},
        "train": run.train.model_dump(mode="json"),
        "optimizer": run.optimizer.model_dump(mode="json"),
        "world": {"ranks": world.size, "device": world.device.type},
    }


def _given(run: Run, initial: Initial) -> dict[str, Callable[[], torch.Tensor]]:
    """Weights from the run's files, mapped where the files are local, or from an earlier stage's
    checkpoint, read one by one."""
    given: dict[str, Callable[[], torch.Tensor]] = {}
    known = initial.module.state_dict()
    for path in run.initial:
        if completed(stage := files.join(str(path), "checkpoints")):
            saved = SavedWeights(stage)
            found = run.task.from_stage(saved.empty)
            given |= {
                name: partial(_of_stage, run.task, saved, name, x) for name, x in found.items()
            }
        else:
            found = run.task.initial(path).weights
            given |= {name: x.detach for name, x in found.items()}
        for name, x in found.items():
            if name not in known or x.shape != known[name].shape:
                expected = list(known[name].shape) if name in known else "nothing of that name"
                raise ValueError(f"{path}: {name} is {list(x.shape)}; the module has {expected}")
    return given


def _of_stage(task: Task, saved: SavedWeights, name: str, wanted: torch.Tensor) -> torch.Tensor:
    """An earlier stage's weight, resized where `wanted` is of another size."""
    found = saved[name]
    return found if found.shape == wanted.shape else task.from_stage({name: found})[name]


def _sources(run: Run, health: Health) -> dict[str, Source]:
    train, task = run.train, run.task
    dead = read_tombstones(train.tombstones)
    common = (train.seed, train.shuffle_window, health, train.complete_only, dead)
    return {name: Source(name, task, corpora, *common) for name, corpora in run.corpora.items()}


def _write_record(
    folder: Path, run: Run, described: Described, parameters: int, flops: Mapping[str, Flops]
) -> None:
    """`run.json`: what is needed to run this again."""
    record = {
        **described,
        **(run.record or {}),
        "out": run.out,
        "paths": {name: [c.path for c, _ in corpora] for name, corpora in run.corpora.items()},
        "initial": [str(path) for path in run.initial],
        "held_out": {name: corpus.path for name, corpus in run.held_out.items()},
        "parameters": parameters,
        "forward_flops_per_sample": {kind: one.forward for kind, one in flops.items()},
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }
    (folder / "run.json").write_text(to_json(record, indent=1) + "\n", encoding="utf-8")
