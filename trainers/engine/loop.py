"""A run: from settings and corpora to checkpoints and figures."""

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from septet.preprocess.shards.reader import Corpus
from septet.trainers.draws import generator
from septet.trainers.engine.checkpoint import Checkpoints, completed
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.distributed import Parallel, World
from septet.trainers.engine.metrics import Clock, Reporter, forward_flops
from septet.trainers.engine.optim import MovingAverage, learning_rate, make_optimizer
from septet.trainers.engine.step import Updater
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.kept import read_tombstones
from septet.trainers.loader.source import Health, Source
from septet.trainers.task import Evaluator, Task, Tracker

LEAVE_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Run:
    """Everything that determines a run's result, with where it goes."""

    task: Task
    train: TrainSettings
    optimizer: OptimizerSettings
    corpora: Mapping[str, Sequence[tuple[Corpus, float]]]
    """Corpora and weights of each stream."""
    out: Path
    held_out: Corpus | None = None
    evaluators: Sequence[Evaluator] = ()
    """Measures beside the task's own."""
    trackers: Sequence[Tracker] = ()
    initial: Sequence[Path] = ()
    """Files of weights to start from (`Task.initial`); a resumed run does not look at them."""
    record: Mapping[str, Any] | None = None
    """What `run.json` should say of how the run was started."""


class _Signals:
    """Notes the first signal that asks to leave; a second interrupt leaves at once."""

    received: int | None = None

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    @contextmanager
    def caught(self) -> Iterator["_Signals"]:
        before = {number: signal.signal(number, self._note) for number in LEAVE_ON}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def fit(run: Run, world: World, console: Console | None = None) -> int:
    """Train from the newest checkpoint in `run.out`, or from the start.

    Returns:
        0 when all steps are done; 128 + N when signal N asked to leave, after saving.

    Raises:
        CheckpointError: what is in `run.out` belongs to another run.
        NonFiniteError: see `engine.step`. Checkpoints stay as they were.
        TooManyBadSamplesError: see `loader.source`.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    task, train = run.task, run.train
    if world.main:
        (run.out / "checkpoints").mkdir(parents=True, exist_ok=True)
    world.barrier()

    torch.manual_seed(int(generator("init", train.seed).integers(2**63)))
    module = task.build()
    begun: dict[str, torch.Tensor] = {}
    if not completed(run.out / "checkpoints"):
        for path in run.initial:
            begun |= task.initial(path)
        fresh = module.load_state_dict(begun, strict=False)
        assert not fresh.unexpected_keys, fresh.unexpected_keys
    module = module.to(world.device)
    parallel = Parallel(module, task, train, world)
    optimizer = make_optimizer(parallel.raw, task, run.optimizer)
    average = MovingAverage(parallel.raw, train.ema) if train.ema else None

    health = Health(train.max_bad_samples, run.out / f"skipped-{world.rank}.jsonl")
    dead = read_tombstones(train.tombstones)
    first = {sub.stream: sub.rows for step in range(64) for sub in task.plan(train.seed, step)}
    common = (train.seed, train.shuffle_window, health, train.complete_only, dead)
    sources = {
        name: Source(name, task, corpora, first.get(name, 1), *common)
        for name, corpora in run.corpora.items()
    }
    identity = {
        "corpora": {name: source.digests for name, source in sources.items()},
        "weights": {name: [w for _, w in corpora] for name, corpora in run.corpora.items()},
        "global_batch": train.global_batch,
        "seed": train.seed,
        "shuffle_window": train.shuffle_window,
        "ema": train.ema,
    }
    saves = Checkpoints(run.out / "checkpoints", train.keep, identity, world, train.async_save)
    progress = saves.load_latest(parallel.raw, optimizer, average) or Progress()
    flops = forward_flops(task)
    parameters = sum(p.numel() for p in parallel.raw.parameters())
    if world.main:
        _write_record(run, identity, parameters, flops, world)

    reporter = Reporter(run.out, world, train.steps, progress.step, console, run.trackers)
    evaluators = [*(task.evaluators(run.held_out) if run.held_out else []), *run.evaluators]
    start = f"resuming after step {progress.step}" if progress.step else "starting"
    reporter.say(
        f"{start}: {parameters:,} parameters, {world.size} x {world.device.type}, "
        f"{train.global_batch} samples a step, results in {run.out}"
    )
    if begun:
        reporter.say(f"weights from files; at random: {', '.join(fresh.missing_keys) or 'none'}")
    for name, source in sources.items():
        if left_out := sum(kept.dropped for kept in source.kept):
            reporter.say(f"{name}: {left_out:,} samples lack a column or are tombstones: left out")
        for column, lacking in source.lacking.items():
            reporter.say(f"{name}: {lacking:,} samples have no value in {column}: kept")
    update = Updater(task, parallel, optimizer, train.seed, run.optimizer.clip_norm)
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

    def evaluate() -> None:
        if average:
            average.swap(parallel.raw)
        with parallel.evaluating() as ready:
            figures = {
                f"{evaluator.name}/{name}": value
                for evaluator in evaluators
                for name, value in evaluator(ready, world.device).items()
            }
        if average:
            average.swap(parallel.raw)
        if figures:
            reporter.log(progress.step, figures)
            reporter.say(
                "held out: " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            )

    clock, warm, signals = Clock(), False, _Signals()
    try:
        with signals.caught():
            while progress.step < train.steps:
                began = time.perf_counter()
                step = next(loader)
                clock.waiting(began)
                batches = [[b.to(world.device) for b in sub] for sub in step.sub_batches]
                rate = learning_rate(run.optimizer, progress.step, train.steps)
                result = update(batches, progress.step, rate)
                if average:
                    average.update(parallel.raw)
                progress = step.after
                clock.steps += 1
                for sub in batches:
                    rows = world.size * sum(len(batch) for batch in sub)
                    clock.samples += rows
                    clock.tokens += rows * task.streams[sub[0].stream].tokens
                    clock.flops += rows * flops[sub[0].stream]

                last = progress.step == train.steps
                if progress.step % train.log_every == 0 or last:
                    rates = reporter.rates(clock)
                    left = train.steps - progress.step
                    rates["seconds_left"] = clock.seconds / clock.steps * left
                    bad = world.sum(torch.tensor(float(health.bad), device=world.device))
                    losses = {f"loss/{name}": value for name, value in result.losses.items()}
                    reporter.log(
                        progress.step,
                        {
                            "loss": result.total,
                            **losses,
                            "gradient_norm": result.gradient_norm,
                            "learning_rate": rate,
                            "skipped_samples": float(bad),
                            **rates,
                        },
                    )
                    reporter.show(progress.step, {"loss": result.total}, rates)
                if not warm or progress.step % train.log_every == 0:
                    warm = True
                    clock.restart()
                paused = time.perf_counter()
                saves.poll()
                leave = world.any(signals.received is not None)
                if leave or last or progress.step % train.save_every == 0:
                    saves.save(parallel.raw, optimizer, progress, average)
                if leave and not last:
                    saves.wait()
                    reporter.say(f"asked to leave: saved step {progress.step}")
                    return 128 + (signals.received or signal.SIGTERM)
                if last or progress.step % train.eval_every == 0:
                    evaluate()
                clock.pause(paused)
        saves.wait()
        reporter.say(f"done: {progress.step} steps, checkpoint in {saves.folder}")
        return 0
    finally:
        loader.close()
        reporter.close()


def _write_record(
    run: Run, identity: Mapping[str, Any], parameters: int, flops: Mapping[str, int], world: World
) -> None:
    """`run.json`: what is needed to run this again."""
    record = {
        **(run.record or {}),
        "train": run.train.model_dump(),
        "optimizer": run.optimizer.model_dump(),
        "corpora": {
            name: [{"path": corpus.path, "weight": weight} for corpus, weight in corpora]
            for name, corpora in run.corpora.items()
        },
        "initial": [str(path) for path in run.initial],
        "held_out": run.held_out.path if run.held_out else None,
        "identity": dict(identity),
        "parameters": parameters,
        "forward_flops_per_sample": dict(flops),
        "world": world.size,
        "device": world.device.type,
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }
    (run.out / "run.json").write_text(json.dumps(record, indent=1) + "\n")
