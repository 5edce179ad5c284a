from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.config import TrainSettings
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.world import world
from septet.trainers.ernie_vil.presets import PRESETS
from septet.trainers.ernie_vil.samples import REGIONS
from septet.trainers.m6.presets import PRESETS as M6_PRESETS
from septet.trainers.m6.samples import tokenizer
from septet.trainers.measures.matching import Matching
from septet.trainers.measures.parts import parts
from septet.trainers.measures.predictions import Predictions
from septet.trainers.measures.retrieval import Retrieval, recalls
from septet.trainers.measures.zero_shot import _LABEL, ZeroShot
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.conftest import settings
from tests.trainers.corpora import one_thing_corpus, scenes_corpus, write_corpus
from tests.trainers.ernie_vil.corpora import annotated
from tests.trainers.ranks import run_ranks

CLASSES = ("red", "green", "blue", "white", "black", "star")


def with_classes(folder: Path, count: int, broken: range = range(0)) -> Path:
    """Images with a class each, some of which cannot be read."""
    corpus = Corpus(str(one_thing_corpus(folder / "plain", 0, count)))
    samples = []
    for i in range(count):
        sample = {**corpus[i], "cls": str(i % len(CLASSES)).encode()}
        if i in broken:
            sample["png"] = b"\x89PNG is not all"
        samples.append((corpus.key(i), sample))
    return write_corpus(folder / "with-classes", samples)


def measured(classes: Path, regions: Path, shard: int) -> dict[str, float]:
    """All measures, in batches that ranks cannot share evenly, and the rows this rank read."""
    clip = settings().task()
    vil = override(PRESETS["debug"], ["model.text_tokens=16", "model.most_regions=3"]).task()
    images, graphs = Corpus(str(classes)), Corpus(str(regions))
    train = TrainSettings(steps=1, global_batch=4, shard=shard)
    found = {}
    with world() as ranks:
        retrieval = Retrieval(clip, "pairs", images, batch=8)
        measures = {
            clip: [retrieval, ZeroShot(clip, "pairs", images, CLASSES, batch=7)],
            vil: [
                Predictions(vil, ["pairs"], graphs, vil.told, batch=8, image=REGIONS),
                Matching(vil, "pairs", graphs, REGIONS, group=6),
            ],
        }
        for task, evaluators in measures.items():
            torch.manual_seed(3)
            parallel = Parallel(task.build(), task, train, ranks)
            with parallel.evaluating() as module:
                for evaluator in evaluators:
                    for name, value in evaluator(module, ranks.device).items():
                        found[f"{evaluator.name}/{name}"] = value
        own = sum(len(p.batch) for p in parts(clip, "pairs", images, 1000, 8) if p.counts)
    return {**found, "rows": own}


def test_ranks_share_the_samples_and_agree_on_the_figures(tmp_path):
    classes = with_classes(tmp_path, 37, broken=range(10, 15))
    regions = annotated(tmp_path / "regions", 25, blank={3, 4})
    alone = measured(classes, regions, 1)
    assert alone.pop("rows") == 32
    assert {name.partition("/")[0] for name in alone} == {
        "retrieval", "zero_shot", "predictions", "matching",
    }  # fmt: skip
    for shard in (1, 2):
        several = run_ranks(2, measured, classes, regions, shard)
        assert [found.pop("rows") for found in several] == [21, 11]  # 3 and 2 of 5 batches
        assert several[0] == several[1] == pytest.approx(alone, abs=1e-12)


def test_accuracy_is_the_share_of_images_whose_class_is_among_the_nearest(tmp_path, monkeypatch):
    """Of twelve images a third is nearest to its class, and a third as far as can be."""
    task = settings().task()
    corpus = Corpus(str(with_classes(tmp_path, 12)))
    ahead = torch.tensor([0, 5, 1, 0, 5, 1])  # Ranks of their own classes: 0, 1, 5.

    def texts(stream: str, names: list[str]) -> Batch:
        return Batch(stream, {"named": torch.tensor([CLASSES.index(name) for name in names])})

    def forward(module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        if "named" in batch.data:
            return {"text": torch.eye(6)[batch.data["named"]]}
        nearest = (batch.data[_LABEL] + ahead[batch.data[_LABEL]])[:, None]
        return {"image": -((torch.arange(6) - nearest) % 6).float()}

    monkeypatch.setattr(task, "texts", texts)
    monkeypatch.setattr(task, "forward", forward)
    measure = ZeroShot(task, "pairs", corpus, CLASSES, ["{}"], batch=5)
    assert measure(nn.Identity(), torch.device("cpu")) == {
        "accuracy_1": pytest.approx(4 / 12), "accuracy_5": pytest.approx(8 / 12),
    }  # fmt: skip


def test_what_cannot_be_measured_on_is_told(tmp_path):
    task = settings().task()
    classes = Corpus(str(with_classes(tmp_path, 12, broken=range(4, 8))))
    with pytest.raises(ValueError, match=r"class 5 of 5; give all class names"):
        ZeroShot(task, "pairs", classes, CLASSES[:5])
    with pytest.raises(ValueError, match=r"with \{\} for the name"):
        ZeroShot(task, "pairs", classes, CLASSES, ["a photo"])
    with pytest.raises(
        ValueError, match=r"none of 4 samples of pairs in a row.*the last one: image"
    ):
        Retrieval(task, "pairs", classes, batch=4)
    empty = Corpus(str(write_corpus(tmp_path / "empty", [])))
    with pytest.raises(ValueError, match="has no sample of pairs to measure on"):
        Retrieval(task, "pairs", empty)


def test_an_equal_caption_of_another_image_is_as_right():
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.1, 0.0], [0.5, 0.5, 0.4]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    assert recalls("x", scores)["x_r1"] == 0
    assert recalls("x", scores, same)["x_r1"] == pytest.approx(2 / 3)
    equal = torch.ones(3, 3)  # Ties count against the model.
    assert recalls("x", equal)["x_r1"] == 0 == recalls("x", equal, same)["x_r1"]


class Told(nn.Module):
    """Gives each pair a text vector that tells its caption from all others, and the image vector of
    the `ahead`-th caption after it."""

    def __init__(self, ahead: int):
        super().__init__()
        self.ahead = ahead

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        image, text = (
            torch.nn.functional.one_hot((ids[:, 1] + n) % 97, 97).float() for n in (self.ahead, 0)
        )
        return {"image": image, "text": text}


@pytest.mark.parametrize(("ahead", "own", "other"), [(0, 1.0, 0.0), (1, 0.0, 11 / 12)])
def test_under_other_image_each_caption_has_its_neighbours(
    tmp_path, monkeypatch, ahead, own, other
):
    """The image before it; the first has that of the last, which is no other's."""
    task = settings().task()
    corpus = Corpus(str(write_corpus(tmp_path, _numbered(12))))
    monkeypatch.setattr(task, "forward", lambda module, batch: module(batch.data["ids"]))
    found = Retrieval(task, "pairs", corpus, batch=4)(Told(ahead), torch.device("cpu"))
    for direction in ("image_to_text", "text_to_image"):
        assert found[f"{direction}_r1"] == own
        assert found[f"{direction}_r1_other_image"] == pytest.approx(other)


def _numbered(count: int) -> list[tuple[str, dict[str, bytes]]]:
    png = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    return [(f"{i:032x}", {"png": png, "txt": chr(97 + i).encode()}) for i in range(count)]


def test_texts_of_languages_that_a_model_does_not_read_are_not_measured(tmp_path):
    corpus = Corpus(str(scenes_corpus(tmp_path, 1, 30, per_shard=7, languages=("en", "zh", "de"))))
    task = override(M6_PRESETS["debug"], ["model.mixture={captioning: 1}"]).task()
    words = tokenizer(task.settings)
    found = parts(task, "captioning", corpus, 1000, 4)
    texts = [words.decode(row) for part in found for row in part.batch.data["target"].tolist()]
    own = [corpus[i]["txt"].decode() for i in range(30)]
    assert sorted(texts) == sorted(text for text in own if text.startswith("一个"))
    assert len(texts) == 10
