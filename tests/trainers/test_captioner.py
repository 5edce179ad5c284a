"""A model from outside learns: its rows are of two streams and of several lengths."""

import itertools

import pytest
import torch

from examples.captioner.task import TARGET, WORDS, CaptionerTask
from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.loop import Run, fit
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.world import world
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import write
from septet.trainers.inputs import images
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.measures.generation import Generation
from tests.trainers.corpora import one_thing_corpus, scenes_corpus
from tests.trainers.ranks import run_ranks
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
            "loss", "predictions/words", "predictions/words_other_image",
            "generation/exact", "generation/exact_other_image", "loss/words",
        )
    }  # fmt: skip


@pytest.mark.slow
def test_it_learns_what_is_to_be_seen(things, tmp_path):
    found = train(things, tmp_path)
    assert found["predictions/words"] > found["predictions/words_other_image"] + 0.15
    assert found["generation/exact"] > max(0.15, 4 * found["generation/exact_other_image"])


def generated(corpus, shard):
    """What each rank writes, with as many passes as its own rows need, and whether parameters are
    sharded again."""
    torch.manual_seed(0)
    task = CaptionerTask(8)
    train = TrainSettings(steps=1, global_batch=8, shard=shard)
    with world() as ranks:
        parallel = Parallel(task.build(), task, train, ranks)
        written, pieces = [], task._pieces

        def first_words(module, batch):
            inputs = {"pixels": images.normalise(batch.data["pixels"])}
            inputs["source"] = batch.data["source"]
            # Rows of rank 1 are written longer than those of rank 0; there is no end.
            decoding = Decoding(3 + 9 * ranks.rank)
            return (
                write(module, inputs, decoding, pieces.start, WORDS - 1, 0).ids[:, 0, :3].tolist()
            )

        def score(ids, expected):
            written.extend(ids)
            return {"rows": len(expected), "words": sum(map(sum, ids))}

        measure = Generation(task, "things", Corpus(str(corpus)), first_words, task.thing, score,
                             12, 4)  # fmt: skip
        with parallel.evaluating() as module:
            found = measure(module, ranks.device)
            again = measure(module, ranks.device)
        assert found == again and found["rows"] == 12
        return sorted(written), found, sum(p.numel() for p in parallel.raw.parameters())


def test_ranks_may_write_as_long_as_each_needs(things):
    alone, found, whole = generated(things[1], 1)
    sharded = run_ranks(2, generated, things[1], 2)
    assert [figures for _, figures, _ in sharded] == [found, found]
    assert all(parameters == whole for _, _, parameters in sharded)
    assert [written for written, _, _ in sharded] == [alone, alone]
    assert alone[0] != alone[-1]


@torch.no_grad()
def test_word_by_word_equals_at_once(things):
    """With sources of different lengths, by a cache that grows by one, two and three words."""
    torch.manual_seed(0)
    module = CaptionerTask(8).build().eval()
    pixels, source = torch.randn(3, 3, 64, 64), torch.randint(1, 256, (3, 8))
    source[1, 5:] = 0
    before = torch.randint(1, 256, (3, 6))
    whole = module(pixels, source, before)
    cache = module.encode(pixels, source)
    parts = [module.logits(module.decode(ids, cache)) for ids in before.split([1, 2, 3], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    short = module(pixels[1:2], source[1:2, :5], before[1:2])
    torch.testing.assert_close(short, whole[1:2])


def test_micro_batches_of_captions_hold_little_padding(things):
    """On the captions of scenes."""
    corpus = Corpus(str(things[0]))
    task = CaptionerTask(96)
    sources = {s: Source(s, task, [(corpus, 1.0)], 0, 500, Health(0.0)) for s in task.streams}
    loader = Loader(task, sources, seed=0, progress=Progress(), micro_batch=12)
    real = places = 0
    for step in itertools.islice(loader, 10):
        for batch in step.sub_batches[0]:
            real += int((batch.data["target"] != 0).sum())
            places += batch.data["target"].numel()
    loader.close()
    assert real / places > 0.6


def test_each_row_is_scored_with_what_is_expected_of_it(tmp_path):
    """Though a batch's rows are sorted by length."""
    task, corpus = CaptionerTask(8), Corpus(str(scenes_corpus(tmp_path, 1, 20)))
    pieces = task._pieces

    def given(module, batch):
        assert len(set((batch.data["target"] != 0).sum(1).tolist())) > 1
        return [pieces.decode(ids) for ids in batch.data["target"].tolist()]

    def expected(sample):
        return pieces.decode(pieces.encode(sample["txt"].decode(), TARGET.buckets[-1] - 1).ids)

    measure = Generation(task, "captions", corpus, given, expected, samples=20, batch=8)
    found = measure(task.build(), torch.device("cpu"))
    assert found == {"exact": 1.0, "exact_other_image": 1.0}
