"""A task whose rows are of a mixture, and corpora for it: some samples lack a column, some are
broken, and they are in three languages."""

import json

import numpy as np
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.inputs.members import note
from septet.trainers.mixture.plan import Mixture
from septet.trainers.task import Batch, SampleError, Stream, Task
from tests.corpora import run_annotation
from tests.pipelines.annotate.columns_to_test import HERE
from tests.trainers.corpora import write_corpus

LANGUAGES = {"en": 0.7, "de": 0.2, "zh": 0.1}
"""Shares of a corpus's samples, in each ten."""
TASKS = ("ocr", "caption", "vqa")


def language_of(number):
    return "en" if number % 10 < 7 else "de" if number % 10 < 9 else "zh"


def key_of(number):
    return f"{number:032x}"


def told(language):
    """A sample's metadata, of which its language stands in the sidecar, too."""
    return json.dumps({"language": language, "extra": {}}).encode()


def numbers(folder, n=60, column=True, empty=(), broken=(), per_shard=7):
    """Samples whose text is their number; a third of them has no value in column `codes`."""
    samples = []
    for i in range(n):
        text = "" if i in empty else "broken" if i in broken else str(i)
        samples.append((key_of(i), {"txt": text.encode(), "json": told(language_of(i))}))
    write_corpus(folder, samples, per_shard)
    if column:
        run_annotation(folder, f"{HERE}:Bytes", name="codes")
    return Corpus(str(folder))


class Dealt(Task):
    """Rows of three tasks in one pass; what reads `codes` gives way to what does not."""

    kinds = ("answers",)
    loss_weights = {"number": 1.0}  # noqa: RUF012

    def __init__(self, total=40, languages=None, otherwise=True, shares=(5, 3, 2)):
        self.total = total
        self.mixture = Mixture(dict(zip(TASKS, shares, strict=True)), {"answers": TASKS})
        self.streams = {
            task: Stream(
                ("txt",),
                ("codes",) if task == "ocr" else (),
                otherwise=self.mixture.after(task) if otherwise else (),
                languages=languages,
            )
            for task in self.mixture.tasks
        }

    def plan(self, seed, step):
        return self.mixture.sub_batches(seed, step, self.total)

    def read(self, stream, sample, draw):
        text = sample["txt"].decode()
        if not text and stream != "vqa":
            raise SampleError("text is empty", "empty_text")
        if text == "broken":
            raise SampleError("it is broken")
        number = int(text or -1)
        if stream == "caption" and number % 4 == 0:
            note(sample, "cut")
        assert stream != "ocr" or sample["codes"]
        return {"number": np.int64(number), "of": np.int64(TASKS.index(stream))}

    def build(self):
        return nn.Linear(1, 1)

    def blocks(self, module):
        return []

    def example(self, kind, rows):
        return Batch(kind, {"number": torch.zeros(rows, dtype=torch.int64)})

    def counts(self, batch):
        return {"number": len(batch)}

    def forward(self, module, batch):
        return {"number": module(batch.data["number"][:, None] / 100)}

    def losses(self, outputs, batch):
        return {"number": outputs["number"].square().sum()}
