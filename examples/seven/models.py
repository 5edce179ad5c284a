"""The seven models: what each is trained with, and by which figure it is judged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A model of the seven: how it is trained, and its main measure with bounds."""

    name: str
    title: str
    idea: str
    """What it learns, in a sentence."""
    steps: int
    figure: str
    """The main measure, in `metrics.jsonl`."""
    meaning: str
    """What the measure is the share of."""
    chance: str | int
    """The figure that is chance (of what has none, what is told with another image); or how many of
    the held-out samples are right by chance."""
    least: float
    """Bound with the right image."""
    most: float
    """Bound with another sample's."""
    told_loss: str = "loss"
    """What the curve is, in words."""
    loss: str = "loss"
    """The figure whose curve is shown."""
    changes: tuple[str, ...] = ()
    """Of the preset `debug`, KEY=VALUE; `{out}` is where vocabularies lie."""

    @property
    def control(self) -> str:
        """The measure with another sample's image."""
        return f"{self.figure}_other_image"

    def missed(self, right: float, wrong: float) -> str:
        """Which bounds are missed, in words; empty where none is."""
        found = []
        if not right >= self.least:
            found.append(f"{right:.3f} is below {self.least:g}")
        if not wrong <= self.most:
            found.append(f"{wrong:.3f} with another's image is above {self.most:g}")
        return ", ".join(found)


PIECES = ("model.vocabulary={out}/vocab.txt", "model.words=2048")
"""Word pieces that are learnt of the corpus's captions, in place of those of English scenes."""

SEVEN = (
    Model(
        "clip", "CLIP", "An image and its caption meet in one space.",
        steps=400, figure="retrieval/text_to_image_r10",
        meaning="captions whose image is among the ten nearest", chance=10, least=0.4, most=0.1,
        told_loss="contrastive loss",
    ),
    Model(
        "ernie_vil", "ERNIE-ViL",
        "Objects, attributes and relations of a caption's scene graph are hidden and told by the "
        "image's regions.",
        steps=400, figure="predictions/object", meaning="hidden objects told right",
        chance="predictions/object_commonest", least=0.5, most=0.38,
        changes=PIECES,
    ),
    Model(
        "flava", "FLAVA", "Images alone, texts alone and pairs, in one model of three encoders.",
        steps=800, figure="retrieval/text_to_image_r10",
        meaning="captions whose image is among the ten nearest", chance=10, least=0.15, most=0.08,
        changes=PIECES, loss="loss/contrastive", told_loss="contrastive loss",
    ),
    Model(
        "beit3", "BEiT-3", "Images as a foreign language: hidden patches and words are filled in.",
        steps=500, figure="predictions/mvlm_image", meaning="hidden patches of pairs told right",
        chance="predictions/mvlm_image_commonest", least=0.5, most=0.38,
        changes=("model.vocabulary={out}/captions.spm", "model.words=2056"),
    ),
    Model(
        "m6", "M6", "One stack that reads an image and writes Chinese.",
        steps=600, figure="captioning/exact",
        meaning="Chinese captions written to the letter",
        chance="captioning/exact_other_image",
        least=0.1, most=0.05,
        changes=(*PIECES, "model.mixture={{captioning: 2, image_denoising: 1, denoising: 1}}"),
    ),
    Model(
        "ofa", "OFA", "Captions, answers, boxes and image codes are written in one vocabulary.",
        steps=500, figure="tasks/vqa", meaning="answers that are just right",
        chance="tasks/vqa_commonest", least=0.6, most=0.5,
        changes=("model.languages=[en,de,fr,es,zh]", "model.words=1024"),
    ),
    Model(
        "pali", "PaLI", "Every task is a prompt and an answer, in many languages.",
        steps=600, figure="vqa/vqa_accuracy",
        meaning="answers to questions in five languages that are right",
        chance="vqa/vqa_accuracy_other_image", least=0.65, most=0.55,
        changes=("model.mixture={{caption: 2, vqa: 2, detect: 1, objects: 1}}",),
    ),
)  # fmt: skip
"""In the order of the paper's years; what takes longest begins first, see `run`."""
