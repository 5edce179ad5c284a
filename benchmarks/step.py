"""One CLIP update on CPU: Septet's engine beside open_clip's model and loss.

    python -m benchmarks.step [--quick]

Same sizes, same weights, same batch, fp32, two threads, fused AdamW with the same parameter groups,
nothing compiled. First losses must agree to 1e-4. Rounds are interleaved; the ratio is the median
of the rounds' paired ratios, open_clip's time over Septet's. "engine overhead" is a whole step of
the engine (loader with decoding in threads, counts, checks, schedule) over a bare loop of forward,
backward and optimizer on the same module.
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
from trainers.clip.model import Clip, ClipSettings
from trainers.clip.task import ClipTask, normalise
from trainers.clip.weights import to_open_clip
from trainers.engine.config import OptimizerSettings, TrainSettings
from trainers.engine.distributed import Parallel, World
from trainers.engine.optim import make_optimizer
from trainers.engine.step import Updater
from trainers.loader.batches import Loader, Progress
from trainers.loader.source import Health, Source

THREADS = 2


def timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(THREADS)
    layers, width, batch, rounds = (2, 128, 16, 5) if quick else (6, 256, 32, 9)
    s = ClipSettings(embed=256, image_size=224, layers=layers, width=width, patch=32,
                     text_width=width, text_layers=layers)  # fmt: skip
    train = TrainSettings(steps=1000, global_batch=batch)
    optimizer_settings = OptimizerSettings(lr=1e-5, warmup_steps=0, schedule="constant")
    task, world = ClipTask(s, batch), World(0, 1, torch.device("cpu"))

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
    parallel = Parallel(mine, task, train, world)
    update = Updater(task, parallel, make_optimizer(mine, task, optimizer_settings), 0, None)
    bare_optimizer = make_optimizer(bare, task, optimizer_settings)
    their_optimizer = make_optimizer(theirs, task, optimizer_settings)
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
            sums = task.pooled_losses(outputs, data, world.gather)
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


if __name__ == "__main__":
    main()
