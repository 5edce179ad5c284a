"""One update on CPU: Septet's engine beside open_clip's CLIP, transformers' FLAVA and torchscale's
BEiT-3.

    python -m benchmarks.step [--quick] [clip] [flava] [ernie_vil] [beit3] [ofa]

Same sizes, same weights, same batch, fp32, two threads, fused AdamW with the same parameter groups,
nothing compiled. First losses must agree to 1e-4. Rounds are interleaved; the ratio is the median
of the rounds' paired ratios, the peer's time over Septet's. The engine's update (counts, checks,
schedule) is also beside a bare loop of forward, backward and optimizer on the same module, without
and with the loader, whose decoding takes the same two cores that compute; ERNIE-ViL and OFA, which
no other library trains, are beside the bare loop alone. FLAVA's step is the mean of its three
kinds' by their published shares; BEiT-3's is one of pictures, texts and pairs, and torchscale's,
too, predicts at masked places alone.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
import torch.nn.functional as F

from septet.preprocess.shards.reader import Corpus
from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.samples import model_inputs
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.clip.model import Clip, ClipSettings
from septet.trainers.clip.task import ClipTask
from septet.trainers.clip.weights import to_open_clip
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import Updater
from septet.trainers.engine.world import World
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.settings import ErnieVilSettings, TowerSettings
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.flava.model import Flava
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.flava.task import FlavaTask
from septet.trainers.inputs.images import normalise
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import OfaSettings
from septet.trainers.ofa.task import OfaTask
from septet.trainers.task import Task
from tests.trainers.beit3 import small as beit3_small
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ernie_vil import small as ernie_vil_small
from tests.trainers.flava.small import batch, reference, theirs_of
from tests.trainers.ofa import small as ofa_small

THREADS = 2
OPTIMIZER = OptimizerSettings(lr=1e-5, warmup_steps=0, schedule="constant")
WORLD = World(0, 1, torch.device("cpu"))
TORCHSCALE = Path(sys.prefix) / "peers/torchscale-0.3.0"


class Result(NamedTuple):
    """Of one model; times are the median seconds of a step."""

    model: str
    parameters: int
    batch: str
    septet: float
    peer: str
    peers: float
    ratios: dict[str, float]
    note: str = ""


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of their time over ours."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def in_turns(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of each round of both, once their first losses are found equal."""
    first = ours(), theirs()
    if abs(first[0] - first[1]) > 1e-4 * first[1]:
        raise SystemExit(f"the first losses differ: {first}")
    found = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return [a for a, _ in found], [b for _, b in found]


def updater(module: torch.nn.Module, task: Task, train: TrainSettings) -> Updater:
    parallel = Parallel(module, task, train, WORLD)
    return Updater(task, parallel, make_optimizer(module, task, OPTIMIZER), 0, None)


def clip(quick: bool) -> Result:
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
        source = Source("pairs", task, corpora, 0, 2**17, Health(0.0))
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
    ours, theirs_all, whole, plain = zip(*found, strict=True)
    ratios = {
        "clip_step_vs_open_clip": paired(ours, theirs_all),
        "engine_step_vs_bare_loop": paired(ours, plain),
        "engine_and_loader_vs_bare_loop": paired(whole, plain),
    }
    middle = statistics.median
    engine = f"with loader {middle(whole) * 1000:.0f} ms, bare loop {middle(plain) * 1000:.0f} ms"
    return Result(
        "CLIP", count(mine), f"{batch} pairs", middle(ours), "open_clip", middle(theirs_all),
        ratios, engine,
    )  # fmt: skip


def flava(quick: bool) -> Result:
    layers, width, rows, rounds = (2, 128, 8, 5) if quick else (4, 256, 16, 9)
    size = EncoderSettings(width=width, layers=layers, heads=width // 64, inner=4 * width)
    s = FlavaSettings(
        image=size, text=size, fusion=size.model_copy(update={"layers": layers // 2}),
        embed=width, text_tokens=128,
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
    ours_all, theirs_all = zip(*found, strict=True)
    ratios = {"flava_step_vs_transformers": paired(ours_all, theirs_all)}
    middle = statistics.median
    return Result(
        "FLAVA", count(mine), f"{rows} of a kind", middle(ours_all), "transformers",
        middle(theirs_all), ratios,
    )  # fmt: skip


def torchscale_beit3(s: Beit3Settings) -> torch.nn.Module:
    """torchscale's encoder with the heads of the released files, under the same names."""
    sys.path.insert(0, str(TORCHSCALE))
    warnings.simplefilter("ignore")  # It asks for an old timm's modules.
    from torchscale.architecture.config import EncoderConfig
    from torchscale.model.BEiT3 import BEiT3

    config = EncoderConfig(
        img_size=s.image_size, patch_size=s.patch, vocab_size=s.words, multiway=True,
        layernorm_embedding=False, normalize_output=True, no_output_layer=True, drop_path_rate=0.0,
        encoder_embed_dim=s.width, encoder_attention_heads=s.heads, encoder_layers=s.layers,
        encoder_ffn_embed_dim=s.inner, max_source_positions=s.text_positions,
    )  # fmt: skip
    parts = {
        "beit3": BEiT3(config),
        "mlm_head": torch.nn.Linear(s.width, s.words),
        "mim_head": torch.nn.Linear(s.width, s.codes),
    }
    return torch.nn.ModuleDict(parts)


def beit3(quick: bool) -> Result:
    if not TORCHSCALE.exists():
        raise SystemExit(f"{TORCHSCALE} is missing: `make peers` installs it")
    layers, width, rows, rounds = (2, 128, 6, 5) if quick else (4, 256, 16, 9)
    s = Beit3Settings(
        width=width, layers=layers, heads=width // 64, inner=4 * width, words=16_000, drop_path=0.0,
        text_tokens=128, column=None, tokenizer="colours",
    )  # fmt: skip
    task, train = beit3_small.task(s, 3 * rows), TrainSettings(steps=1000, global_batch=3 * rows)
    torch.manual_seed(0)
    mine = Beit3(s)
    theirs = torchscale_beit3(s).train()
    theirs.load_state_dict(mine.state_dict())
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    batches = {kind: beit3_small.batch(kind, s, rows) for kind in task.streams}

    def our_step() -> float:
        return update([[batch] for batch in batches.values()], 0, 1e-5).total

    def their_step() -> float:
        total = 0.0
        for rows_of_kind in batches.values():
            _, x = model_inputs(rows_of_kind)
            states = theirs["beit3"](
                textual_tokens=x.get("ids"), visual_tokens=x.get("pixels"),
                text_padding_position=x.get("padding"), vision_masked_position=x.get("patch_mask"),
            )["encoder_out"]  # fmt: skip
            losses, data = [], rows_of_kind.data
            if "patch_mask" in x:
                patches = states[:, 1 : 1 + s.grid**2][x["patch_mask"]]
                labels = data["codes"][x["patch_mask"]]
                losses.append(F.cross_entropy(theirs["mim_head"](patches), labels))
            if "word_places" in x:
                words = states[:, states.shape[1] - data["ids"].shape[1] :][x["word_places"]]
                labels = data["ids"][x["word_places"]]
                losses.append(F.cross_entropy(theirs["mlm_head"](words), labels))
            loss = torch.stack(losses).sum()
            loss.backward()
            total += loss.item()
        their_optimizer.step()
        their_optimizer.zero_grad()
        return total

    ours, peers = in_turns(our_step, their_step, rounds)
    return Result(
        "BEiT-3", count(mine), f"3 x {rows}", statistics.median(ours), "torchscale",
        statistics.median(peers), {"beit3_step_vs_torchscale": paired(ours, peers)},
    )  # fmt: skip


def ernie_vil(quick: bool) -> Result:
    """Nobody publishes this model's training in torch: it stands beside the bare loop."""
    layers, width, rows, rounds = (2, 128, 16, 5) if quick else (6, 256, 64, 9)
    text = TowerSettings(width=width, layers=layers, heads=width // 64, inner=4 * width)
    s = ErnieVilSettings(
        text=text, image=text.model_copy(update={"layers": layers // 2}), co_width=width,
        co_heads=width // 64, text_places=tuple(range(layers // 2, layers)),
        image_places=tuple(range(layers // 2)), vocabulary="scenes", dropout=0.0,
    )  # fmt: skip
    task, train = ErnieVilTask(s, rows), TrainSettings(steps=1000, global_batch=rows)
    torch.manual_seed(0)
    mine, bare = ErnieVil(s), ErnieVil(s)
    bare.load_state_dict(mine.state_dict())
    update, optimizer = updater(mine, task, train), make_optimizer(bare, task, OPTIMIZER)
    data = ernie_vil_small.batch(task, rows, regions=36)

    def our_step() -> float:
        return update([[data]], 0, 1e-5).total

    def bare_step() -> float:
        sums, counts = task.losses(task.forward(bare, data), data), task.counts(data)
        loss = torch.stack([x / max(1, int(counts[name])) for name, x in sums.items()]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    ours, plain = in_turns(our_step, bare_step, rounds)
    return Result(
        "ERNIE-ViL", count(mine), f"{rows} pairs", statistics.median(ours), "bare loop",
        statistics.median(plain), {"ernie_vil_step_vs_bare_loop": paired(ours, plain)},
    )  # fmt: skip


def ofa(quick: bool) -> Result:
    """Its two forward passes, pairs and the rest; nobody else trains it on this Python."""
    layers, width, rows, rounds = (2, 128, 8, 5) if quick else (3, 256, 16, 9)
    s = OfaSettings(
        width=width, inner=4 * width, heads=width // 64, encoder_layers=layers,
        decoder_layers=layers, stages=(1, 2, 2), image_size=128, plain_size=128, largest=128,
        patches=48, words=8000, code_grid=8, dropout=0.0, drop_path=0.0, vocabulary="scenes",
    )  # fmt: skip
    task, train = OfaTask(s, rows), TrainSettings(steps=1000, global_batch=rows)
    torch.manual_seed(0)
    mine, bare = Ofa(s), Ofa(s)
    bare.load_state_dict(mine.state_dict())
    update, optimizer = updater(mine, task, train), make_optimizer(bare, task, OPTIMIZER)
    batches = [ofa_small.batch(task, "pairs", rows), ofa_small.batch(task, "plain", rows // 2)]

    def our_step() -> float:
        return update([[batch] for batch in batches], 0, 1e-5).total

    def bare_step() -> float:
        total = 0.0
        for rows_of_kind in batches:
            kind = rows_of_kind.kind
            mean = task.forward(bare, rows_of_kind)[kind] / int(task.counts(rows_of_kind)[kind])
            loss = mean * task.loss_weights[kind]
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        return total

    ours, plain = in_turns(our_step, bare_step, rounds)
    return Result(
        "OFA", count(mine), f"{rows} + {rows // 2}", statistics.median(ours), "bare loop",
        statistics.median(plain), {"ofa_step_vs_bare_loop": paired(ours, plain)},
    )  # fmt: skip


def table(results: Sequence[Result]) -> None:
    """Step times of all models, then their ratios."""
    print(f"{THREADS} threads, fp32; milliseconds a step")
    print(f"{'model':10}{'parameters':>13}  {'batch':14}{'septet':>8}{'peer':>8}")
    for r in results:
        times = f"{r.septet * 1000:8.0f}{r.peers * 1000:8.0f}  {r.peer}"
        print(f"{r.model:10}{r.parameters:13,}  {r.batch:14}{times}")
        if r.note:
            print(f"{'':10}{r.note}")
    for result in results:
        for name, value in result.ratios.items():
            print(f"ratio {name} {value:.2f}")


MODELS = (clip, flava, ernie_vil, beit3, ofa)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer rounds")
    names = [model.__name__ for model in MODELS]
    parser.add_argument("models", nargs="*", choices=[*names, []], help="all without")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    table([run(given.quick) for run in MODELS if run.__name__ in (given.models or names)])


if __name__ == "__main__":
    main()
