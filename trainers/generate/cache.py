"""The key-value cache of an encoder-decoder: what decoding keeps between tokens."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import LongTensor, Tensor


@dataclass
class LayerCache:
    """A decoder layer's keys and values, each [R, heads, t, head]; None until they are written.

    `cross_keys` and `cross_values` are those of the encoder's states [R, heads, S, head]: a layer
    makes them at the first token, or the encoder does.
    """

    keys: Tensor | None = None
    values: Tensor | None = None
    cross_keys: Tensor | None = None
    cross_values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the self-attention keys and values of t new tokens; returns those of all tokens."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], 2)
            values = torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values


@dataclass
class Cache:
    """What decoding keeps between tokens: encoder states, keys and values, for R rows.

    A model that generates gives one from `encode`, and `decode` writes t tokens into it:
    `LayerCache.extend` in each layer, then `length += t`. So decoding token by token gives what
    one pass over all tokens gives.
    """

    memory: Tensor
    """Encoder states [R, S, d]."""
    memory_pads: Tensor
    """bool [R, S], places of the memory that are padding."""
    layers: list[LayerCache]
    length: int = 0
    """Tokens written so far, equal for all rows."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """What else a model keeps of each row, [R, ...] each (position biases)."""

    @classmethod
    def of(cls, memory: Tensor, memory_pads: Tensor, layers: int, **extra: Tensor) -> "Cache":
        """An empty cache over encoder states."""
        return cls(memory, memory_pads, [LayerCache() for _ in range(layers)], extra=extra)

    @property
    def rows(self) -> int:
        """R."""
        return len(self.memory)

    def select(self, rows: LongTensor | Tensor, *, same_memory: bool = False) -> None:
        """Reorder, repeat or drop rows, in place: row i becomes what row `rows[i]` was.

        Args:
            rows: int64 [R'].
            same_memory: Each row gets what a row with the same encoder states and the same `extra`
                had (beams of one sample); so only self-attention is moved.
        """
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]
            if not same_memory and layer.cross_keys is not None and layer.cross_values is not None:
                layer.cross_keys = layer.cross_keys[rows]
                layer.cross_values = layer.cross_values[rows]
        if not same_memory:
            self.memory, self.memory_pads = self.memory[rows], self.memory_pads[rows]
            self.extra = {name: x[rows] for name, x in self.extra.items()}


class Generative(Protocol):
    """What a module offers to be decoded. Full decoding and decoding token by token must give the
    same states."""

    def encode(self, *given: Any, **inputs: Any) -> Cache:
        """Encode a batch's inputs, the first axis of each of B rows: a cache without tokens."""
        ...

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """Final hidden states [R, t, d] of t new tokens, int64 [R, t]; the cache grows by t."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the words, [..., V], of final hidden states [..., d]."""
        ...
