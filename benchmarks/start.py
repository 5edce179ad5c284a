"""How much host memory a large model takes to start on two ranks.

    python -m benchmarks.start [--width 2048]

A CLIP of two towers of 12 layers, 1.3 G parameters at width 2,048, sharded over two processes on
gloo, once with its initial values and once with those of a file. The file is what one process
makes of the same model, whole. Each rank's tensors are compared with their part of it, bit for
bit. `peak` is the most private memory (RssAnon, looked at every 10 ms) of a process while it makes
the module, fills it and makes the optimizer; the ratio is the ranks' greatest over the one
process's. Takes 5.5 GB of disk and 12 GB of memory.
"""

import argparse
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from septet.trainers.clip.presets import PRESETS, ClipPreset
from septet.trainers.engine.initial import Initial
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.world import world
from septet.trainers.settings.overrides import override
from tests.trainers.ranks import run_ranks

SEED = 1
"""Of the file's values; a start from the file has another one."""


def preset(width: int, shard: int) -> ClipPreset:
    sizes = [f"model.width={width}", f"model.text_width={width}", "model.embed=512"]
    return override(
        PRESETS["debug"],
        [*sizes, "model.layers=12", "model.text_layers=12", f"train.shard={shard}"],
    )


def private_bytes() -> int:
    """Memory of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched(peak: list[int]) -> Iterator[None]:
    """Append the most private memory of this process during the block."""
    ended, found = threading.Event(), [private_bytes()]

    def watch() -> None:
        while not ended.wait(0.01):
            found.append(max(found.pop(), private_bytes()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        peak.append(found[0])


def whole(width: int, file: Path) -> tuple[int, int]:
    """Write the model as one process makes it; its parameters, and the peak."""
    peak: list[int] = []
    with watched(peak), torch.no_grad():
        initial = Initial(preset(width, 1).task().build, SEED)
        module = initial.module.to_empty(device="cpu")
        initial.fill(module, {})
    torch.save(module.state_dict(), file)
    return sum(x.numel() for x in module.parameters()), peak[0]


def rank(width: int, file: Path, from_file: bool) -> tuple[int, list[str]]:
    """Start as one of two ranks; the peak, and names of tensors that differ from the file's."""
    chosen, peak = preset(width, 2), list[int]()
    task = chosen.task()
    with world() as ranks:
        with watched(peak):
            initial = Initial(task.build, SEED + from_file)
            given: dict[str, Any] = {}
            if from_file:
                mapped = torch.load(file, mmap=True, weights_only=True)
                given = {name: x.detach for name, x in mapped.items()}
            parallel = Parallel(
                initial.module, task, chosen.train, ranks, lambda m: initial.fill(m, given)
            )
            make_optimizer(parallel.raw, task, chosen.optimizer)
        expected = torch.load(file, mmap=True, weights_only=True)
        differ = []
        for name, x in parallel.raw.state_dict().items():
            theirs = expected.pop(name)
            if isinstance(x, DTensor):
                parts = (*theirs.chunk(ranks.size), theirs[:0])  # a single row is one rank's
                x, theirs = x.to_local(), parts[ranks.rank]
            if not torch.equal(x, theirs):
                differ.append(name)
        return peak[0], [*differ, *expected]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=2048, help="of both towers")
    width = parser.parse_args().width
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "whole.pt"
        ((parameters, alone),) = run_ranks(1, whole, width, file, timeout=800)
        print(f"{parameters:,} parameters, one process {alone / 2**30:.2f} GiB", flush=True)
        for from_file, name in ((False, "initial"), (True, "file")):
            found = run_ranks(2, rank, width, file, from_file, timeout=800)
            peaks = [peak for peak, _ in found]
            shown = ", ".join(f"{peak / 2**30:.2f} GiB" for peak in peaks)
            differ = sorted({each for _, names in found for each in names})
            equal = "all tensors equal" if not differ else f"{len(differ)} tensors differ"
            print(f"{name}: peak of each rank {shown}; {equal} to one process's")
            print(f"ratio start_{name}_peak_vs_whole {max(peaks) / alone:.2f}", flush=True)
            if differ:
                raise SystemExit(f"these differ: {', '.join(differ[:5])}")


if __name__ == "__main__":
    main()
