"""ViLBERT written out plainly over the reference's own weights: one head after the other, softmax
by hand, masks added to scores, layers in the order of its published encoder."""

import math

import torch

from septet.trainers.ernie_vil.settings import ErnieVilSettings, TowerSettings

EPS = 1e-12


def settings(config: dict) -> ErnieVilSettings:
    """The sizes of a reference's configuration."""
    c = config
    return ErnieVilSettings(
        text=TowerSettings(
            width=c["hidden_size"], layers=c["num_hidden_layers"],
            heads=c["num_attention_heads"], inner=c["intermediate_size"],
        ),
        image=TowerSettings(
            width=c["v_hidden_size"], layers=c["v_num_hidden_layers"],
            heads=c["v_num_attention_heads"], inner=c["v_intermediate_size"],
        ),
        co_width=c["bi_hidden_size"], co_heads=c["bi_num_attention_heads"],
        text_places=tuple(c["t_biattention_id"]), image_places=tuple(c["v_biattention_id"]),
        words=c["vocab_size"], positions=c["max_position_embeddings"],
        segments=c["type_vocab_size"], features=c["v_feature_size"],
        classes=c["v_target_size"], dropout=0.0, norm_eps=EPS, text_tokens=9,
    )  # fmt: skip


class Plain:
    """The forward pass; `w` are leaves of autograd."""

    def __init__(self, weights: dict[str, torch.Tensor], config: dict):
        self.w = {name: x.clone().requires_grad_() for name, x in weights.items()}
        self.c = config

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / (variance + EPS).sqrt() * self.w[f"{name}.weight"] + self.w[
            f"{name}.bias"
        ]

    @staticmethod
    def gelu(x):
        return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))

    @staticmethod
    def mix(q, k, v, mask, heads):
        size = q.shape[-1] // heads
        bias = (1.0 - mask.float())[:, None, :] * -10000.0
        parts = []
        for h in range(heads):
            cut = slice(h * size, (h + 1) * size)
            scores = q[..., cut] @ k[..., cut].transpose(1, 2) / math.sqrt(size) + bias
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            parts.append(weights @ v[..., cut])
        return torch.cat(parts, -1)

    def layer(self, x, mask, name, heads):
        q, k, v = (self.linear(x, f"{name}.attention.self.{n}") for n in ("query", "key", "value"))
        mixed = self.linear(self.mix(q, k, v, mask, heads), f"{name}.attention.output.dense")
        x = self.norm(x + mixed, f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def co_layer(self, text, image, text_mask, image_mask, name):
        heads, b = self.c["bi_num_attention_heads"], f"{name}.biattention"
        of_image, of_text = (
            [self.linear(x, f"{b}.{n}{side}") for n in ("query", "key", "value")]
            for x, side in ((image, 1), (text, 2))
        )
        to_text = self.mix(of_text[0], of_image[1], of_image[2], image_mask, heads)
        to_image = self.mix(of_image[0], of_text[1], of_text[2], text_mask, heads)
        image = self.norm(
            image + self.linear(to_image, f"{name}.biOutput.dense1"), f"{name}.biOutput.LayerNorm1"
        )
        text = self.norm(
            text + self.linear(to_text, f"{name}.biOutput.dense2"), f"{name}.biOutput.LayerNorm2"
        )
        after = []
        for x, s in ((text, "t"), (image, "v")):
            inner = self.gelu(self.linear(x, f"{name}.{s}_intermediate.dense"))
            after.append(
                self.norm(
                    x + self.linear(inner, f"{name}.{s}_output.dense"),
                    f"{name}.{s}_output.LayerNorm",
                )
            )
        return after

    def transform(self, x, name):
        return self.norm(self.gelu(self.linear(x, f"{name}.dense")), f"{name}.LayerNorm")

    def __call__(self, ids, segments, text_mask, features, locations, region_mask):
        c, w, e = self.c, self.w, "bert.embeddings"
        text = (
            w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.token_type_embeddings.weight"][segments]
        )
        text = self.norm(
            text + w[f"{e}.position_embeddings.weight"][: ids.shape[1]], f"{e}.LayerNorm"
        )
        v = "bert.v_embeddings"
        image = self.linear(features, f"{v}.image_embeddings")
        image = self.norm(
            image + self.linear(locations, f"{v}.image_location_embeddings"), f"{v}.LayerNorm"
        )
        order = []
        done_t = done_v = 0
        for n, (t, i) in enumerate(zip(c["t_biattention_id"], c["v_biattention_id"], strict=True)):
            order += [("layer", k) for k in range(done_t, t)] + [
                ("v_layer", k) for k in range(done_v, i)
            ]
            order.append(("c_layer", n))
            done_t, done_v = t, i
        order += [("layer", k) for k in range(done_t, c["num_hidden_layers"])]
        order += [("v_layer", k) for k in range(done_v, c["v_num_hidden_layers"])]
        for kind, number in order:
            name = f"bert.encoder.{kind}.{number}"
            if kind == "layer":
                text = self.layer(text, text_mask, name, c["num_attention_heads"])
            elif kind == "v_layer":
                image = self.layer(image, region_mask, name, c["v_num_attention_heads"])
            else:
                text, image = self.co_layer(text, image, text_mask, region_mask, name)
        text_pooled = self.linear(text[:, 0], "bert.t_pooler.dense").clamp(min=0)
        image_pooled = self.linear(image[:, 0], "bert.v_pooler.dense").clamp(min=0)
        words = (
            self.transform(text, "cls.predictions.transform") @ w[f"{e}.word_embeddings.weight"].T
        )
        return {
            "text_states": text,
            "image_states": image,
            "text_pooled": text_pooled,
            "image_pooled": image_pooled,
            "mlm_logits": words + w["cls.predictions.bias"],
            "region_logits": self.linear(
                self.transform(image, "cls.imagePredictions.transform"),
                "cls.imagePredictions.decoder",
            ),
            "match_logits": self.linear(text_pooled * image_pooled, "cls.bi_seq_relationship"),
        }
