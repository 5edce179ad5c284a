"""How many rows a model runs for each token: those whose text is not at its end."""

import pytest
import torch
from torch import Tensor

from septet.trainers.generate.cache import Cache
from septet.trainers.generate.decoding import Decoding, Trie
from septet.trainers.generate.write import write
from tests.trainers.generate.test_write import Fixed

END, PAD, WORDS, MOST = 1, 0, 6, 7
ENDS, GOES_ON = torch.zeros(WORDS), torch.zeros(WORDS)
ENDS[END], GOES_ON[END] = 9.0, -99.0
ENDS[2], GOES_ON[2], GOES_ON[3] = 1.0, 2.0, 1.0


class Counted(Fixed):
    """Notes how many rows it is given for each token."""

    def __init__(self, logits: Tensor):
        super().__init__(logits)
        self.rows: list[int] = []

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        self.rows.append(len(ids))
        assert ids.shape[1] == 1
        return super().decode(ids, cache)


def rows_run(kinds: list[Tensor], **settings) -> tuple[list[int], Tensor]:
    module = Counted(torch.stack(kinds))
    decoding = Decoding(MOST, **settings)
    inputs = {"rows": torch.arange(len(kinds))}
    return module.rows, write(module, inputs, decoding, PAD, END, PAD).ids[:, 0]


@pytest.mark.parametrize(
    ("settings", "until"), [({}, 1), ({"beams": 2, "early_stopping": True}, 2)]
)
def test_rows_at_their_end_are_run_no_more(settings, until):
    """Three of four rows end, with two beams once a second text has ended."""
    beams = settings.get("beams", 1)
    found, ids = rows_run([ENDS, GOES_ON, ENDS, ENDS], **settings)
    assert found == [4, 4 * beams][:until] + [beams] * (MOST - until)
    assert ids.tolist() == [[END] + [PAD] * (MOST - 1) if i != 1 else [2] * MOST for i in range(4)]
    found, _ = rows_run([ENDS] * 3, **settings)
    assert found == [3, 3 * beams][:until]
    # Fewer than half are run on with beams, as to take them out costs a copy of the others.
    found, _ = rows_run([ENDS, GOES_ON, GOES_ON], **settings)
    assert found == [3, 3 * beams][:until] + [2 if beams == 1 else 6] * (MOST - until)


@pytest.mark.parametrize("early", [False, True, "never"])
def test_a_row_of_which_all_allowed_texts_are_written_is_done(early):
    found, ids = rows_run(
        [GOES_ON, ENDS], beams=4, early_stopping=early, allowed=Trie([[4], [4, 5]])
    )
    assert len(found) == 3
    assert ids[0, 0] == 4 and ids[1].tolist() == [4, END] + [PAD] * (MOST - 2)


def test_settings_of_writing_that_are_not_given():
    """Greedy, to the likeliest, of any words."""
    assert Decoding(5) == Decoding(
        5, least=0, beams=1, length_penalty=1.0, early_stopping=False, returned=1,
        temperature=None, top_k=None, top_p=None, seed=0, allowed=None, among_allowed=False,
    )  # fmt: skip
