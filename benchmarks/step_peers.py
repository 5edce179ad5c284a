"""Models of other projects that `benchmarks.step` runs Septet's beside, of the same sizes."""

import copy
import sys
import warnings
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.clip.model import Clip, ClipSettings
from septet.trainers.clip.weights import to_open_clip
from septet.trainers.pali.model import Pali
from tests.trainers.pali import small as pali_small

TORCHSCALE = Path(sys.prefix) / "peers/torchscale-0.3.0"


def open_clips(s: ClipSettings, mine: Clip) -> open_clip.CLIP:
    """open_clip's CLIP with the weights of ours."""
    theirs = open_clip.CLIP(
        s.embed,
        {"image_size": s.image_size, "layers": s.layers, "width": s.width, "patch_size": s.patch,
         "head_width": 64},
        {"context_length": 77, "vocab_size": s.vocabulary, "width": s.text_width,
         "heads": s.text_width // 64, "layers": s.text_layers},
        quick_gelu=True,
    )  # fmt: skip
    theirs.load_state_dict(to_open_clip(mine.state_dict()), strict=False)
    return theirs


def torchscale_beit3(s: Beit3Settings) -> torch.nn.Module:
    """torchscale's encoder with the heads of the released files, under the same names.

    Raises:
        SystemExit: torchscale is not installed.
    """
    if not TORCHSCALE.exists():
        raise SystemExit(f"{TORCHSCALE} is missing: `make peers` installs it")
    sys.path.insert(0, str(TORCHSCALE))
    warnings.simplefilter("ignore")  # It asks for an old timm's modules.
    from torchscale.architecture.config import EncoderConfig
    from torchscale.model.BEiT3 import BEiT3

    config = EncoderConfig(
        img_size=s.image_size, patch_size=s.patch, vocab_size=s.words, multiway=True,
        layernorm_embedding=False, normalize_output=True, no_output_layer=True, drop_path_rate=0.0,
        encoder_embed_dim=s.width, encoder_attention_heads=s.heads, encoder_layers=s.layers,
        encoder_ffn_embed_dim=s.inner, max_source_positions=s.text_positions,
    )  # fmt: skip
    parts = {
        "beit3": BEiT3(config),
        "mlm_head": torch.nn.Linear(s.width, s.words),
        "mim_head": torch.nn.Linear(s.width, s.codes),
    }
    return torch.nn.ModuleDict(parts)


class TheirPali(torch.nn.Module):
    """A PaLI of transformers' halves: SigLIP's patches through a linear layer, then the prompt,
    into mT5's encoder."""

    def __init__(self, mine: Pali):
        super().__init__()
        self.vision, self.language = pali_small.siglip(mine), pali_small.mt5(mine)
        self.connector = copy.deepcopy(mine.connector)

    def forward(self, target: Tensor, source: Tensor, pixels: Tensor) -> Tensor:
        """The mean loss of the answers' tokens."""
        patches = self.connector(self.vision(pixel_values=pixels).last_hidden_state)
        seen = torch.cat([source.new_ones(patches.shape[:2]), (source != 0).long()], 1)
        loss: Tensor = self.language(
            inputs_embeds=torch.cat([patches, self.language.shared(source)], 1),
            attention_mask=seen, labels=target.masked_fill(target == 0, -100),
        ).loss  # fmt: skip
        return loss
