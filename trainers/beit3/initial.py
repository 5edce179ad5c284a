"""Weights that BEiT-3 starts from when it is trained from scratch."""

import math

import torch
from torch import Tensor, nn

from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.nets.initial import truncated_normal_


@torch.no_grad()
def initialise(module: nn.Module, s: Beit3Settings) -> None:
    """Weights at the start: Magneto's with sub-norms, else BEiT's (paper, section 2.3)."""
    for name, x in module.named_parameters():
        kind = name.rpartition(".")[2]
        if "norm" in name or "_ln." in name or kind == "logit_scale":
            continue
        if kind == "bias" and "_head." in name:
            x.zero_()
        elif "_head." in name:
            _small(x)
        elif s.sub_norm:
            _magneto(name, kind, x, s)
        else:
            _beit(name, kind, x)


def _small(x: Tensor, std: float = 0.02) -> None:
    truncated_normal_(x, std, std)


def _magneto(name: str, kind: str, x: Tensor, s: Beit3Settings) -> None:
    """As torchscale does it, its gain last (Wang et al., arXiv 2210.06423); what is not named
    starts as torch has it (positions with deviation 1: what normed branches add is about as
    large), tokens at zero."""
    if "text_embed." in name:
        nn.init.normal_(x, std=s.width**-0.5)
    if "_proj." in name and kind == "weight":
        nn.init.xavier_uniform_(x, gain=1.0 if "out_proj." in name else 2**-0.5)
    if "out_proj." in name and kind == "bias":
        x.zero_()
    if any(part in name for part in ("fc1.", "fc2.", "out_proj.", "v_proj.")):
        x.mul_(math.sqrt(math.log(2 * s.layers)))


def _beit(name: str, kind: str, x: Tensor) -> None:
    """All small, biases zero, the outputs of layer l (the first is 1) divided by sqrt(2 l)."""
    if kind == "bias":
        x.zero_()
        return
    _small(x)
    if "out_proj." in name or "fc2." in name:
        layer = int(name.split("layers.")[1].split(".")[0]) + 1
        x.div_(math.sqrt(2 * layer))
