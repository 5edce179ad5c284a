"""A model from outside learns: its rows are of two streams and of several lengths."""

import pytest

from examples.captioner.task import CaptionerTask
from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.distributed import world
from septet.trainers.engine.loop import Run, fit
from tests.trainers.corpora import one_thing_corpus
from tests.trainers.runs import figures


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    folder = tmp_path_factory.mktemp("things")
    return one_thing_corpus(folder / "train", 0, 1500), one_thing_corpus(
        folder / "held", 10**5, 128
    )


def train(corpora, out, steps=320, rows=48, **changes):
    train = TrainSettings(
        steps=steps, global_batch=rows, micro_batch=24, log_every=10, save_every=1000,
        eval_every=1000, **changes,
    )  # fmt: skip
    optimizer = OptimizerSettings(lr=3e-3, betas=(0.9, 0.98), warmup_steps=20, clip_norm=1.0)
    task = CaptionerTask(rows)
    corpus, held_out = (Corpus(str(folder)) for folder in corpora)
    streams = {stream: [(corpus, 1.0)] for stream in task.streams}
    run = Run(task, train, optimizer, streams, str(out), held_out={"": held_out})
    with world() as ranks:
        assert fit(run, ranks) == 0
    return {
        name: figures(out, name)[steps]
        for name in (
            "loss", "predictions/words", "predictions/words_other_picture",
            "generation/exact", "generation/exact_other_image", "loss/words",
        )
    }  # fmt: skip


@pytest.mark.slow
def test_it_learns_what_is_to_be_seen(things, tmp_path):
    found = train(things, tmp_path)
    print(found)
    assert found["predictions/words"] > found["predictions/words_other_picture"] + 0.2
    assert found["generation/exact"] > 0.6
    assert found["generation/exact_other_image"] < 0.2
