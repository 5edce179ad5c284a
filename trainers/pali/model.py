"""PaLI (Chen et al., "PaLI: A Jointly-Scaled Multilingual Language-Image Model", arXiv 2209.06794):
the patches of a ViT and the tokens of a prompt go through mT5's encoder together, and mT5's decoder
writes the answer. No task has a head of its own.

B batch, N patches, S tokens of the prompt, T tokens of the answer, W width of the language half,
V vocabulary. 0 is the padding of prompts and answers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.generate.cache import Cache
from septet.trainers.nets.initial import truncated_normal_
from septet.trainers.nets.layers import at
from septet.trainers.nets.losses import token_loss
from septet.trainers.nets.t5 import PAD, T5
from septet.trainers.pali.settings import PaliSettings
from septet.trainers.pali.vit import Vit


class Pali(nn.Module):
    """A ViT, a linear layer from its width to the language half's, and an mT5."""

    def __init__(self, s: PaliSettings):
        super().__init__()
        self.settings = s
        self.vision = Vit(s.vision)
        self.connector = nn.Linear(s.vision.width, s.language.width)
        self.language = T5(s.language)
        truncated_normal_(self.connector.weight, s.vision.width**-0.5, 2 * s.vision.width**-0.5)
        nn.init.zeros_(self.connector.bias)
        if s.frozen == "vision":
            self.vision.requires_grad_(False)

    def forward(
        self, target: Tensor, kept: Tensor, source: Tensor, pixels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What writing answers costs, as sums over their tokens: `tokens` (cross-entropy), `z`
        (z-loss) and `right` (how many are the likeliest word).

        Args:
            target: Answers, int64 [B, T].
            kept: Which of their tokens are no padding, flat positions int64 [n].
            source: Prompts, int64 [B, S].
            pixels: Images [B, 3, P, P] with values in [-1, 1]; None where there are none.
        """
        s = self.settings
        hidden = at(self.states(target, source, pixels), kept)
        sums = token_loss(
            hidden, self.language.head.weight, at(target, kept),
            smoothing=s.smoothing, z=s.z_loss, chunk=s.chunk,
        )  # fmt: skip
        return {"tokens": sums.cross_entropy, "z": sums.z, "right": sums.right}

    def states(self, target: Tensor, source: Tensor, pixels: Tensor | None = None) -> Tensor:
        """The decoder's final states [B, T, W] before each token of the answers; arguments as in
        `forward`."""
        memory, seen = self._read(source, pixels)
        before = F.pad(target[:, :-1], (1, 0), value=PAD)
        return self.language.decoder(self.language.words(before), None, memory, seen)

    def encode(self, source: Tensor, pixels: Tensor | None = None) -> Cache:
        """See `generate.cache.Generative`; arguments as in `forward`."""
        memory, seen = self._read(source, pixels)
        return Cache.of(memory, ~seen, self.settings.language.layers)

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """See `generate.cache.Generative`."""
        return self.language.decode(ids, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of words, [..., V]."""
        return self.language.logits(hidden)

    def _read(self, source: Tensor, pixels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The encoder's states [B, N + S, W], and which of them may be attended to, bool."""
        x, seen = self.language.words(source), source != PAD
        if pixels is not None:
            trained = self.settings.frozen != "vision"
            with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
                patches = self.vision(pixels)
            first = self.connector(patches)
            x = torch.cat([first.to(x.dtype), x], 1)
            seen = torch.cat([seen.new_ones(first.shape[:2]), seen], 1)
        return self.language.encoder(x, seen), seen
