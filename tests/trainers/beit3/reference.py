"""BEiT-3's equations written down plainly, from weights by their released names: a sequence at a
time, every token through the experts that the paper names for it. Autograd gives its gradients."""

import torch
import torch.nn.functional as F

from septet.trainers.beit3.settings import Beit3Settings

Weights = dict[str, torch.Tensor]


def states(w: Weights, s: Beit3Settings, pixels=None, hidden=None, ids=None, padding=None):
    """Final states of one image [3, P, P], one text [T] or one pair: [tokens, W], vision first.

    `hidden` bool [N] are masked patches, `padding` bool [T] pads.
    """
    tokens, kinds, real = [], [], []
    if pixels is not None:
        tokens.append(w["beit3.vision_embed.cls_token"][0, 0])
        p, g = s.patch, s.grid
        kernel = w["beit3.vision_embed.proj.weight"].reshape(s.width, -1)
        for i in range(g * g):
            y, x = divmod(i, g)
            square = pixels[:, y * p : (y + 1) * p, x * p : (x + 1) * p].reshape(-1)
            value = kernel @ square + w["beit3.vision_embed.proj.bias"]
            if hidden is not None and hidden[i]:
                value = w["beit3.vision_embed.mask_token"][0, 0]
            tokens.append(value)
        rows = w["beit3.encoder.embed_positions.A.weight"]
        tokens = [t + rows[2 + i] for i, t in enumerate(tokens)]
        kinds, real = ["A"] * len(tokens), [True] * len(tokens)
    if ids is not None:
        rows = w["beit3.encoder.embed_positions.B.weight"]
        for i, word in enumerate(ids):
            pad = padding is not None and bool(padding[i])
            tokens.append(
                (w["beit3.text_embed.weight"][word] + rows[2 + i]) * (0.0 if pad else 1.0)
            )
            kinds.append("B")
            real.append(not pad)
    pair = len(set(kinds)) == 2
    x = list(tokens)
    for layer in range(s.layers):
        at = f"beit3.encoder.layers.{layer}."
        top = pair and layer >= s.layers - s.fusion_layers
        joint = ["AB"] * len(x) if s.attention == "shared" else kinds
        experts = ["VL"] * len(x) if top else kinds
        x = attend(w, s, at, x, joint, real)
        for i, expert in enumerate(experts):
            h = norm(w, f"{at}final_layer_norm.{expert}", x[i])
            h = F.gelu(linear(w, f"{at}ffn.{expert}.fc1", h))
            if s.sub_norm:
                h = norm(w, f"{at}ffn.{expert}.ffn_layernorm", h)
            x[i] = x[i] + linear(w, f"{at}ffn.{expert}.fc2", h)
    last = ["AB"] * len(x) if s.attention == "shared" else kinds
    x = [norm(w, f"beit3.encoder.layer_norm.{k}", t) for k, t in zip(last, x, strict=True)]
    return torch.stack(x)


def attend(w, s, at, x, experts, real):
    h = [norm(w, f"{at}self_attn_layer_norm.{e}", t) for e, t in zip(experts, x, strict=True)]
    q, k, v = (
        torch.stack([linear(w, f"{at}self_attn.{n}_proj.{e}", t)
                     for e, t in zip(experts, h, strict=True)])
        for n in "qkv"
    )  # fmt: skip
    size, mixed = s.width // s.heads, []
    for head in range(s.heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / size**0.5
        scores = scores.masked_fill(~torch.tensor(real), float("-inf"))
        mixed.append(scores.softmax(-1) @ v[:, part])
    mixed = torch.cat(mixed, 1)
    out = []
    for e, t, m in zip(experts, x, mixed, strict=True):
        if s.sub_norm:
            m = norm(w, f"{at}self_attn.inner_attn_ln.{e}", m)
        out.append(t + linear(w, f"{at}self_attn.out_proj.{e}", m))
    return out


def linear(w, name, x):
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def norm(w, name, x):
    spread = ((x - x.mean()) ** 2).mean()
    return (x - x.mean()) / (spread + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def mean_losses(w: Weights, s: Beit3Settings, step: dict) -> dict[str, torch.Tensor]:
    """The four losses of a step, each the mean over all that was masked.

    `step` has, for each kind, a list of rows: `pixels`, `codes`, `patch_mask`, `ids`, `ids_masked`,
    `word_places`, as far as the kind has them.
    """
    found: dict[str, list] = {}
    names = {"images": ("mim", None), "texts": (None, "mlm"), "pairs": ("mvlm_image", "mvlm_text")}
    for kind, rows in step.items():
        of_codes, of_words = names[kind]
        for row in rows:
            pixels, ids = row.get("pixels"), row.get("ids_masked")
            padding = None if ids is None else row["ids"] == 1
            x = states(w, s, pixels, row.get("patch_mask"), ids, padding)
            first = 0
            if of_codes:
                for i in row["patch_mask"].nonzero()[:, 0]:
                    scores = linear(w, "mim_head", x[1 + i])
                    found.setdefault(of_codes, []).append(-scores.log_softmax(0)[row["codes"][i]])
                first = 1 + s.grid**2
            if of_words:
                for i in row["word_places"].nonzero()[:, 0]:
                    scores = linear(w, "mlm_head", x[first + i])
                    found.setdefault(of_words, []).append(-scores.log_softmax(0)[row["ids"][i]])
    return {name: torch.stack(parts).mean() for name, parts in found.items()}
