"""A small random mT5 of `transformers`, as it is and as a module that generates."""

import warnings

import torch
from torch import Tensor, nn

from septet.trainers.generate.cache import Cache, LayerCache

PAD, END, WORDS = 0, 1, 60


def mt5(words: int = WORDS, width: int = 32, layers: int = 2, seed: int = 0) -> nn.Module:
    """Random weights, large enough that some words are much likelier than others."""
    warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(seed)
    config = MT5Config(
        vocab_size=words, d_model=width, d_kv=width // 4, d_ff=2 * width, num_layers=layers,
        num_heads=4, decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=END,
        dropout_rate=0.0, tie_word_embeddings=False,
    )  # fmt: skip
    model = MT5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0 if "relative" in name or "shared" in name else 2.0)
        model.lm_head.weight.normal_(std=0.6 / width**0.5 * 4)
        model.lm_head.weight[PAD] = -model.lm_head.weight[END]
    return model


class Wrapped(nn.Module):
    """See `septet.trainers.generate.cache.Generative`; the keys and values are in the cache."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Cache:
        """As the model's encoder."""
        states = self.model.encoder(input_ids=input_ids, attention_mask=attention_mask)
        layers = self.model.config.num_decoder_layers
        return Cache.of(states.last_hidden_state, attention_mask == 0, layers)

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """As the model's decoder with past keys and values."""
        from transformers import DynamicCache, EncoderDecoderCache

        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for number, layer in enumerate(cache.layers):
            if layer.keys is not None:
                past.self_attention_cache.update(layer.keys, layer.values, number)
                past.cross_attention_cache.update(layer.cross_keys, layer.cross_values, number)
                past.is_updated[number] = True
        states = self.model.decoder(
            input_ids=ids, encoder_hidden_states=cache.memory, cache=past,
            encoder_attention_mask=(~cache.memory_pads).long(), use_cache=True,
        ).last_hidden_state  # fmt: skip
        cache.layers = [
            LayerCache(own.keys, own.values, cross.keys, cross.values)
            for own, cross in zip(
                past.self_attention_cache.layers, past.cross_attention_cache.layers, strict=True
            )
        ]
        cache.length += ids.shape[1]
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """Not scaled: mT5's head is not its table."""
        return self.model.lm_head(hidden)


def sources(rows: int, longest: int = 9, words: int = WORDS) -> dict[str, Tensor]:
    """Rows of different lengths, padded."""
    draw = torch.Generator().manual_seed(7)
    ids = torch.randint(2, words, (rows, longest), generator=draw)
    lengths = torch.randint(2, longest + 1, (rows,), generator=draw)
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}
