"""The debug preset learns scenes of one thing: `benchmarks.learning` has the long form."""

import pytest

from septet.trainers.ofa.presets import PRESETS
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.ofa.corpora import annotated
from tests.trainers.runs import figures


@pytest.mark.slow
def test_what_is_learnt_in_a_minute_comes_from_the_image(tmp_path):
    corpus = annotated(tmp_path / "scenes", 1200)
    held = annotated(tmp_path / "held", 128, first=10**6)
    changes = ["train.steps=300", "train.eval_every=300", "train.save_every=300", "train.workers=0"]
    train(override(PRESETS["debug"], changes), corpus, tmp_path / "run", held)

    def share(name: str) -> float:
        return figures(tmp_path / "run", f"tasks/{name}")[300]

    # Seen: 0.22, 0.27, 0.94, 0.72; with another's image 0.03, 0.04, 0.56, 0.28.
    assert share("caption") > 0.12 and share("caption_other_image") < 0.08
    assert share("ground") > 0.15 and share("ground_other_image") < 0.1
    assert share("vqa") > 0.75 and share("vqa_other_image") < 0.65
    assert share("infill") > 0.6 and share("infill_other_image") < 0.4
    assert share("caption_commonest") < 0.06 and share("infill_commonest") < 0.45
    # Of a text that is hidden in parts, the rest tells.
    assert share("infill_text") > 0.1 and share("infill_text_other_image") < 0.05
