"""`septet train`. Nothing here imports torch before a run starts, so that help is instant."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from septet.preprocess import files
from septet.preprocess.log import tell_error
from septet.preprocess.shards.views import split_view
from septet.schemas.layout import MANIFEST
from septet.trainers.commands.models import MODELS, presets_of

if TYPE_CHECKING:
    from septet.preprocess.shards.reader import Corpus
    from septet.trainers.task import Tracker

_CORPUS = re.compile(r"(?:(?P<stream>\w+)=)?(?P<path>.+)", re.DOTALL)


def train(
    model: Annotated[str, typer.Argument(help=f"What to train: {', '.join(MODELS)}.")],
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Corpus folder, or PATH@VIEW for some of its samples. Several are mixed by "
            "weight, PATH@WEIGHT. Where a model reads "
            "several kinds of data, STREAM=PATH names the kind; a PATH alone is for all kinds that "
            "are not named. A dry run needs none."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Size and recipe; `debug` runs on a laptop.")] = (
        "debug"
    ),
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Corpus to measure on; must not overlap the trained ones. Several have names, "
            "NAME=PATH, which stand before their figures."
        ),
    ] = None,
    zero_shot: Annotated[
        str | None,
        typer.Option(help="Corpus of labelled images (member cls) to classify by description."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help='Its classes, as JSON: {"classes": […], "templates": ["a photo of a {}"]}.'
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of the run, on disk or in a store (s3://…). Default: runs/MODEL-PRESET."
        ),
    ] = None,
    initial: Annotated[
        list[str] | None,
        typer.Option(
            help="File of weights to start from, in a form that the model reads, or the folder of "
            "an earlier run, at another resolution perhaps; several may each hold a part. What "
            "none holds starts at random."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to do in all (train.steps).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random (train.seed).")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode, on each rank (train.workers).")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            help="Go on from the newest checkpoint in the folder. --no-resume starts anew and "
            "keeps the old folder under another name."
        ),
    ] = True,
    wandb: Annotated[
        str | None, typer.Option(help="Log to this Weights & Biases project as well.")
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve the newest figures for Prometheus there, from the first rank.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate memory, FLOPs and reading; train nothing.")
    ] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Devices of a dry run.")] = 1,
    card: Annotated[float, typer.Option(min=1, help="Memory of a device of a dry run, GB.")] = 80.0,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Cluster of a dry run, for its wires too: 128xA100-80 or 64xH200. In place of "
            "--ranks and --card."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: KEY=VALUE. A wrong KEY lists them all."),
    ] = None,
) -> None:
    """Train a model on a corpus.

    Checkpoints, metrics.jsonl, TensorBoard files and run.json go to the run's folder. The same
    command again resumes exactly where the run stopped; SIGTERM and Ctrl-C save first.

    Examples:

      septet train clip corpora/demo --preset debug

      septet train clip corpora/web --preset vit-b-32 --held-out corpora/coco-val
      --set train.global_batch=4096 --set optimizer.lr=2.5e-4

      torchrun --shutdown-timeout 600 --nproc-per-node 8 -m septet train clip corpora/web
      --preset vit-l-14 --set train.micro_batch=512

      septet train clip corpora/web --preset vit-l-14 --dry-run --ranks 256

      septet train clip corpora/web@0.8 corpora/docs@0.2 --preset rn50

      septet train flava corpora/pairs texts=corpora/news --preset base
      --initial dino_vitbase16_pretrain.pth
    """
    try:
        flags = {"steps": steps, "seed": seed, "workers": workers}
        given = [f"train.{name}={value}" for name, value in flags.items() if value is not None]
        settings = (changes or []) + given
        measures = (held_out or [], zero_shot, classes)
        dry = (ranks, card, cluster) if dry_run else None
        parts = tuple(initial or ())
        trackers = [] if dry_run else _trackers(wandb, prometheus)
        code = train_model(
            model, corpus or [], preset, measures, out, parts, resume, trackers, settings, dry
        )
    except _user_errors() as error:
        tell_error("septet train", str(error))
        raise typer.Exit(1) from error
    raise typer.Exit(code)


def has_corpus(path: str) -> bool:
    """Whether a folder or URL has a corpus; PATH@VIEW is the corpus PATH."""
    return bool(path) and files.exists(files.join(split_view(path)[0], MANIFEST))


def _user_errors() -> tuple[type[Exception], ...]:
    """What is told without a traceback."""
    try:
        from septet.trainers.engine.update import NonFiniteError
        from septet.trainers.loader.members import StorageError
        from septet.trainers.loader.source import TooManyBadSamplesError
    except ImportError:
        return (ValueError,)
    return (ValueError, NonFiniteError, StorageError, TooManyBadSamplesError)


def train_model(
    model: str,
    corpora: list[str],
    preset: str,
    measures: tuple[list[str], str | None, Path | None],
    out: str | None,
    initial: tuple[str, ...],
    resume: bool,
    trackers: "Sequence[Tracker]",
    changes: list[str],
    devices: tuple[int, float, str | None] | None,
) -> int:
    """Train a model, or with `devices` (how many, and their memory in GB; or a cluster's name)
    only estimate what that takes.

    Returns:
        The command's status.
    """
    presets = presets_of(model)
    if preset not in presets:
        raise ValueError(f"{model} has no preset {preset!r}; it has: {', '.join(presets)}")
    from septet.preprocess.shards.reader import Corpus
    from septet.trainers.engine.loop import Run, fit
    from septet.trainers.engine.world import world
    from septet.trainers.memory import keep_freed_memory
    from septet.trainers.settings.overrides import override
    from septet.trainers.weights.nearest import told_nearest

    settings = override(presets[preset], changes)
    task = settings.task()
    cache = _cache(settings.train) if devices is None else None
    given: dict[str | None, list[tuple[Corpus, float]]] = {}
    for text in corpora:
        stream, path, weight = _parse(text, list(task.streams))
        given.setdefault(stream, []).append((Corpus(path, cache=cache), weight))
    streams = {name: given.get(name, given.get(None, [])) for name in task.streams}
    missing = [name for name, found in streams.items() if not found]
    if missing and devices is None:
        raise ValueError(
            f"{model} reads {', '.join(streams)}; no corpus is given for {', '.join(missing)}. "
            f"Give one as {missing[0]}=PATH"
        )
    if devices is not None:
        from rich.console import Console

        from septet.trainers.commands.dryrun import show
        from septet.trainers.scale.clusters import named
        from septet.trainers.scale.estimate import A_NODE, estimate

        count, card, name = devices
        cluster = named(name) if name else None
        if cluster:
            count, card = cluster.ranks, cluster.memory
        a_node = cluster.ranks_a_node if cluster else A_NODE
        needs = estimate(task, settings.train, settings.optimizer, streams, count, a_node)
        show(needs, settings.train, count, card, Console(soft_wrap=True), cluster)
        return 0
    folder = out or f"runs/{model}-{preset}"
    _check_stage(model, preset, settings.after, initial, folder if resume else "")
    with closing(cache) if cache else nullcontext(), world() as ranks:
        if ranks.device.type == "cpu":
            keep_freed_memory()
        run = Run(
            task=task,
            train=settings.train,
            optimizer=settings.optimizer,
            corpora=streams,
            out=folder,
            held_out=_held_out(measures[0], streams, cache),
            evaluators=_zero_shot(task, *measures[1:]),
            trackers=trackers,
            initial=initial,
            resume=resume,
            record={"model": model, "preset": preset, "settings": settings.model_dump()},
        )
        with told_nearest(presets, preset):
            return fit(run, ranks)


def _check_stage(
    model: str, preset: str, after: str | None, initial: Sequence[str], folder: str
) -> None:
    """A later stage of a recipe begins with the weights of an earlier one, of the same model."""
    from septet.trainers.commands.trained import run_record

    if after and not initial and not (folder and files.exists(files.join(folder, "checkpoints"))):
        raise ValueError(
            f"{preset} goes on from the weights of {after}: give a run of it, or a file, as "
            "--initial PATH; or say --set after=null to start at random"
        )
    for path in initial:
        if files.exists(files.join(path, "checkpoints")):
            other = run_record(path)["model"]
            if other != model:
                raise ValueError(f"--initial {path} is a run of {other}, not of {model}")


def _parse(text: str, streams: list[str]) -> tuple[str | None, str, float]:
    """Stream, path and weight of a corpus as it is given; a path that has a corpus is that path,
    whatever characters it has."""
    if has_corpus(text):
        return None, text, 1.0
    found = _CORPUS.match(text)
    if found is None:
        raise ValueError(
            "a corpus is given as PATH, PATH@VIEW, PATH@WEIGHT or STREAM=PATH; found none"
        )
    stream, path = found["stream"], found["path"]
    if stream is not None and stream not in streams:
        raise ValueError(
            f"{text}: there is no stream {stream!r}; there are: {', '.join(streams)}. A path with "
            f"an = in it is written {streams[0]}=PATH"
        )
    weight = 1.0
    if not has_corpus(path) and "@" in path:
        path, _, given = path.rpartition("@")
        try:
            weight = float(given)
        except ValueError:
            if has_corpus(path):
                raise ValueError(f"{text}: weight {given!r} is no number") from None
            path = f"{path}@{given}"
    if not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"{text}: a weight must be above zero")
    return stream, path, weight


def _held_out(
    given: list[str], trained: "Mapping[str, Sequence[tuple[Corpus, float]]]", cache: Any
) -> "dict[str, Corpus]":
    from septet.preprocess.shards.reader import Corpus
    from septet.trainers.loader.overlap import refuse_overlap

    found: dict[str, Corpus] = {}
    for text in given:
        named = None if has_corpus(text) else _CORPUS.match(text)
        name, path = (named["stream"] or "", named["path"]) if named else ("", text)
        if name in found:
            raise ValueError(
                f"--held-out {text}: give each of several a name of its own, NAME=PATH"
            )
        found[name] = Corpus(path, cache=cache)
    others = {corpus.label: corpus for corpora in trained.values() for corpus, _ in corpora}
    for corpus in found.values():
        refuse_overlap(corpus, others.values())
    return found


def _cache(train: Any) -> Any:
    from septet.preprocess.shards.blocks import BlockCache

    return BlockCache(train.cache, train.cache_bytes) if train.cache else None


def _trackers(wandb: str | None, prometheus: str | None) -> "list[Tracker]":
    from septet.trainers.tracking.prometheus import Prometheus
    from septet.trainers.tracking.wandb import Wandb

    found: list[Tracker] = [Wandb(wandb)] if wandb else []
    return [*found, Prometheus(prometheus)] if prometheus else found


def _zero_shot(task: Any, corpus: str | None, classes: Path | None) -> list[Any]:
    if (corpus is None) != (classes is None):
        raise ValueError("--zero-shot and --classes go together: images, and their class names")
    if corpus is None or classes is None:
        return []
    from septet.preprocess.shards.reader import Corpus
    from septet.trainers.measures.zero_shot import ZeroShot

    if not classes.exists():
        raise ValueError(f"--classes {classes}: there is no such file")
    try:
        given = json.loads(classes.read_text())
    except ValueError as error:
        raise ValueError(f"--classes {classes} is no JSON: {error}") from error
    if not isinstance(given, dict) or not {"classes"} <= set(given) <= {"classes", "templates"}:
        raise ValueError(f"{classes} must be a JSON object with classes and, if wanted, templates")
    return [ZeroShot(task, next(iter(task.streams)), Corpus(corpus), **given)]


if __name__ == "__main__":
    typer.run(train)
