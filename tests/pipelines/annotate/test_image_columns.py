"""Columns that run networks over images, made by `septet annotate`, and read by a trainer."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.pipelines.report.columns import column_views
from septet.preprocess.annotators.codes import decoded
from septet.preprocess.codes.dvae import Dvae, DvaeSettings
from septet.preprocess.codes.load import load_tokenizer
from septet.preprocess.codes.views import view_codes
from septet.preprocess.columns.images import read_image
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.columns.registry import make_column
from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.source import Health, Source
from septet.trainers.task import Stream
from tests.corpora import digests, run_annotation
from tests.preprocess.codes.oracles import Oracle
from tests.trainers.corpora import scenes_corpus
from tests.trainers.test_loader import Texts

SAMPLES = 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    def spoil(i, members):
        return members | {"png": members["png"][:200]} if i == 7 else members

    folder = tmp_path_factory.mktemp("scenes")
    return scenes_corpus(folder, seed=3, count=SAMPLES, size=72, per_shard=8, change=spoil)


@pytest.fixture(scope="module")
def vqgan(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "last.ckpt"
    torch.save({"state_dict": Oracle("vqgan_gumbel_f8").weights}, path)
    return str(path)


@pytest.fixture(scope="module")
def dvae(tmp_path_factory) -> str:
    torch.manual_seed(0)
    module = Dvae(DvaeSettings(width=16, blocks=1, codes=512))
    for x in module.parameters():
        x.data.add_(torch.randn(x.shape) * 0.1)
    path = tmp_path_factory.mktemp("weights") / "encoder.pt"
    torch.save(module.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def annotated(corpus: Path, dvae: str, vqgan: str) -> Path:
    before = digests(corpus)
    ofa = {"weights": vqgan, "size": 64, "augmentation": "ofa"}
    run_annotation(corpus, "codes", ofa, name="infill")
    flava = {"weights": dvae, "tokenizer": "dvae", "augmentation": "flava", "views": 3}
    run_annotation(corpus, "codes", flava | {"evaluation_view": True}, name="codes")
    assert {k: v for k, v in digests(corpus).items() if not k.startswith("columns/")} == before
    return corpus


def test_codes_of_every_sample_but_the_broken_one(annotated: Path) -> None:
    quiet = Console(quiet=True)
    assert check_columns(str(annotated), quiet) == []
    opened = Corpus(str(annotated))
    for name, grid in (("codes", 14), ("infill", 4)):
        found = {}
        for shard in range(len(opened.shards)):
            with ColumnShardReader(opened, name, shard) as reader:
                found |= {key: reader.value(row) for row, key in enumerate(reader.keys.to_pylist())}
                assert list(reader.read(0)) == ["codes.safetensors"]
        assert len(found) == SAMPLES and sum(not value for value in found.values()) == 1
        assert all(view_codes(v, 0).codes.shape == (grid, grid) for v in found.values() if v)


class Views(Texts):
    """As FLAVA's task would: pixels and codes of an epoch's view; as proof, the codes of the same
    pixels, encoded anew."""

    def __init__(self, dvae):
        super().__init__()
        self.streams = {"pictures": Stream(("jpg|png",), columns=("codes",))}
        self.tokenizer = load_tokenizer("dvae", dvae)

    def read(self, stream, sample, draw):
        epoch = None if draw is None else int(draw().integers(1000))
        found = view_codes(sample["codes"], epoch)
        image = read_image(sample["png"])
        pixels = torch.from_numpy(found.pixels(image, 112, "lanczos")).permute(2, 0, 1)
        return {
            "pixels": found.pixels(image, 224),
            "codes": found.codes.astype(np.int64),
            "online": self.tokenizer.codes(pixels[None] / 255)[0].numpy(),
            "box": np.array([*found.view.box, found.view.drawn]),
        }


def test_a_trainer_reads_an_epochs_view(annotated: Path, dvae: str) -> None:
    torch.set_num_threads(1)
    source = Source("pictures", Views(dvae), [(Corpus(str(annotated)), 1.0)], 7, 40, Health(0.0))
    assert source.samples == [SAMPLES - 1]  # the broken one takes no part
    rows = [row for row, _ in source.rows(range(3 * (SAMPLES - 1)))]
    assert all(row["pixels"].shape == (224, 224, 3) for row in rows)
    assert all(np.array_equal(row["codes"], row["online"]) for row in rows)
    assert all(row["box"][4] for row in rows)  # the view for evaluation is not trained on
    assert len({row["pixels"].tobytes() for row in rows}) > 1.4 * SAMPLES  # of 2 views each
    again = [row for row, _ in source.rows(range(SAMPLES, SAMPLES + 4))]
    assert all(
        np.array_equal(a["pixels"], b["pixels"])
        for a, b in zip(again, rows[SAMPLES : SAMPLES + 4], strict=True)
    )
    sample = Corpus(str(annotated))[0]
    with ColumnShardReader(Corpus(str(annotated)), "codes", 0) as reader:
        row = source.task.read("pictures", sample | {"codes": reader.value(0)}, None)
    assert row["box"].tolist() == [0, 0, 72, 72, 0]


def test_the_report_shows_codes(annotated: Path, vqgan: str) -> None:
    live = make_column("codes", {"weights": vqgan, "size": 64, "augmentation": "ofa"})
    codes, infill = column_views(Corpus(str(annotated)), {"infill": live}, 7)
    assert (codes.reasons, codes.values) == ([("image", 1)], SAMPLES - 1)
    assert all(view.beside for view in (*codes.shown, *infill.shown))
    assert [mark.label for mark in codes.shown[0].marks] == ["view 0", "view 1", "view 2"]
    assert "14 x 14 codes" in codes.shown[0].lines[0]
    # Decoded with weights at hand, else in false colours.
    (plain,) = [v for v in column_views(Corpus(str(annotated)), {}, 7) if v.name == "infill"]
    assert [v.key for v in plain.shown] == [v.key for v in infill.shown]
    assert all(a.beside != b.beside for a, b in zip(plain.shown, infill.shown, strict=True))
    with ColumnShardReader(Corpus(str(annotated)), "infill", 0) as reader:
        keys = reader.keys.to_pylist()
        view = next(v for v in infill.shown if v.key in keys)
        stored = view_codes(reader.value(keys.index(view.key)), None).codes
    expected = decoded(load_tokenizer("vqgan", vqgan, decoder=True), stored)
    shown = Image.open(io.BytesIO(base64.b64decode(view.beside.split(",")[1]))).convert("RGB")
    assert shown.size == (192, 192)
    small = np.asarray(shown.resize((32, 32), Image.Resampling.BOX), float)
    assert np.abs(small - expected).mean() < 12  # WebP is lossy


def test_settings_that_do_not_fit_the_weights_are_told_at_once(corpus: Path, vqgan: str) -> None:
    with pytest.raises(ValueError, match="100 x 100 pixels would be encoded"):
        run_annotation(corpus, "codes", {"weights": vqgan, "size": 100}, name="odd")
    with pytest.raises(ValueError, match="no dVAE encoder's"):
        run_annotation(corpus, "codes", {"weights": vqgan, "tokenizer": "dvae"}, name="odd")
    assert not (corpus / "columns/odd").exists()
