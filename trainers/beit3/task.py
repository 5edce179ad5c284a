"""BEiT-3's training: every step has images, texts and pairs, a third each, and one loss, what was
masked (paper, sections 2.2 and 2.3); and the image-text contrastive stage after it."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.beit3 import samples
from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.beit3.weights import FORMS
from septet.trainers.inputs.codes import Targets
from septet.trainers.inputs.kinds import cross_entropies, masked_labels
from septet.trainers.measures.predictions import Predictions
from septet.trainers.measures.retrieval import Retrieval
from septet.trainers.nets.losses import contrastive
from septet.trainers.task import Batch, Draw, Evaluator, Gather, Row, Stream, SubBatch, Task

NOT_DECAYED = ("embed_positions.A.weight", "cls_token")
"""Beside gains and biases (microsoft/unilm, `beit3`); text positions and the mask token decay."""


class Beit3Task(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS

    def __init__(self, settings: Beit3Settings, global_batch: int):
        self.settings, self.global_batch = settings, global_batch
        self.masked = settings.stage == "masked"
        s, patches = settings, settings.grid**2
        columns = (s.column,) if s.column and self.masked else ()
        pairs = Stream(
            (IMAGE, "txt"),
            columns,
            (),
            patches + s.pair_tokens,
            1 if self.masked else global_batch,
        )
        if self.masked:
            images = Stream((IMAGE,), columns, tokens=patches)
            texts = Stream(("txt",), tokens=s.text_tokens)
            self.streams = {"images": images, "texts": texts, "pairs": pairs}
            losses = (loss for of in samples.PREDICTED.values() for loss in of.values())
            self.loss_weights = dict.fromkeys(losses, 1.0)
            # Experts of language have no part in images, nor those of vision in texts.
            self.unused_parameters = True
        else:
            self.streams, self.loss_weights = {"pairs": pairs}, {"contrastive": 1.0}
            self.pooled, self.scalars = ("image", "text", "scale"), ("scale",)
        self._codes = Targets(settings.code_grid, settings.tokenizer)

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """Equal shares of all kinds in every step."""
        rows = self.global_batch // len(self.streams)
        return [SubBatch.of(kind, rows) for kind in self.streams]

    def check_column(self, name: str, manifest: ColumnManifest) -> None:
        """Its codes fit the patches."""
        self.settings.code_grid.check(name, manifest)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`."""
        return samples.read(stream, sample, self.settings, draw() if draw else None)

    def build(self) -> nn.Module:
        """The backbone with the heads of its stage."""
        return Beit3(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer blocks."""
        assert isinstance(module, Beit3)
        return list(module.beit3.encoder.layers)

    def example(self, stream: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        return samples.example(stream, rows, self.settings)

    def texts(self, stream: str, texts: Sequence[str]) -> Batch:
        """See `septet.trainers.task.Task`."""
        return Batch(stream, samples.texts(texts, self.settings))

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Masked patches and tokens."""
        of, data = samples.PREDICTED[batch.kind], batch.data
        return {loss: data[name] for name, loss in of.items() if name in data}

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Masked patches and tokens of each kind, or pairs."""
        return super().counts(batch) if self.masked else {"contrastive": len(batch)}

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See the model's methods; rows without masks give vectors."""
        kind, inputs = samples.model_inputs(batch, self.places(batch))
        found: dict[str, Tensor] = module(kind, **inputs)
        return found

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """What was masked, int64 [n], in the order of the outputs."""
        return masked_labels(batch.data, self.places(batch), self._codes, samples.OF_PATCHES)

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of what was masked."""
        if not self.masked:
            return {}
        return cross_entropies(outputs, self.labels(batch))

    def pooled_losses(
        self, outputs: dict[str, Tensor], batch: Batch, gather: Gather
    ) -> dict[str, Tensor]:
        """CLIP's loss over all pairs."""
        image, text, scale = outputs["image"], outputs["text"], outputs["scale"]
        return {"contrastive": contrastive(image, text, scale, gather)}

    def after_step(self, module: nn.Module) -> None:
        """Clamp the temperature, where there is one."""
        if isinstance(module, Beit3) and not self.masked:
            module.logit_scale.clamp_(0, math.log(100))

    def decays(self, name: str, parameter: Tensor) -> bool:
        """See `NOT_DECAYED`."""
        return parameter.ndim > 1 and not name.endswith(NOT_DECAYED)

    def depth(self, name: str) -> int:
        """Layers above a parameter: embeddings lie below all, heads and the last norm above."""
        if "embed" in name:
            return self.settings.layers + 1
        inside = "encoder.layers." in name
        return self.settings.layers - int(name.split(".")[3]) if inside else 0

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Shares of what was masked that is told right, or retrieval."""
        if self.masked:
            return [Predictions(self, list(self.streams), held_out, self.labels)]
        return [Retrieval(self, "pairs", held_out)]
