"""Whole short runs on scenes, alone and on two sharded ranks."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.members import Members
from septet.trainers.pali.presets import PRESETS, PaliPreset
from septet.trainers.scale.estimate import Estimate, estimate
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after
from tests.trainers.test_cli import APP

TINY = [
    "model.vision.width=24", "model.vision.inner=32", "model.vision.patch=16",
    "model.vision.layers=1", "model.language.width=32", "model.language.inner=48",
    "model.language.heads=2", "model.language.layers=1", "model.text_rows=8", "model.span_texts=3",
    "train.global_batch=16", "train.steps=4", "train.save_every=2", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.kind=adafactor", "optimizer.lr=1e-2",
]  # fmt: skip


def preset(*changes: str) -> PaliPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


def test_a_dry_run_says_that_rows_are_joined_and_reads_all_that_they_may_hold(small):
    def needs(*changes: str) -> Estimate:
        one = preset("model.mixture={spans: 1, vqa: 1}", *changes)
        corpora = {name: [(Corpus(str(small)), 1.0)] for name in one.task().streams}
        return estimate(one.task(), one.train, one.optimizer, corpora, 1)

    three, alone = needs(), needs("model.span_texts=1")
    assert (three.joined, alone.joined) == ({"spans": 3}, {})
    assert three.samples_per_second == alone.samples_per_second  # Of rows.
    task = preset().task()
    text = Members(Corpus(str(small)), task.streams["spans"], task).bytes_per_sample()
    more = three.bytes_per_second - alone.bytes_per_second
    assert more == pytest.approx(three.samples_per_second / 2 * 2 * text)  # Two more, in half.

    def told(*changes: str) -> str:
        arguments = [x for change in (*TINY, *changes) for x in ("--set", change)]
        found = CliRunner().invoke(
            APP, ["pali", str(small), "--preset", "debug", "--dry-run", *arguments]
        )
        assert found.exit_code == 0, found.output
        return " ".join(found.output.split())

    rows, samples = told(), told("model.span_texts=1")
    assert "a row of spans up to 3 samples, joined" in rows and "rows then" in rows
    assert "to be read from storage then up to " in rows
    assert "joined" not in samples and "samples then" in samples and "up to" not in samples


@pytest.mark.slow
def test_two_sharded_ranks_run_as_one_and_a_stopped_run_goes_on_to_the_bit(small, tmp_path):
    assert run(small, tmp_path / "alone") == 0
    changes = ("train.shard=2", "train.micro_batch=4")
    assert run_ranks(2, run, small, tmp_path / "ranks", *changes) == [0, 0]
    for name in ("loss", "loss/tokens", "loss/z", "gradient_norm"):
        mine, theirs = (figures(tmp_path / out, name) for out in ("ranks", "alone"))
        assert len(theirs) == 4 and mine == pytest.approx(theirs, rel=2e-5), name
    stop_after(3, preset(), small, tmp_path / "cut")
    assert run(small, tmp_path / "cut") == 0
    assert figures(tmp_path / "alone") == figures(tmp_path / "cut")
    assert same(tmp_path / "alone", tmp_path / "cut")
