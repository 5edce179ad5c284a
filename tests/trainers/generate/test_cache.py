"""The cache grows by tokens and moves rows whole."""

import torch

from septet.trainers.generate.cache import Cache, LayerCache


def filled(rows: int, tokens: int) -> Cache:
    """Each value tells its row and token: 10 * row + token."""
    number = 10.0 * torch.arange(rows)
    memory = number[:, None, None].expand(-1, 3, 2)
    cache = Cache.of(memory, memory[..., 0] > 15, 2, bias=number)
    for token in range(tokens):
        for layer in cache.layers:
            new = (number + token)[:, None, None, None].expand(-1, 4, 1, 5)
            layer.extend(new, -new)
            layer.cross_keys, layer.cross_values = number[:, None], -number[:, None]
        cache.length += 1
    return cache


def test_extend_returns_all_tokens_so_far() -> None:
    """Keys and values of tokens written one by one equal those written at once."""
    keys, values = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    one, many = LayerCache(), LayerCache()
    whole = one.extend(keys, values)
    for t in range(4):
        grown = many.extend(keys[:, :, t : t + 1], values[:, :, t : t + 1])
        assert grown[0].shape[2] == t + 1
    assert torch.equal(whole[0], grown[0]) and torch.equal(whole[1], grown[1])
    assert many.keys is not None and torch.equal(many.keys, keys)


def test_select_moves_everything_of_a_row() -> None:
    """Rows are reordered, repeated and dropped in all parts alike."""
    cache = filled(3, 2)
    rows = torch.tensor([2, 0, 0, 2])
    cache.select(rows)
    assert cache.rows == 4 and cache.length == 2
    assert cache.memory[:, 0, 0].tolist() == [20, 0, 0, 20]
    assert cache.memory_pads[:, 0].tolist() == [True, False, False, True]
    assert cache.extra["bias"].tolist() == [20, 0, 0, 20]
    for layer in cache.layers:
        assert layer.keys is not None and layer.values is not None
        assert layer.keys[:, 0, :, 0].tolist() == [[20, 21], [0, 1], [0, 1], [20, 21]]
        assert torch.equal(layer.values, -layer.keys)
        assert layer.cross_keys is not None and layer.cross_values is not None
        assert layer.cross_keys[:, 0].tolist() == [20, 0, 0, 20]
        assert torch.equal(layer.cross_values, -layer.cross_keys)


def test_beams_of_one_sample_move_self_attention_alone() -> None:
    """With the same memory, encoder states stay the very tensors they were."""
    cache = filled(2, 1)
    cache.select(torch.tensor([0, 0, 1, 1]))
    memory, cross = cache.memory, cache.layers[0].cross_keys
    assert cache.layers[0].keys is not None
    cache.layers[0].keys = cache.layers[0].keys + torch.arange(4.0)[:, None, None, None]
    cache.select(torch.tensor([1, 0, 3, 3]), same_memory=True)
    assert cache.memory is memory and cache.layers[0].cross_keys is cross
    assert cache.layers[0].keys[:, 0, 0, 0].tolist() == [1, 0, 13, 13]


def test_a_cache_without_tokens_can_be_repeated() -> None:
    """As beam search does before the first token."""
    cache = filled(2, 0)
    cache.select(torch.tensor([0, 0, 1]))
    assert cache.rows == 3 and cache.layers[0].keys is None
