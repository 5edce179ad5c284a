"""A small PaLI learns to say what one thing a scene shows; `benchmarks.learning` has the long form,
of all eight tasks."""

import pytest

from septet.trainers.pali.presets import PRESETS
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.pali.corpora import languages_corpus
from tests.trainers.runs import figures

STEPS = 400
CHANGES = [
    "model.mixture={caption: 1, vqa: 1}", "model.vision.image_size=32", "train.global_batch=32",
    f"train.steps={STEPS}", f"train.eval_every={STEPS}", f"train.save_every={STEPS}",
    "train.workers=0",
]  # fmt: skip


@pytest.mark.slow
def test_what_is_said_in_five_languages_comes_from_the_image(tmp_path):
    corpus = languages_corpus(tmp_path / "scenes", 1, 2000, things=(1, 1))
    held = languages_corpus(tmp_path / "held", 1, 256, first=10**6, things=(1, 1))
    train(override(PRESETS["debug"], CHANGES), corpus, tmp_path / "run", held)

    def found(name: str) -> float:
        return figures(tmp_path / "run", name)[STEPS]

    print(
        {
            n: found(n)
            for n in (
                "tokens/caption",
                "tokens/caption_other_image",
                "tokens/vqa",
                "tokens/vqa_other_image",
                "vqa/vqa_accuracy",
                "vqa/vqa_accuracy_other_image",
                "caption/cider",
                "caption/cider_other_image",
                "caption/language_right",
                "tokens/vqa_commonest",
                "tokens/caption_commonest",
            )
        }
    )
