"""One update on CPU: Septet's engine beside open_clip's CLIP, transformers' FLAVA, torchscale's
BEiT-3 and a PaLI of transformers' SigLIP and mT5, and beside a bare loop.

    python -m benchmarks.step [--quick] [--cpu] [--steps N] [--threads N] [clip] [flava] [beit3] …

Same sizes, same weights, same batch, fp32, two threads (`--threads`), fused AdamW with the same
parameter groups, nothing compiled. First losses must agree to 1e-4. Three rounds of 20 steps, of
which each is done in all ways in turns; a ratio is the median of the rounds' ratios, the other's
time over Septet's, with the least and the most behind it. For every model the engine's update
(counts, checks, schedule) is beside a bare loop of forward, backward and optimizer on the same
batches, without and (but for OFA) with the loader, whose decoding of scenes takes the same two
cores; no other library trains ERNIE-ViL, OFA and M6. Where a model's recipe clips gradients (OFA's
published scripts; the presets of BEiT-3, ERNIE-ViL and M6), the engine and the bare loop both do,
the latter by torch's `clip_grad_norm_`. Times are wall time; with `--cpu`, and OFA's, which has no
loader beside it, they are CPU time, which other processes' load lengthens little, and with one
thread, which waits for no other, hardly at all; the loader's threads would count, so it is left
out. FLAVA's step beside transformers' is the mean of its three kinds' by their published shares;
BEiT-3's is one of images, texts and pairs, and torchscale's, too, predicts at masked places alone.
OFA's has its two passes, M6's one of a drawn task. PaLI's trains both halves, on prompts and
answers of many lengths, padded, without the z-loss that transformers lacks.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import open_clip
import torch
import torch.nn.functional as F

from benchmarks.step_peers import TheirPali, open_clips, torchscale_beit3
from septet.preprocess.shards.reader import Corpus
from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.presets import PRESETS as BEIT3_PRESETS
from septet.trainers.beit3.samples import model_inputs
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.clip.model import Clip, ClipSettings
from septet.trainers.clip.task import ClipTask
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import Updater
from septet.trainers.engine.world import World
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.presets import PRESETS as ERNIE_VIL_PRESETS
from septet.trainers.ernie_vil.settings import ErnieVilSettings, TowerSettings
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.flava.model import Flava
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.flava.task import FlavaTask
from septet.trainers.inputs.images import normalise
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.m6.model import M6
from septet.trainers.m6.presets import PRESETS as M6_PRESETS
from septet.trainers.m6.task import M6Task
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.nets.t5 import T5Settings
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.presets import PRESETS as OFA_PRESETS
from septet.trainers.ofa.settings import OfaSettings
from septet.trainers.ofa.task import OfaTask
from septet.trainers.pali.model import Pali
from septet.trainers.pali.settings import PaliSettings, VitSettings
from septet.trainers.pali.task import PaliTask
from septet.trainers.task import Batch, Task
from tests.trainers.beit3 import small as beit3_small
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ernie_vil.corpora import annotated
from tests.trainers.flava.small import batch, reference, theirs_of
from tests.trainers.ofa import small as ofa_small
from tests.trainers.pali import small as pali_small

Way = TypeVar("Way")

OPTIMIZER = OptimizerSettings(lr=1e-5, warmup_steps=0, schedule="constant")
WORLD = World(0, 1, torch.device("cpu"))
CLOCK: Callable[[], float] = time.perf_counter
"""What steps are timed by."""
STEPS: int | None = None
"""Of a round; by the size of the run when absent."""


class Result(NamedTuple):
    """Of one model; times are seconds of a step in each round."""

    model: str
    parameters: int
    batch: str
    seconds: dict[str, list[float]]
    """By way: `septet` and its peer on one batch, `engine`, `with loader` and `bare loop`."""
    ratios: dict[str, list[float]]
    """Of each round."""


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def in_turns(
    ways: Mapping[Way, Callable[[], float]],
    quick: bool,
    clock: Callable[[], float] | None = None,
) -> dict[Way, list[float]]:
    """Seconds of a step of each way in each round."""
    clock = clock or CLOCK
    rounds, steps = 3, STEPS or (4 if quick else 20)
    found: dict[Way, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        taken = dict.fromkeys(ways, 0.0)
        for _ in range(steps):
            for name, step in ways.items():
                begin = clock()
                step()
                taken[name] += (clock() - begin) / steps
        for name, seconds in taken.items():
            found[name].append(seconds)
    return found


def check_equal(losses: Sequence[float]) -> None:
    """First losses of several ways."""
    if max(losses) - min(losses) > 1e-4 * max(1.0, losses[0]):
        raise SystemExit(f"the first losses differ: {losses}")


def over(others: Sequence[float], ours: Sequence[float]) -> list[float]:
    return [b / a for a, b in zip(ours, others, strict=True)]


def updater(
    module: torch.nn.Module, task: Task, train: TrainSettings, clip_norm: float | None = None
) -> Updater:
    parallel = Parallel(module, task, train, WORLD)
    return Updater(task, parallel, make_optimizer(module, task, OPTIMIZER), 0, clip_norm)


def placed(task: Task, batch: Batch) -> Batch:  # as the loader does
    return replace(batch, places=task.places(batch))


def loader_of(task: Task, folder: Path) -> Loader:
    """All streams from one corpus, decoded by one thread."""
    sources = {
        stream: Source(stream, task, [(Corpus(str(folder)), 1.0)], 0, 2**17, Health(0.0))
        for stream in task.streams
    }
    return Loader(task, sources, seed=0, progress=Progress(), workers=1)


def engine(
    name: str,
    task: Task,
    module: torch.nn.Module,
    quick: bool,
    data: Path | list[list[Batch]],
    clip_norm: float | None = None,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and ratios of the engine's update and of a bare loop, each step on the same batches.

    Args:
        name: The model's.
        task: Its task.
        module: Its module.
        quick: Whether few steps are enough.
        data: A corpus, whose loader is timed with the update, too; or one step's batches, and times
            are CPU time.
        clip_norm: What the model's recipe clips gradients to.
    """
    module, bare = copy.deepcopy(module), copy.deepcopy(module)  # both lie alike in memory
    update = updater(module, task, TrainSettings(steps=1000, global_batch=8), clip_norm)
    optimizer = make_optimizer(bare, task, OPTIMIZER)
    loader = loader_of(task, data) if isinstance(data, Path) else None
    batches: list[list[Batch]] = data if isinstance(data, list) else []

    def read() -> None:
        if loader:
            batches[:] = next(loader).sub_batches

    def without() -> float:
        return update(batches, 0, 1e-5).total

    def with_loader() -> float:
        read()
        return without()

    def bare_loop() -> float:
        total = torch.zeros(())
        for (rows,) in batches:
            outputs = task.forward(bare, rows)
            sums = dict(task.losses(outputs, rows))
            if task.pooled and all(each in outputs for each in task.pooled):
                pooled = {each: outputs[each] for each in task.pooled}
                sums |= task.pooled_losses(pooled, rows, WORLD.gather)
            counts = task.counts(rows)
            parts = [
                task.loss_weights[each] * x / max(1, int(counts[each])) for each, x in sums.items()
            ]
            loss = torch.stack(parts).sum()
            loss.backward()
            total += loss.detach()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(bare.parameters(), clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        return total.item()

    read()
    check_equal([without(), bare_loop()])
    timed = loader is not None and CLOCK is time.perf_counter
    ways = {"with loader": with_loader} if timed else {}
    clock = CLOCK if loader else time.process_time
    seconds = in_turns({**ways, "engine": without, "bare loop": bare_loop}, quick, clock)
    ratios = {f"{name}_engine_vs_bare_loop": over(seconds["bare loop"], seconds["engine"])}
    if loader:
        loader.close()
    if timed:
        both = over(seconds["bare loop"], seconds["with loader"])
        ratios[f"{name}_engine_and_loader_vs_bare_loop"] = both
    return seconds, ratios


def clip(quick: bool, place: Path) -> Result:
    layers, width, batch = (2, 128, 16) if quick else (6, 256, 32)
    s = ClipSettings(embed=256, image_size=224, layers=layers, width=width, patch=32,
                     text_width=width, text_layers=layers)  # fmt: skip
    train, task = TrainSettings(steps=1000, global_batch=batch), ClipTask(s, batch)

    torch.manual_seed(0)
    mine, plain = Clip(s), Clip(s)
    theirs = open_clips(s, mine)
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    loss_function = open_clip.ClipLoss()
    folder = scenes_corpus(place, 1, 8 * batch, size=256)
    loader = loader_of(task, folder)
    data = next(loader).sub_batches[0][0]
    loader.close()

    def our_step() -> float:
        return update([[data]], 0, 1e-5).total

    def their_step() -> float:
        image, text, scale = theirs(normalise(data.data["pixels"]), data.data["ids"])
        loss = loss_function(image, text, scale)
        loss.backward()
        their_optimizer.step()
        their_optimizer.zero_grad()
        with torch.no_grad():
            theirs.logit_scale.clamp_(0, 4.6052)
        return loss.item()

    check_equal([our_step(), their_step()])
    seconds = in_turns({"septet": our_step, "open_clip": their_step}, quick)
    more, ratios = engine("clip", task, plain, quick, folder)
    ratios["clip_step_vs_open_clip"] = over(seconds["open_clip"], seconds["septet"])
    return Result("CLIP", count(mine), f"{batch} pairs", seconds | more, ratios)


def flava(quick: bool, place: Path) -> Result:
    layers, width, rows = (2, 128, 8) if quick else (4, 256, 16)
    size = EncoderSettings(width=width, layers=layers, heads=width // 64, inner=4 * width)
    s = FlavaSettings(
        image=size, text=size, fusion=size.model_copy(update={"layers": layers // 2}),
        embed=width, text_tokens=128, vocabulary="scenes", column=None, tokenizer="colours",
    )  # fmt: skip
    task, train = FlavaTask(s, rows), TrainSettings(steps=1000, global_batch=rows)
    torch.manual_seed(0)
    mine, plain = Flava(s), Flava(s)
    theirs = reference(s, mine.state_dict()).train()
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    shares = dict(s.shares)
    batches = {kind: placed(task, batch(kind, s, rows)) for kind in shares}

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

    for kind in shares:
        check_equal([our_step(kind), their_step(kind)])
    ways = {
        (who, kind): partial(step, kind)
        for kind in shares
        for who, step in (("septet", our_step), ("transformers", their_step))
    }
    found = in_turns(ways, quick)
    seconds = {
        who: [
            sum(shares[kind] * found[who, kind][number] for kind in shares)
            for number in range(len(found[who, "pairs"]))
        ]
        for who in ("septet", "transformers")
    }
    folder = scenes_corpus(place, 1, 8 * rows, size=256)
    more, ratios = engine("flava", task, plain, quick, folder)
    ratios["flava_step_vs_transformers"] = over(seconds["transformers"], seconds["septet"])
    return Result("FLAVA", count(mine), f"{rows} of a kind", seconds | more, ratios)


def beit3(quick: bool, place: Path) -> Result:
    layers, width, rows = (2, 128, 6) if quick else (4, 256, 16)
    s = Beit3Settings(
        width=width, layers=layers, heads=width // 64, inner=4 * width, words=16_000, drop_path=0.0,
        text_tokens=128, column=None, tokenizer="colours",
    )  # fmt: skip
    task, train = beit3_small.task(s, 3 * rows), TrainSettings(steps=1000, global_batch=3 * rows)
    torch.manual_seed(0)
    mine = Beit3(s)
    theirs: Any = torchscale_beit3(s).train()
    theirs.load_state_dict(mine.state_dict())
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    batches = {kind: placed(task, beit3_small.batch(kind, s, rows)) for kind in task.streams}

    def our_step() -> float:
        return update([[batch] for batch in batches.values()], 0, 1e-5).total

    def their_step() -> float:
        total = 0.0
        for rows_of_kind in batches.values():
            _, x = model_inputs(rows_of_kind, rows_of_kind.places or {})
            states = theirs["beit3"](
                textual_tokens=x.get("ids"), visual_tokens=x.get("pixels"),
                text_padding_position=x.get("padding"), vision_masked_position=x.get("patch_mask"),
            )["encoder_out"]  # fmt: skip
            losses, data = [], rows_of_kind.data
            if "patch_mask" in data:
                patches = states[:, 1 : 1 + s.grid**2][data["patch_mask"]]
                labels = data["codes"][data["patch_mask"]]
                losses.append(F.cross_entropy(theirs["mim_head"](patches), labels))
            if "word_places" in data:
                words = states[:, states.shape[1] - data["ids"].shape[1] :][data["word_places"]]
                labels = data["ids"][data["word_places"]]
                losses.append(F.cross_entropy(theirs["mlm_head"](words), labels))
            loss = torch.stack(losses).sum()
            loss.backward()
            total += loss.item()
        their_optimizer.step()
        their_optimizer.zero_grad()
        return total

    check_equal([our_step(), their_step()])
    seconds = in_turns({"septet": our_step, "torchscale": their_step}, quick)
    folder = scenes_corpus(place, 1, 8 * rows, size=256)
    read = s.model_copy(update={"words": 256, "vocabulary": "scenes"})  # all that scenes say
    read_task = beit3_small.task(read, 3 * rows)
    clip_norm = BEIT3_PRESETS["base"].optimizer.clip_norm
    more, ratios = engine("beit3", read_task, Beit3(read), quick, folder, clip_norm)
    ratios["beit3_step_vs_torchscale"] = over(seconds["torchscale"], seconds["septet"])
    return Result("BEiT-3", count(mine), f"3 x {rows}", seconds | more, ratios)


def ernie_vil(quick: bool, place: Path) -> Result:
    """Nobody publishes this model's training in torch: it stands beside the bare loop."""
    layers, width, rows = (2, 128, 16) if quick else (6, 256, 64)
    text = TowerSettings(width=width, layers=layers, heads=width // 64, inner=4 * width)
    s = ErnieVilSettings(
        text=text, image=text.model_copy(update={"layers": layers // 2}), co_width=width,
        co_heads=width // 64, text_places=tuple(range(layers // 2, layers)),
        image_places=tuple(range(layers // 2)), vocabulary="scenes", dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    module = ErnieVil(s)
    folder = annotated(place, 8 * rows)
    task, clip_norm = ErnieVilTask(s, rows), ERNIE_VIL_PRESETS["base"].optimizer.clip_norm
    seconds, ratios = engine("ernie_vil", task, module, quick, folder, clip_norm)
    return Result("ERNIE-ViL", count(module), f"{rows} pairs", seconds, ratios)


def ofa(quick: bool, place: Path) -> Result:
    """Nobody else trains it on this Python: it stands beside the bare loop."""
    layers, width, rows = (2, 128, 8) if quick else (3, 256, 16)
    s = OfaSettings(
        width=width, inner=4 * width, heads=width // 64, encoder_layers=layers,
        decoder_layers=layers, stages=(1, 2, 2), image_size=128, plain_size=128, largest=128,
        patches=48, words=8000, code_grid=8, dropout=0.0, drop_path=0.0, vocabulary="scenes",
    )  # fmt: skip
    task = OfaTask(s, rows)
    torch.manual_seed(0)
    module = Ofa(s)
    passes = {"pairs": rows, "plain": rows // 2}
    batches = [[placed(task, ofa_small.batch(task, kind, n))] for kind, n in passes.items()]
    clip_norm = OFA_PRESETS["base"].optimizer.clip_norm
    seconds, ratios = engine("ofa", task, module, quick, batches, clip_norm)
    ratios["ofa_step_vs_bare_loop"] = ratios.pop("ofa_engine_vs_bare_loop")
    return Result("OFA", count(module), f"{rows} + {rows // 2}", seconds, ratios)


def m6(quick: bool, place: Path) -> Result:
    """Nobody publishes its training: it stands beside the bare loop, with experts in every second
    layer."""
    layers, width, rows = (2, 128, 8) if quick else (6, 256, 16)
    networks = ExpertSettings(experts=8, inner=2 * width, chosen=2, group_rows=rows, balance=0.01)
    s = M6_PRESETS["debug"].model.model_copy(
        update={"width": width, "inner": 4 * width, "heads": width // 64, "layers": layers,
                "experts": networks, "experts_every": 2}
    )  # fmt: skip
    torch.manual_seed(0)
    module = M6(s)
    folder = scenes_corpus(place, 1, 8 * rows, languages=("zh",))
    clip_norm = M6_PRESETS["base"].optimizer.clip_norm
    seconds, ratios = engine("m6", M6Task(s, rows), module, quick, folder, clip_norm)
    return Result("M6", count(module), f"{rows} of a task", seconds, ratios)


def pali(quick: bool, place: Path) -> Result:
    layers, width, rows = (2, 128, 8) if quick else (4, 256, 16)
    sizes = {"width": width, "layers": layers, "heads": width // 64}
    s = PaliSettings(
        vision=VitSettings(**sizes, inner=4 * width),
        language=T5Settings(**sizes, inner=2 * width, words=16_000),
        frozen="nothing", mixture={"caption": 1.0}, z_loss=0.0,
    )  # fmt: skip
    task, train = PaliTask(s, rows), TrainSettings(steps=1000, global_batch=rows)
    torch.manual_seed(0)
    mine = Pali(s)
    theirs = TheirPali(mine).train()
    update = updater(mine, task, train)
    their_optimizer = make_optimizer(theirs, task, OPTIMIZER)
    side = s.vision.image_size
    data = {
        "source": pali_small.ids(rows, 40, words=16_000),
        "target": pali_small.ids(rows, 48, seed=6, words=16_000),
        "pixels": torch.randint(0, 256, (rows, side, side, 3), dtype=torch.uint8),
    }
    batch_of_rows = placed(task, Batch("images", data))

    def our_step() -> float:
        return update([[batch_of_rows]], 0, 1e-5).total

    def their_step() -> float:
        loss = theirs(data["target"], **task.inputs(batch_of_rows))
        loss.backward()
        their_optimizer.step()
        their_optimizer.zero_grad()
        return loss.item()

    check_equal([our_step(), their_step()])
    seconds = in_turns({"septet": our_step, "transformers": their_step}, quick)
    folder = scenes_corpus(place, 1, 8 * rows, size=256)
    words = s.language.model_copy(update={"words": 640})  # all that scenes say
    read = s.model_copy(update={"language": words, "vocabulary": "scenes"})
    more, ratios = engine("pali", PaliTask(read, rows), Pali(read), quick, folder)
    ratios["pali_step_vs_transformers"] = over(seconds["transformers"], seconds["septet"])
    return Result("PaLI", count(mine), f"{rows} pairs", seconds | more, ratios)


def show(r: Result) -> None:
    """A model's step times and ratios."""
    times = (f"{way} {statistics.median(t) * 1000:.0f}" for way, t in r.seconds.items())
    print(f"{r.model:10}{r.parameters:13,}  {r.batch:14}{'   '.join(times)}")
    for name, found in r.ratios.items():
        middle = statistics.median(found)
        print(f"ratio {name} {middle:.2f} ({min(found):.2f} to {max(found):.2f})", flush=True)


MODELS = (clip, flava, ernie_vil, beit3, ofa, pali, m6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer steps")
    parser.add_argument("--cpu", action="store_true", help="CPU time, without the loader")
    parser.add_argument("--steps", type=int, help="of each of the three rounds")
    parser.add_argument("--threads", type=int, default=2)
    names = [model.__name__ for model in MODELS]
    parser.add_argument("models", nargs="*", choices=[*names, []], help="all without")
    given = parser.parse_args()
    global CLOCK, STEPS
    CLOCK, STEPS = time.process_time if given.cpu else CLOCK, given.steps
    torch.set_num_threads(given.threads)
    print(f"threads {given.threads}, fp32; milliseconds a step")
    print(f"{'model':10}{'parameters':>13}  {'batch':14}")
    for run in MODELS:
        if run.__name__ in (given.models or names):
            with tempfile.TemporaryDirectory() as place:
                show(run(given.quick, Path(place)))


if __name__ == "__main__":
    main()
