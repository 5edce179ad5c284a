"""What a run imports before its first step: what it does not need yet costs seconds of each start."""

import json
import subprocess
import sys

from tests.trainers.conftest import TINY

HEAVY = {
    "torch._dynamo", "torch._inductor", "torch.distributed.checkpoint", "torch.distributed.fsdp",
    "torch.distributed.tensor", "torch.utils.tensorboard", "torch.utils.flop_counter", "sympy",
    "tensorboard", "google.protobuf", "open_clip", "torchvision", "transformers", "triton",
    "apache_beam", "pandas", "scipy", "spacy", "onnxruntime", "aiohttp", "wandb", "sentencepiece",
    "resiliparse", "selectolax", "langcodes", "cv2",
}  # fmt: skip

AT_THE_FIRST_STEPS_END = """
import gc, json, os, sys
from septet.trainers.engine.run import Prepared

def told(prepared):
    collector = gc.isenabled(), gc.get_freeze_count()
    print(json.dumps([prepared.progress.step, prepared.last.total, collector, sorted(sys.modules)]))
    sys.stdout.flush()
    os._exit(0)

Prepared.report = told
from septet.pipelines.cli import main

main()
"""


def test_nothing_heavy_is_imported_before_the_first_step(scenes, tmp_path):
    changes = [part for change in TINY for part in ("--set", change)]
    arguments = ["train", "clip", str(scenes), "--out", str(tmp_path), *changes]
    found = subprocess.run(
        [sys.executable, "-c", AT_THE_FIRST_STEPS_END, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    step, loss, (collects, kept), modules = json.loads(found.stdout.splitlines()[-1])
    assert step == 1 and loss > 0 and "torch" in modules
    assert collects and kept > 100_000  # what torch's import made is not looked through
    assert HEAVY.isdisjoint(modules), sorted(HEAVY.intersection(modules))
