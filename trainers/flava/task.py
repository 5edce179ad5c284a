"""FLAVA's training: steps of one kind each, pairs, images or texts (paper, section 3)."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.draws import generator
from septet.trainers.flava import samples
from septet.trainers.flava.model import Encoder, Flava
from septet.trainers.flava.negatives import exchange_texts
from septet.trainers.flava.settings import FlavaSettings
from septet.trainers.flava.weights import FORMS
from septet.trainers.inputs.codes import Targets
from septet.trainers.inputs.kinds import cross_entropies, masked_labels
from septet.trainers.measures.predictions import Predictions
from septet.trainers.measures.retrieval import Retrieval
from septet.trainers.nets.losses import contrastive
from septet.trainers.task import Batch, Draw, Evaluator, Gather, Row, Stream, SubBatch, Task

LOSSES = ("contrastive", "itm", "mmm_image", "mmm_text", "mim", "mlm")


class FlavaTask(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS
    loss_weights = dict.fromkeys(LOSSES, 1.0)
    pooled = ("image", "text", "scale")
    scalars = ("scale",)
    unused_parameters = True

    def __init__(self, settings: FlavaSettings, global_batch: int):
        self.settings, self.global_batch = settings, global_batch
        self._shares = {kind: share for kind, share in settings.shares if share > 0}
        s, patches = settings, settings.grid**2
        columns = (s.column,) if s.column else ()
        streams = {
            "pairs": Stream((IMAGE, "txt"), columns, (), patches + s.pair_tokens, global_batch),
            "images": Stream((IMAGE,), columns, tokens=patches),
            "texts": Stream(("txt",), tokens=s.text_tokens),
        }
        self.streams = {kind: streams[kind] for kind in self._shares}
        self._codes = Targets(settings.code_grid, settings.tokenizer)

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """A whole batch of one kind, drawn by its share (paper, appendix B.1)."""
        shares = np.array(list(self._shares.values()))
        kind = generator("kind", seed, step).choice(list(self._shares), p=shares / shares.sum())
        return [SubBatch.of(str(kind), self.global_batch)]

    def check_column(self, name: str, manifest: ColumnManifest) -> None:
        """Its codes fit the patches."""
        self.settings.code_grid.check(name, manifest)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`."""
        return samples.read(stream, sample, self.settings, draw() if draw else None)

    def exchange(self, batch: Batch) -> Batch:
        """Some pairs get each other's text."""
        return exchange_texts(batch) if "swap" in batch.data else batch

    def build(self) -> nn.Module:
        """All encoders and heads."""
        return Flava(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer blocks."""
        return [b for m in module.modules() if isinstance(m, Encoder) for b in m.blocks]

    def example(self, stream: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        return samples.example(stream, rows, self.settings)

    def texts(self, stream: str, texts: Sequence[str]) -> Batch:
        """See `septet.trainers.task.Task`."""
        return Batch(stream, samples.texts(texts, self.settings))

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Patches and words to predict."""
        of, data = samples.PREDICTED[batch.kind], batch.data
        return {loss: data[name] for name, loss in of.items() if name in data}

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Masked patches and words; pairs, and those that match."""
        found = dict(super().counts(batch))
        if batch.kind == "pairs":
            found |= {"itm": len(batch), "contrastive": batch.data["match"].sum()}
        return found

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See the model's methods; rows without masks give vectors."""
        kind, inputs = samples.model_inputs(batch, self.places(batch))
        found: dict[str, Tensor] = module(kind, **inputs)
        return found

    def pooled_outputs(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Vectors of pairs, for which nothing has to be masked or fused."""
        plain = {n: x for n, x in batch.data.items() if n in ("pixels", "ids")}
        return self.forward(module, Batch("pairs", plain)) if batch.kind == "pairs" else {}

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """What each row's own losses predict, int64 [n], in the order of the outputs."""
        data = batch.data
        found = masked_labels(data, self.places(batch), self._codes, samples.OF_PATCHES)
        return found | ({"itm": data["match"]} if batch.kind == "pairs" else {})

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of what was masked, and of matching."""
        return cross_entropies(outputs, self.labels(batch))

    def pooled_losses(
        self, outputs: dict[str, Tensor], batch: Batch, gather: Gather
    ) -> dict[str, Tensor]:
        """CLIP's loss over the rows of matching pairs; all pairs are columns."""
        image, text, scale = outputs["image"], outputs["text"], outputs["scale"]
        kept = batch.data["match"].bool()
        return {"contrastive": contrastive(image, text, scale, gather, kept)}

    def after_step(self, module: nn.Module) -> None:
        """Clamp the temperature."""
        assert isinstance(module, Flava)
        module.logit_scale.clamp_(0, math.log(100))

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Retrieval, and shares of right predictions, half of the pairs not matching."""
        even = FlavaTask(self.settings.model_copy(update={"mismatched": 0.5}), self.global_batch)
        retrieval = [Retrieval(self, "pairs", held_out)] if "pairs" in self.streams else []
        return [*retrieval, Predictions(even, list(self.streams), held_out, even.labels)]
