"""One update on CPU: Septet's engine beside open_clip's CLIP and transformers' FLAVA.

    python -m benchmarks.step [--quick] [clip] [flava]

Same sizes, same weights, same batch, fp32, two threads, fused AdamW with the same parameter groups,
nothing compiled. First losses must agree to 1e-4. Rounds are interleaved; the ratio is the median
of the rounds' paired ratios, the peer's time over Septet's. "whole engine" is a whole step of
the engine (loader with decoding in threads, counts, checks, schedule) over a bare loop of forward,
backward and optimizer on the same module. FLAVA's step is the mean of its three kinds' by their
published shares.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch

from preprocess.shards.reader import Corpus
from tests.trainers.corpora import scenes_corpus
from tests.trainers.flava.small import batch, reference, theirs_of
from trainers.clip.model import Clip, ClipSettings
from trainers.clip.task import ClipTask
from trainers.clip.weights import to_open_clip
from trainers.engine.config import OptimizerSettings, TrainSettings
from trainers.engine.distributed import Parallel, World
from trainers.engine.optim import make_optimizer
from trainers.engine.step import Updater
from trainers.flava.model import Flava
from trainers.flava.settings import EncoderSettings, FlavaSettings
from trainers.flava.task import FlavaTask
from trainers.images import normalise
from trainers.loader.batches import Loader, Progress
from trainers.loader.source import Health, Source
from trainers.task import Task

THREADS = 2
OPTIMIZER = OptimizerSettings(lr=1e-5, warmup_steps=0, schedule="constant")
WORLD = World(0, 1, torch.device("cpu"))


def timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def updater(module: torch.nn.Module, task: Task, train: TrainSettings) -> Updater:
    parallel = Parallel(module, task, train, WORLD)
    return Updater(task, parallel, make_optimizer(module, task, OPTIMIZER), 0, None)


def clip(quick: bool) -> None:
    layers, width, batch, rounds = (2, 128, 16, 5) if quick else (6, 256, 32, 9)
    s = ClipSettings(embed=256, image_size=224, layers=layers, width=width, patch=32,
                     text_width=width, text_layers=layers)  # fmt: skip
    train, task = TrainSettings(steps=1000, global_batch=batch), ClipTask(s, batch)

    torch.manual_seed(0)
    mine, bare = Clip(s), Clip(s)
    bare.load_state_dict(mine.state_dict())
    theirs = open_clip.CLIP(
        s.embed,
        {"image_size": 224, "layers": layers, "width": width, "patch_size": 32, "head_width": 64},
        {"context_length": 77, "vocab_size": s.vocabulary, "width": width, "heads": width // 64,
         "layers": layers},
        quick_gelu=True,
    )  # fmt: skip
    theirs.load_state_dict(to_open_clip(mine.state_dict()), strict=False)
    update = updater(mine, task, train)
    bare_optimizer = make_optimizer(bare, task, OPTIMIZER)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    loss_function = open_clip.ClipLoss()

    with tempfile.TemporaryDirectory() as place:
        folder = scenes_corpus(Path(place), 1, 8 * batch, size=256)
        corpora = [(Corpus(str(folder)), 1.0)]
        source = Source("pairs", task, corpora, batch, 0, 2**17, Health(0.0))
        loader = Loader(task, {"pairs": source}, seed=0, progress=Progress(), workers=1)
        data = next(loader).sub_batches[0][0]

        def our_step() -> float:
            return update([[data]], 0, 1e-5).total

        def whole_step() -> float:
            return update(next(loader).sub_batches, 0, 1e-5).total

        def bare_step() -> float:
            outputs = task.forward(bare, data)
            sums = task.pooled_losses(outputs, data, WORLD.gather)
            loss = sums["contrastive"] / batch
            loss.backward()
            bare_optimizer.step()
            bare_optimizer.zero_grad()
            return loss.item()

        def their_step() -> float:
            image, text, scale = theirs(normalise(data.data["pixels"]), data.data["ids"])
            loss = loss_function(image, text, scale)
            loss.backward()
            their_optimizer.step()
            their_optimizer.zero_grad()
            with torch.no_grad():
                theirs.logit_scale.clamp_(0, 4.6052)
            return loss.item()

        first = (our_step(), their_step(), bare_step())
        if max(first) - min(first) > 1e-4:
            raise SystemExit(f"the first losses differ: {first}")
        for step in (our_step, their_step, bare_step, whole_step):
            step()
        steps = (our_step, their_step, whole_step, bare_step)
        found = [tuple(timed(step) for step in steps) for _ in range(rounds)]
        loader.close()
    ours, peer, whole, plain = (statistics.median(side) for side in zip(*found, strict=True))
    parameters = sum(p.numel() for p in mine.parameters())
    print(f"{parameters:,} parameters, batch {batch}, {THREADS} threads")
    print(f"septet {ours * 1000:.0f} ms, open_clip {peer * 1000:.0f} ms a step")
    print(f"whole engine {whole * 1000:.0f} ms, bare loop {plain * 1000:.0f} ms a step")
    print(f"ratio clip_step_vs_open_clip {statistics.median(b / a for a, b, _, _ in found):.2f}")
    print(f"ratio engine_step_vs_bare_loop {statistics.median(d / c for _, _, c, d in found):.2f}")


def flava(quick: bool) -> None:
    layers, width, rows, rounds = (2, 128, 8, 5) if quick else (4, 256, 16, 9)
    size = EncoderSettings(width=width, layers=layers, heads=width // 64, inner=4 * width)
    s = FlavaSettings(
        image=size, text=size, fusion=size.model_copy(update={"layers": layers // 2}),
        shared=width, text_tokens=128,
    )  # fmt: skip
    task, train = FlavaTask(s, rows), TrainSettings(steps=1000, global_batch=rows)
    torch.manual_seed(0)
    mine = Flava(s)
    theirs = reference(s, mine.state_dict()).train()
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    shares = dict(s.shares)
    batches = {kind: batch(kind, s, rows) for kind in shares}

    # transformers leaves out what is masked in mismatched pairs for itself.
    masked = {k: b.data["ids_masked"] != b.data["ids"] for k, b in batches.items() if k != "images"}

    def their_step(kind: str) -> float:
        loss = theirs_of(theirs, batches[kind], masked.get(kind)).loss
        loss.backward()
        their_optimizer.step()
        their_optimizer.zero_grad()
        return loss.item()

    def our_step(kind: str) -> float:
        return update([[batches[kind]]], 0, 1e-5).total

    found: list[tuple[float, float]] = []
    for number in range(-1, rounds):
        ours = theirs_time = 0.0
        for kind, share in shares.items():
            if number < 0:
                first = our_step(kind), their_step(kind)
                if abs(first[0] - first[1]) > 1e-4 * max(1.0, first[1]):
                    raise SystemExit(f"the first losses of {kind} differ: {first}")
                continue
            ours += share * timed(lambda kind=kind: our_step(kind))
            theirs_time += share * timed(lambda kind=kind: their_step(kind))
        if number >= 0:
            found.append((ours, theirs_time))
    ours, peer = (statistics.median(side) for side in zip(*found, strict=True))
    parameters = sum(p.numel() for p in mine.parameters())
    print(f"FLAVA, {parameters:,} parameters, batch {rows}, {THREADS} threads")
    print(f"septet {ours * 1000:.0f} ms, transformers {peer * 1000:.0f} ms a step")
    print(f"ratio flava_step_vs_transformers {statistics.median(b / a for a, b in found):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer rounds")
    parser.add_argument("models", nargs="*", choices=["clip", "flava", []], help="all without")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    for run in (clip, flava):
        if not given.models or run.__name__ in given.models:
            run(given.quick)


if __name__ == "__main__":
    main()
