"""OFA (Wang et al., "OFA: Unifying Architectures, Tasks, and Modalities Through a Simple
Sequence-to-Sequence Learning Framework", arXiv 2202.03052): an encoder of image and text, and a
decoder that writes words, image codes and box bins of one vocabulary.

Parameters have the names of the released checkpoints (OFA-Sys/OFA). B rows, N image tokens, T
source tokens, S = N + T, t target tokens, W width, H heads, V vocabulary.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.generate.cache import Cache
from septet.trainers.nets.layers import LayerNorm, at
from septet.trainers.nets.losses import token_loss
from septet.trainers.nets.resnet import ResNet
from septet.trainers.ofa import positions
from septet.trainers.ofa.layers import Block, DecoderLayer, EncoderLayer, either, split
from septet.trainers.ofa.settings import GRID, PAD, STRIDE, OfaSettings


class Side(nn.Module):
    """What encoder and decoder have: tables of positions, layers, the norm at their end."""

    def __init__(self, s: OfaSettings, texts: int, layers: list[Block]):
        super().__init__()
        self.heads, self.scale = s.heads, (2 * s.width / s.heads) ** -0.5
        self.dropout, self.drop_path = s.dropout, s.drop_path
        self.embed_positions = nn.Embedding(texts + 2, s.width)
        self.embed_image_positions = nn.Embedding(positions.IMAGE_IDS, s.width)
        self.pos_ln, self.image_pos_ln = LayerNorm(s.width), LayerNorm(s.width)
        self.layernorm_embedding, self.layer_norm = LayerNorm(s.width), LayerNorm(s.width)
        self.layers = nn.ModuleList(layers)
        for name, rows in (("token", positions.TEXT_ROWS), ("image", positions.IMAGE_ROWS)):
            tables = nn.ModuleList(nn.Embedding(rows, s.heads) for _ in layers)
            self.add_module(f"{name}_rel_pos_table_list", tables)

    def places(self, length: int) -> Tensor:
        """Absolute positions of a text, [length, W]."""
        found: Tensor = self.embed_positions(
            torch.arange(length, device=self.embed_positions.weight.device)
        )
        return found

    def table(self, kind: str, layer: int) -> Tensor:
        """A layer's relative positions of `token` or `image`, [rows, H]."""
        found = self.get_submodule(f"{kind}_rel_pos_table_list.{layer}").weight
        assert isinstance(found, Tensor)
        return found

    def absolute(self, q: Tensor, k: Tensor) -> Tensor:
        """The bias [.., H, t, n] of projected positions [.., t, W] and [.., n, W]."""
        return split(q * self.scale, self.heads) @ split(k, self.heads).mT

    def draw(self, x: Tensor, branches: int) -> list[Tensor] | list[None]:
        """For each layer which rows of `x` keep which branch, [branches, B, 1, 1] of 0 and
        1 / probability; None where all do."""
        layers = len(self.layers)
        if not (self.training and self.drop_path):
            return [None] * layers
        keep = 1 - torch.linspace(0, self.drop_path, layers, device=x.device)
        keep = keep.view(-1, 1, 1, 1, 1)
        dice = torch.rand(layers, branches, len(x), 1, 1, device=x.device)
        return list(((dice < keep) / keep).unbind())


class Encoder(Side):
    """Image tokens, then text, to states."""

    def __init__(self, s: OfaSettings):
        super().__init__(s, s.source_positions, [EncoderLayer(s) for _ in range(s.encoder_layers)])
        self.blanks, self.interpolated = s.blanks, s.interpolated
        self.embed_tokens = nn.Embedding(s.vocabulary_size, s.width, padding_idx=PAD)
        self.embed_images = ResNet(s.stages, s.stem, s.frozen_norms)
        if s.frozen == "resnet":
            self.embed_images.requires_grad_(False)
        self.image_proj = nn.Linear(self.embed_images.channels, s.width)
        self.type_embedding = nn.Embedding(2, s.width)
        self.patch_layernorm_embedding = LayerNorm(s.width)
        self.pos_q_linear, self.pos_k_linear = (nn.Linear(s.width, s.width) for _ in range(2))

    def forward(
        self, ids: Tensor, pixels: Tensor | None, seen: Tensor | None, shown: Tensor | None,
        patches: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """States [B, S, W], their positions [B or 1, S, W], pads bool [B, S]; see `Ofa.encode`."""
        x = self.layernorm_embedding(self.embed_tokens(ids) + self.type_embedding.weight[0])
        x = F.dropout(x, self.dropout, self.training)
        pads, text = ids == PAD, ids.shape[1]
        where = self.pos_ln(self.places(text))[None]
        image = None
        if pixels is not None:
            y, image_ids, image_where = self._image(pixels, shown, patches, len(ids))
            x = torch.cat([y, x], 1)
            hidden = ids.new_zeros(len(ids), y.shape[1], dtype=torch.bool)
            if seen is not None:
                hidden = hidden | ~_repeated(seen, len(ids))[:, None]
            pads = torch.cat([hidden, pads], 1)
            where = torch.cat([image_where, where.expand(len(image_where), -1, -1)], 1)
            image = positions.image_rows(image_ids)
        x = x.masked_fill(pads[..., None], 0)
        bias = self.absolute(self.pos_q_linear(where), self.pos_k_linear(where))
        bias = bias.masked_fill(pads[:, None, None], -torch.inf)
        rows = positions.text_rows(text, ids.device)
        for i, (layer, kept) in enumerate(zip(self.layers, self.draw(x, 2), strict=True)):
            near = None if image is None else (self.table("image", i), image)
            x = layer(x, bias, (self.table("token", i), rows), near, kept)
        return self.layer_norm(x), where, pads

    def _image(
        self, pixels: Tensor, shown: Tensor | None, patches: Tensor | None, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, N, W], position ids [B or 1, N] and positions [B or 1, N, W]."""
        if self.blanks or shown is None or len(shown) == len(pixels):
            features = self.embed_images(pixels)
        else:
            if not len(shown):  # At least one row, so that every rank runs the same modules.
                shown = torch.zeros(1, dtype=torch.int64, device=pixels.device)
            part = self.embed_images(pixels.index_select(0, shown))
            features = part.new_zeros(len(pixels), *part.shape[1:]).index_copy(0, shown, part)
        height, width = features.shape[2:]
        x = _repeated(features.flatten(2).mT, rows)
        ids = positions.grid_ids(height, width, x.device)[None]
        where = self._grid(height, width)[None]
        if patches is not None:
            chosen = patches[..., None]
            x = x.gather(1, chosen.expand(-1, -1, x.shape[2]))
            ids, where = ids[0][patches], where[0][patches]
        y = self.patch_layernorm_embedding(self.image_proj(x) + self.type_embedding.weight[1])
        return F.dropout(y, self.dropout, self.training), ids, self.image_pos_ln(where)

    def _grid(self, height: int, width: int) -> Tensor:
        """Absolute positions of a grid, [height * width, W]."""
        table = self.embed_image_positions.weight
        own = (self.interpolated or 0) // STRIDE
        if self.interpolated is None or height * width <= own * own:
            if max(height, width) > GRID:
                raise ValueError(
                    f"images may have {GRID * STRIDE} pixels a side, as there are positions for "
                    f"{GRID} x {GRID} tokens; found {height} x {width}"
                )
            return table[positions.grid_ids(height, width, table.device)]
        square = table[positions.grid_ids(own, own, table.device)].T.unflatten(1, (own, own))
        size = (height, width)
        return F.interpolate(square[None].float(), size, mode="bilinear")[0].flatten(1).T


class Decoder(Side):
    """Target tokens to states."""

    def __init__(self, s: OfaSettings):
        super().__init__(s, s.target_positions, [DecoderLayer(s) for _ in range(s.decoder_layers)])
        self.code_grid = s.code_grid
        self.code_layernorm_embedding = LayerNorm(s.width)
        self.self_pos_q_linear, self.self_pos_k_linear = (
            nn.Linear(s.width, s.width) for _ in range(2)
        )
        self.cross_pos_q_linear, self.cross_pos_k_linear = (
            nn.Linear(s.width, s.width) for _ in range(2)
        )

    def forward(self, x: Tensor, cache: Cache, keep: bool) -> Tensor:
        """States [B, t, W] of embedded tokens; see `Ofa.decode`."""
        codes, first = cache.extra.get("codes"), cache.length
        length, device = first + x.shape[1], x.device
        ids = positions.code_ids(self.code_grid, length, device)
        where = [self.pos_ln(self.places(length))]
        rows = [("token", positions.text_rows(length, device)[first:])]
        norms = [self.layernorm_embedding]
        if codes is not None:
            where.append(self.image_pos_ln(self.embed_image_positions(ids)))
            rows.append(("image", positions.image_rows(ids)[first:]))
            norms.append(self.code_layernorm_embedding)
        x = either(codes, *(norm(x) for norm in norms))
        x = F.dropout(x, self.dropout, self.training)

        def each(of: Callable[[Tensor], Tensor]) -> Tensor:
            return either(codes, *(of(p)[None] for p in where))

        later = torch.ones(length - first, length, dtype=torch.bool, device=device)
        bias = each(
            lambda p: self.absolute(self.self_pos_q_linear(p[first:]), self.self_pos_k_linear(p))
        ).masked_fill(later.triu(first + 1), -torch.inf)
        queries = each(lambda p: split(self.cross_pos_q_linear(p[first:]), self.heads))
        cross = (queries * self.scale) @ cache.extra["positions"].mT
        cross = cross.masked_fill(cache.memory_pads[:, None, None], -torch.inf)
        for i, (layer, kept) in enumerate(zip(self.layers, self.draw(x, 3), strict=True)):
            tables = tuple((self.table(kind, i), which) for kind, which in rows)
            own = cache.layers[i] if keep else None
            x = layer(x, cache.memory, bias, tables, codes, cross, own, kept)
        return self.layer_norm(x)


class Ofa(nn.Module):
    """The model; its decoder reads and scores words by the encoder's table."""

    def __init__(self, s: OfaSettings):
        super().__init__()
        self.settings = s
        self.encoder, self.decoder = Encoder(s), Decoder(s)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                # Tables of relative positions, too: the published code sets those to zero and
                # overwrites it.
                nn.init.normal_(module.weight, std=s.initial_std)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.encoder.embed_tokens.weight[PAD].zero_()

    def encode(
        self,
        ids: Tensor,
        pixels: Tensor | None = None,
        seen: Tensor | None = None,
        shown: Tensor | None = None,
        patches: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Cache:
        """The encoder's states, ready to decode.

        Args:
            ids: Source, int64 [B, T], pads at the end.
            pixels: Normalised images [b, 3, P, P], each of B / b rows in a row.
            seen: bool [b], whether there is an image; its tokens are pads where not.
            shown: The positions of those, int64 [n]: only they are looked at, unless the settings
                say `blanks`. All are when absent.
            patches: Image tokens that are kept, int64 [B, n]; all when absent.
            codes: bool [B], rows that write image codes.
        """
        memory, where, pads = self.encoder(ids, pixels, seen, shown, patches)
        keys = split(self.decoder.cross_pos_k_linear(where), self.settings.heads)
        extra = {"positions": keys.expand(len(memory), -1, -1, -1)}
        if codes is not None:
            extra["codes"] = codes
        return Cache.of(memory, pads, self.settings.decoder_layers, **extra)

    def decode(self, ids: Tensor, cache: Cache, keep: bool = True) -> Tensor:
        """Final states [B, t, W] of further target tokens int64 [B, t]; the cache grows by them,
        unless `keep` is False. Pads are only ever behind: nothing is to look at them."""
        found: Tensor = self.decoder(self.encoder.embed_tokens(ids), cache, keep)
        cache.length += ids.shape[1] if keep else 0
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all words, [.., V]."""
        return hidden @ self.encoder.embed_tokens.weight.to(hidden.dtype).T

    def forward(
        self, before: Tensor, target: Tensor, scored: Tensor, factors: Tensor, **inputs: Tensor
    ) -> Tensor:
        """The sum of the losses of what is written, [].

        Args:
            before: Token before each of the target, int64 [B, t].
            target: What is to be written, int64 [B, t].
            scored: Tokens that count, flat positions int64 [n].
            factors: Of their losses, [B, t].
            inputs: See `encode`.
        """
        states = self.decode(before, self.encode(**inputs), keep=False)
        states, labels, weights = (at(x, scored) for x in (states, target, factors))
        head, smoothing = self.encoder.embed_tokens.weight, self.settings.smoothing
        return token_loss(states, head, labels, weights=weights, smoothing=smoothing).cross_entropy


def _repeated(x: Tensor, rows: int) -> Tensor:
    """Each of b rows as often as there are rows for it."""
    return x if len(x) == rows else x.repeat_interleave(rows // len(x), 0)
