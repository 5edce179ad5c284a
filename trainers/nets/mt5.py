"""The weights of `nets.t5.T5` under the names that `transformers` and the published mT5 have."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from septet.trainers.nets.t5 import PAD, T5Settings

State = dict[str, Tensor]

_WHOLE = {"words.weight": "shared.weight", "head.weight": "lm_head.weight"}
_OF_STACK = {
    "norm.weight": "final_layer_norm.weight",
    "relative.weight": "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
}
_PARTS = {
    "encoder": (("norm_self", "attention", "SelfAttention"),
                ("norm_inner", "inner", "DenseReluDense")),
    "decoder": (("norm_self", "attention", "SelfAttention"),
                ("norm_cross", "cross", "EncDecAttention"),
                ("norm_inner", "inner", "DenseReluDense")),
}  # fmt: skip
"""A block's layers in their order: our norm, our layer, their layer."""


def mt5_name(name: str) -> str:
    """The published name of one of our weights."""
    if name in _WHOLE:
        return _WHOLE[name]
    stack, rest = name.split(".", 1)
    if rest in _OF_STACK:
        return f"{stack}.{_OF_STACK[rest]}"
    _, block, part, kind = rest.split(".", 3)
    for number, (norm, layer, theirs) in enumerate(_PARTS[stack]):
        if part in (norm, layer):
            inside = "layer_norm" if part == norm else theirs
            return f"{stack}.block.{block}.layer.{number}.{inside}.{kind}"
    raise AssertionError(f"{name} has no published name")


def to_mt5(state: Mapping[str, Tensor]) -> State:
    """Weights under the published names."""
    return {mt5_name(name): x for name, x in state.items()}


def from_mt5(state: Mapping[str, Tensor], names: Iterable[str]) -> State:
    """Weights under our names; aliases of the table of words are left out, and what is unknown
    keeps its name.

    Args:
        state: Under the published names.
        names: Ours, of the whole module.

    Raises:
        ValueError: the output head is the table of words.
    """
    found = {n: x for n, x in state.items() if not n.endswith(".embed_tokens.weight")}
    head, table = found.get("lm_head.weight"), found.get("shared.weight")
    tied = head is None or (table is not None and head.shape == table.shape and head.equal(table))
    if tied and table is not None:
        raise ValueError(
            "the output head is the table of words, while mT5 has two: transformers from 5 on ties "
            "them when it saves; take the published file itself"
        )
    back = {mt5_name(name): name for name in names}
    return {back.get(name, name): x for name, x in found.items()}


def mt5_config(s: T5Settings) -> dict[str, Any]:
    """The content of `config.json` for `MT5ForConditionalGeneration`."""
    return {
        "architectures": ["MT5ForConditionalGeneration"],
        "model_type": "mt5",
        "d_model": s.width,
        "d_kv": s.head_width,
        "d_ff": s.inner,
        "num_heads": s.heads,
        "num_layers": s.layers,
        "num_decoder_layers": s.layers,
        "vocab_size": s.words,
        "relative_attention_num_buckets": s.buckets,
        "relative_attention_max_distance": s.reach,
        "dropout_rate": s.dropout,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": PAD,
        "pad_token_id": PAD,
        "eos_token_id": 1,
    }
