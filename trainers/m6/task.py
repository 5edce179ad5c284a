"""M6 as a task: each step is of one task, drawn by weight, and has one loss, over what is to be
written (M6, section 3.3)."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ColumnManifest
from septet.trainers.draws import generator
from septet.trainers.m6 import samples
from septet.trainers.m6.answers import abilities, answers
from septet.trainers.m6.measures import evaluators
from septet.trainers.m6.model import M6
from septet.trainers.m6.settings import PAD, TASKS, M6Settings
from septet.trainers.m6.weights import FORMS
from septet.trainers.mixture.plan import Mixture
from septet.trainers.prediction import Answer, Asked
from septet.trainers.task import Batch, Draw, Evaluator, Row, SubBatch, Task


class M6Task(Task):
    """See `septet.trainers.task.Task`."""

    forms = FORMS

    def __init__(self, settings: M6Settings, global_batch: int):
        """
        Args:
            settings: The model and its inputs.
            global_batch: Rows of a step.
        """
        self.settings, self.global_batch = settings, global_batch
        # In one order, however it is written: equal settings draw equally.
        chosen = {n: settings.mixture[n] for n in TASKS if settings.mixture.get(n, 0) > 0}
        # All rows of a step are of one task.
        self.mixture = Mixture(chosen, {name: [name] for name in chosen}, global_batch)
        self.streams = {name: samples.stream(name, settings) for name in self.mixture.tasks}
        # Texts alone do not use the layer that images come in through.
        self.unused_parameters = not all(name in samples.SEEING for name in self.streams)
        self.abilities = abilities(settings)
        self.loss_weights: Mapping[str, float] = {"tokens": 1.0}
        if settings.experts:  # The last two are told, and no part of the objective.
            balance = settings.experts.balance
            self.loss_weights = {
                "tokens": 1.0, "balance": balance, "variation": 0.0, "overflow": 0.0,
            }  # fmt: skip

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """All rows of one task, drawn by weight."""
        found = self.mixture.sub_batches(seed, step, self.global_batch)
        return [sub for sub in found if sub.total]

    def check_column(self, name: str, manifest: ColumnManifest) -> None:
        """Features are of as many pieces and as wide, codes of the grid that is drawn."""
        samples.check_column(name, manifest, self.settings)

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """See `samples.read`; the evaluation view is drawn, too, but always the same."""
        drawn = draw() if draw else generator("measure", getattr(sample, "key", ""))
        return samples.read(stream, sample, self.settings, drawn)

    def build(self) -> nn.Module:
        """The whole model."""
        return M6(self.settings)

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """Transformer blocks."""
        assert isinstance(module, M6)
        return list(module.blocks)

    def example(self, kind: str, rows: int) -> Batch:
        """See `septet.trainers.task.Task`."""
        return samples.example(kind, rows, self.settings)

    def masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens to write."""
        return {"tokens": batch.data["target"] != PAD}

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens to write; of experts' figures tokens of all segments, and for those that are told
        times the layers with experts, whose mean they are. The balance is the layers' sum."""
        found = dict(super().counts(batch))
        if layers := self.settings.expert_layers:
            tokens = samples.real_tokens(batch)
            found |= {"balance": tokens, "variation": layers * tokens, "overflow": layers * tokens}
        return found

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Sums over the tokens to write; see `model.M6.forward`."""
        kept, inputs = self.places(batch)["tokens"], samples.model_inputs(batch)
        found: dict[str, Tensor] = module(batch.data["target"], kept, **inputs)
        return found

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the tokens to write, and experts' figures."""
        return {name: outputs[name] for name in self.loss_weights}

    def predict(
        self, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int = 1
    ) -> list[Answer]:
        """See `answers`."""
        return answers(self.settings, module, ability, asked, beams)

    def evaluators(self, held_out: Corpus, name: str = "") -> list[Evaluator]:
        """Tokens told right, task by task, and how good what the model writes by itself is."""
        return evaluators(self, held_out)
