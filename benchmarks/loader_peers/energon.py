"""energon over the tars, with its own index."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from megatron.energon import (
    Cooker,
    Sample,
    TaskEncoder,
    WorkerConfig,
    basic_sample_keys,
    get_loader,
    get_val_dataset,
    stateless,
)

from benchmarks.loader import BATCH, WORKERS, view
from benchmarks.loader_peers.images import Epoch


@dataclass
class ImageSample(Sample):
    """A decoded one."""

    pixels: torch.Tensor


@stateless
def cook(sample: dict[str, Any]) -> ImageSample:
    pixels = torch.from_numpy(view(bytes(sample["jpg"])))
    return ImageSample(**basic_sample_keys(sample), pixels=pixels)


class Encoder(TaskEncoder):
    """Leaves decoding to `cook`."""

    decoder = None
    cookers = (Cooker(cook),)


def make(corpus: Path, store: Path) -> Epoch:
    store.mkdir()
    for path in sorted((corpus / "shards").rglob("*.tar")):
        os.link(path, store / path.name)
    prepare = [sys.executable, "-m", "megatron.energon.cli.main", "prepare", str(store)]
    options = ["--non-interactive", "--split-ratio", "0,1,0", "--sample-type", "CrudeWebdataset"]
    subprocess.run([*prepare, *options], check=True, stdout=sys.stderr)
    config = WorkerConfig(rank=0, world_size=1, num_workers=WORKERS)
    encoder = Encoder()

    def epoch() -> Iterator[int]:
        dataset = get_val_dataset(
            store, worker_config=config, batch_size=BATCH, task_encoder=encoder
        )
        for batch in get_loader(dataset):
            yield len(batch.pixels)

    return epoch
