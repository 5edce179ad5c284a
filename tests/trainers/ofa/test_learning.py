"""A small OFA learns to describe scenes of one thing, to answer, to find what a phrase names and to
name a region; the long form, of all eight tasks, is `benchmarks.learning`."""

import pytest

from septet.trainers.ofa.presets import PRESETS
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.ofa.corpora import annotated
from tests.trainers.runs import figures

STEPS = 300
CHANGES = [
    "model.plain_rows=0", f"train.steps={STEPS}", f"train.eval_every={STEPS}",
    f"train.save_every={STEPS}", "train.workers=0",
]  # fmt: skip


@pytest.mark.slow
def test_what_is_learnt_in_a_minute_comes_from_the_image(tmp_path):
    corpus = annotated(tmp_path / "scenes", 1200)
    held = annotated(tmp_path / "held", 128, first=10**6)
    train(override(PRESETS["debug"], CHANGES), corpus, tmp_path / "run", held)

    def share(name: str) -> float:
        return figures(tmp_path / "run", f"tasks/{name}")[STEPS]

    # Seen: whole captions 0.23, answers 1.00, regions 0.27, their names 0.25; with another's image
    # 0.04, 0.59, 0.06 and 0.05.
    assert share("caption") > 0.14 > 0.08 > share("caption_other_image")
    assert share("vqa") > 0.85 > 0.68 > share("vqa_other_image")
    assert share("ground") > 0.17 > 0.11 > share("ground_other_image")
    assert share("describe") > 0.17 > 0.1 > share("describe_other_image")
    assert share("caption_commonest") < 0.06 and share("vqa_commonest") < 0.4
