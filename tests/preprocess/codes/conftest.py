import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    # Small networks gain nothing from more, and where cores are busy they lose much.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
