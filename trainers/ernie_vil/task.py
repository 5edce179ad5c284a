"""ERNIE-ViL's training: pairs of captions and regions, with the caption's scene graph (paper,
section 3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.ernie_vil import samples
from septet.trainers.ernie_vil.model import KINDS, ErnieVil
from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.ernie_vil.weights import FORMS
from septet.trainers.measures.matching import Matching
from septet.trainers.measures.predictions import Predictions
from septet.trainers.nets.layers import at
from septet.trainers.task import Batch, Draw, Evaluator, Row, Stream, SubBatch, Task


class ErnieVilTask(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS
    loss_weights = dict.fromkeys((*KINDS, "region", "match"), 1.0)

    def __init__(self, settings: ErnieVilSettings, global_batch: int):
        self.settings, self.global_batch = settings, global_batch
        optional = (settings.graphs,) if settings.graphs else ()
        places = settings.text_tokens + 1 + settings.most_regions
        self.streams = {
            "pairs": Stream(("txt",), (settings.regions,), optional, places, global_batch)
        }

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """One batch of pairs."""
        return [SubBatch.of("pairs", self.global_batch)]

    def check_column(self, name: str, manifest: ColumnManifest) -> None:
        """Sizes of regions and their distributions, and the graphs' tokenizer."""
        samples.check_column(name, manifest, self.settings)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`."""
        return samples.read(sample, self.settings, draw() if draw else None)

    def exchange(self, batch: Batch) -> Batch:
        """Some pairs get another one's image."""
        return samples.exchange(batch, self.settings)

    def build(self) -> nn.Module:
        """Both streams and all heads."""
        return ErnieVil(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Layers of both streams, and co-layers."""
        assert isinstance(module, ErnieVil)
        return [*module.text.layers, *module.image.layers, *module.co]

    def example(self, stream: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        return samples.example(rows, self.settings)

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens of each kind and regions to predict."""
        data, found = batch.data, dict[str, Tensor]()
        if "kinds" in data:
            found |= {name: data["kinds"] == i for i, name in enumerate(KINDS)}
        if "region_places" in data:
            found["region"] = data["region_places"]
        return found

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Masked tokens of each kind, masked regions, pairs."""
        return {**super().counts(batch), "match": len(batch)}

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `ErnieVil.forward`; rows without masks give `match` alone."""
        data = batch.data
        inputs = {name: data[name] for name in samples.REGIONS}
        ids = data["ids_masked"] if "ids_masked" in data else data["ids"]
        found: dict[str, Tensor] = module(
            ids, data["ids"] != 0, **inputs, places=self.places(batch)
        )
        return found

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """What is predicted, int64 [n], in the order of the outputs; of regions the likeliest
        class."""
        data, places = batch.data, self.places(batch)
        return {
            **{name: at(data["ids"], places[name]) for name in KINDS},
            "match": (~data["match"]).long(),
            **({"region": self._distributions(batch).argmax(1)} if "probs" in data else {}),
        }

    def _distributions(self, batch: Batch) -> Tensor:
        return at(batch.data["probs"], self.places(batch)["region"]).float()

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of masked tokens and of matching; of masked regions the divergence from
        the detector's distribution, KL(detector || model)."""
        labels = self.labels(batch)
        found = {
            name: F.cross_entropy(outputs[name].float(), labels[name], reduction="sum")
            for name in (*KINDS, "match")
        }
        scores = outputs["region"].float().log_softmax(-1)
        if "probs" not in batch.data:
            return {**found, "region": 0.0 * scores.sum()}
        return {**found, "region": F.kl_div(scores, self._distributions(batch), reduction="sum")}

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Masked tokens and regions told right, none of which is seen; matching, and retrieval by
        it."""
        nodes = self.settings.masked_nodes or 0.3
        whole = {"mismatched": 0.0, "masked_nodes": nodes, "shown_words": 0.0, "kept_regions": 0.0}
        pairs = ErnieVilTask(self.settings.model_copy(update=whole), self.global_batch)
        return [
            Predictions(pairs, ["pairs"], held_out, pairs.told, image=samples.REGIONS),
            Matching(self, "pairs", held_out, samples.REGIONS),
        ]

    def told(self, batch: Batch) -> dict[str, Tensor]:
        """`labels` but for matching, which `Matching` measures."""
        return {name: x for name, x in self.labels(batch).items() if name != "match"}
