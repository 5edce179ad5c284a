"""Writing greedily and by sampling: as the definitions say, and each row by itself."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from septet.trainers.draws import generator
from septet.trainers.generate.cache import Cache
from septet.trainers.generate.decoding import Decoding, Groups, Trie
from septet.trainers.generate.write import write
from septet.trainers.nets.t5 import PAD, T5
from tests.trainers.generate.small import END, mt5, sources

ROWS = 6


@pytest.fixture(scope="module")
def module() -> T5:
    """A small mT5."""
    return mt5()


def logs(module: T5, ids: list[int], row: int) -> Tensor:
    """Log-probabilities [t + 1, V] after each token, by one pass without a cache."""
    inputs = {name: x[row : row + 1] for name, x in sources(ROWS).items()}
    states = module(inputs["ids"], torch.tensor([[PAD, *ids]]))
    return module.logits(states)[0].log_softmax(-1)


@torch.no_grad()
def test_greedy_is_the_likeliest_word_each_time(module: T5) -> None:
    """By full passes; scores are mean log-probabilities."""
    found = write(module, sources(ROWS), Decoding(12), PAD, END, PAD)
    assert found.ids.shape == (ROWS, 1, 12)
    for row, (ids, score) in enumerate(zip(found.ids[:, 0].tolist(), found.scores, strict=True)):
        length = ids.index(END) + 1 if END in ids else 12
        assert not any(ids[length:])
        expected = logs(module, ids[: length - 1], row)
        assert expected.argmax(-1).tolist() == ids[:length]
        assert float(expected.amax(-1).mean()) == pytest.approx(float(score), abs=1e-4)


WAYS = {
    "greedy": Decoding(10),
    "beams": Decoding(10, beams=3, returned=3),
    "early": Decoding(10, beams=3, returned=2, early_stopping=True, length_penalty=0.0),
    "never": Decoding(10, beams=2, early_stopping="never", length_penalty=2.0),
    "sampled": Decoding(10, temperature=1.0, returned=2, seed=3),
    "nucleus": Decoding(10, temperature=0.7, top_p=0.8, top_k=20),
    "answers": Decoding(10, beams=4, returned=4, allowed=Trie([[5], [5, 6], [9, 8, 7]])),
    "boxes": Decoding(10, allowed=Groups(range(40, 56), 4, 1, 2)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_row_does_not_depend_on_its_batch(module: T5, way: str) -> None:
    """Alone, in another order, beside longer rows: the same sequences and scores."""
    inputs, keys = sources(ROWS), [f"k{i}" for i in range(ROWS)]
    whole = write(module, inputs, WAYS[way], PAD, END, PAD, keys)
    order = [4, 1, 5]
    some = {name: x[order] for name, x in inputs.items()}
    again = write(module, some, WAYS[way], PAD, END, PAD, [keys[i] for i in order])
    assert torch.equal(again.ids, whole.ids[order])
    torch.testing.assert_close(again.scores, whole.scores[order], rtol=0, atol=1e-4)
    for row in range(2):
        length = int((inputs["ids"][row] != PAD).sum())
        alone = {name: x[row : row + 1, :length] for name, x in inputs.items()}
        single = write(module, alone, WAYS[way], PAD, END, PAD, [keys[row]])
        assert torch.equal(single.ids, whole.ids[row : row + 1])


class Fixed(nn.Module):
    """A model whose next word has the same distribution always, in each row its own."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.scores = logits

    def encode(self, rows: Tensor) -> Cache:
        """Each row's number is its memory."""
        return Cache.of(rows[:, None, None].float(), torch.zeros(len(rows), 1).bool(), 0)

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """The row's number for each token."""
        cache.length += ids.shape[1]
        return cache.memory.expand(-1, ids.shape[1], -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """The row's distribution."""
        return self.scores[hidden[..., 0].long()].clone()


def test_samples_follow_the_distribution() -> None:
    """Shares of 4,000 samples are within 4σ; temperature, top-k and top-p cut as defined."""
    chances = torch.tensor([0.02, 0.05, 0.4, 0.3, 0.15, 0.08])
    module = Fixed(chances.log()[None])
    count = 4000

    def shares(**settings: float) -> dict[int, float]:
        decoding = Decoding(1, temperature=settings.pop("temperature", 1.0), **settings)
        rows = {"rows": torch.zeros(count, dtype=torch.int64)}
        found = write(module, rows, decoding, 0, 1, 0, list(range(count)))
        return {word: n / count for word, n in Counter(found.ids.flatten().tolist()).items()}

    for found, expected in (
        (shares(), chances),
        (shares(temperature=0.5), chances**2 / (chances**2).sum()),
        (shares(top_k=3), chances * (chances > 0.1) / 0.85),
        (shares(top_p=0.72), chances * (chances > 0.1) / 0.85),
        (shares(top_p=0.69), chances * (chances > 0.2) / 0.7),
        (shares(top_p=0.1), chances == 0.4),
        (shares(top_k=4, top_p=1.0), chances * (chances > 0.07) / 0.93),
    ):
        for word, chance in enumerate(expected.tolist()):
            sigma = (chance * (1 - chance) / count) ** 0.5
            assert abs(found.get(word, 0.0) - chance) <= 4 * sigma + 1e-6, (found, expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_sample_is_where_its_random_number_falls(temperature: float) -> None:
    """Among the words, likeliest first, each as wide as its probability."""
    chances = torch.tensor([0.02, 0.05, 0.4, 0.3, 0.15, 0.08])
    rows, decoding = 40, Decoding(1, temperature=temperature, seed=3)
    found = write(
        Fixed(chances.log()[None]), {"rows": torch.zeros(rows).long()}, decoding, 0, 1, 0,
        list(range(rows)),
    )  # fmt: skip
    order = [2, 3, 4, 5, 1, 0]
    wide = chances[order].double() ** (1 / temperature)
    edges = (wide / wide.sum()).cumsum(0)
    expected = []
    for key in range(rows):
        number = float(generator("write", 3, key, 0).random(1)[0])
        expected.append(order[next(i for i, edge in enumerate(edges.tolist()) if number < edge)])
    assert found.ids[:, 0, 0].tolist() == expected and len(set(expected)) > 2


def test_sampling_is_a_function_of_seed_and_key(module: T5) -> None:
    """Another seed writes something else; without keys it is refused."""
    inputs, keys = sources(ROWS), list(range(ROWS))
    first, again, other = (
        write(module, inputs, Decoding(8, temperature=1.0, seed=seed), PAD, END, PAD, keys)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.ids, again.ids) and not torch.equal(first.ids, other.ids)
    with pytest.raises(ValueError, match="needs a key of each, and got none"):
        write(module, inputs, Decoding(8, temperature=1.0), PAD, END, PAD)


def test_only_allowed_sequences_are_written(module: T5) -> None:
    """Greedily, by beams and by sampling; exactly 4k bins, exactly n codes."""
    answers = [[5], [5, 6], [9, 8, 7]]
    keys = list(range(ROWS))
    for changes in ({}, {"beams": 3, "returned": 3}, {"temperature": 2.0, "returned": 4}):
        sets = {
            "answers": Trie(answers),
            "boxes": Groups(range(40, 56), 4, 1, 2),
            "codes": Groups(range(20, 25), 6),
        }
        for name, allowed in sets.items():
            decoding = Decoding(12, allowed=allowed, **changes)
            found = write(module, sources(ROWS), decoding, PAD, END, PAD, keys)
            assert (found.scores > -torch.inf).all()
            for ids in found.ids.flatten(0, 1).tolist():
                assert END in ids
                words = ids[: ids.index(END)]
                if name == "answers":
                    assert words in answers
                elif name == "boxes":
                    assert len(words) in (4, 8) and all(40 <= word < 56 for word in words)
                else:
                    assert len(words) == 6 and all(20 <= word < 25 for word in words)


@torch.no_grad()
def test_probabilities_may_be_of_allowed_words_alone(module: T5) -> None:
    """Then those of all answers add up to one."""
    answers = [[5], [5, 6], [9, 8, 7]]
    decoding = Decoding(
        5, beams=4, returned=3, length_penalty=0.0, allowed=Trie(answers), among_allowed=True
    )
    found = write(module, sources(ROWS), decoding, PAD, END, PAD)
    torch.testing.assert_close(found.scores.exp().sum(1), torch.ones(ROWS))


def test_an_end_is_not_written_too_early() -> None:
    """Though it is by far the likeliest."""
    module = Fixed(torch.tensor([[0.0, 9.0, 1.0]]))
    for changes in ({}, {"beams": 2}):
        found = write(
            module, {"rows": torch.zeros(1).long()}, Decoding(6, 3, **changes), 0, END, PAD
        )
        assert found.ids.tolist() == [[[2, 2, 2, END, PAD, PAD]]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most": 0}, "most is 0; expected at least 1"),
        ({"most": 3, "least": 3}, "least is 3; expected 0 to 2"),
        ({"most": 3, "beams": 0}, "beams is 0"),
        ({"most": 3, "beams": 2, "returned": 3}, "returned is 3; expected 1 to 2, the beams"),
        ({"most": 3, "returned": 0}, "returned is 0; expected 1 to 1, the beams"),
        ({"most": 3, "temperature": 1.0, "returned": 0}, "returned is 0; expected at least 1"),
        ({"most": 3, "temperature": 1.0, "top_p": 0.0}, "top_p is 0.0"),
        ({"most": 3, "temperature": 1.0, "top_k": 0}, "top_k is 0"),
        ({"most": 3, "least": -1}, "least is -1"),
        ({"most": 3, "length_penalty": math.nan}, "length_penalty is nan; expected a finite"),
        ({"most": 3, "top_k": 2}, "top_k is 2; expected none without a temperature"),
        ({"most": 3, "temperature": 0.0}, "temperature is 0.0; expected above 0"),
        ({"most": 3, "temperature": 1.0, "beams": 2}, "beam search does not sample"),
        ({"most": 3, "temperature": 1.0, "top_p": 1.5}, "top_p is 1.5"),
        ({"most": 3, "early_stopping": "always"}, "early_stopping is always"),
        ({"most": 3, "allowed": Trie([[1, 2, 3]])}, "most is 3; expected at least 4"),
        ({"most": 9, "least": 2, "allowed": Trie([[1]])}, "least is 2; expected at most 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    """One sentence each."""
    with pytest.raises(ValueError, match=message):
        Decoding(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"most": 1, "least": 0, "length_penalty": -1.0},
        {"most": 3, "least": 2, "beams": 2, "returned": 2, "early_stopping": "never"},
        {"most": 3, "temperature": 1e-6, "top_k": 1, "top_p": 1.0, "returned": 9},
        {"most": 4, "least": 1, "allowed": Trie([[1, 2, 3], [1]])},
    ],
)
def test_settings_at_their_bounds_are_taken(settings: dict) -> None:
    assert {name: getattr(Decoding(**settings), name) for name in settings} == settings


def test_sets_that_cannot_be() -> None:
    """No sequence, or an empty one."""
    with pytest.raises(ValueError, match="no allowed sequence"):
        Trie([])
    with pytest.raises(ValueError, match="sequence 1 has no token"):
        Trie([[3], []])
    with pytest.raises(ValueError, match="cannot be written"):
        Groups(range(4, 4), 4)
