"""Memory of batches: used again once nobody holds it, and never before."""

import gc
import threading

import numpy as np
import pytest
import torch

from septet.trainers.loader.buffers import BatchBuffer, Memory
from septet.trainers.task import Lengths

LARGE = (4, 2**19)
FLOAT = np.dtype(np.float32)

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="with a GPU torch itself keeps pinned memory"
)


def test_memory_is_used_again_when_the_last_view_of_it_is_gone():
    memory = Memory()
    first = memory.tensor(LARGE, FLOAT)
    place, row, array = first.data_ptr(), first[1], first.numpy()[2:]
    del first
    assert memory.tensor(LARGE, FLOAT).data_ptr() != place
    del row
    assert memory.tensor(LARGE, FLOAT).data_ptr() != place
    del array
    gc.collect()
    again = [memory.tensor(LARGE, FLOAT) for _ in range(2)]
    assert place in [x.data_ptr() for x in again]
    assert len({x.data_ptr() for x in again}) == 2


def test_memory_goes_to_tensors_of_other_shapes_and_types_that_nearly_fill_it():
    memory = Memory()
    place = memory.tensor(LARGE, FLOAT).data_ptr()
    for shape, kind in (((3, 2**21), np.uint8), ((2**20, 1), np.float64), ((5, 2**17), np.int64)):
        given = memory.tensor(shape, np.dtype(kind))
        assert given.data_ptr() == place
        assert tuple(given.shape) == shape and given.numpy().dtype == kind
        given.fill_(1)
        del given
    memory.tensor((2**18,), FLOAT)
    assert [len(block) for block in memory._spare] == [2**20]  # not an eighth of the large block


def test_no_more_memory_is_kept_than_was_lent_at_the_same_time():
    memory = Memory()
    for size in (1, 8, 64, 1, 8, 64):
        held = [memory.tensor((size, 2**20), np.dtype(np.uint8)) for _ in range(2)]
        assert len(memory._spare) <= 2
        del held
        assert len(memory._spare) == 2
    assert sum(len(block) for block in memory._spare) <= 2 * 64 * 2**20


def test_small_tensors_are_left_to_the_allocator():
    memory = Memory()
    memory.tensor((8,), FLOAT)
    assert not memory._spare


def test_memory_is_lent_to_one_at_a_time_by_any_thread():
    memory, odd = Memory(), []

    def take(number):
        for _ in range(50):
            tensor = memory.tensor((2**18,), FLOAT)
            tensor.fill_(number)
            if not (tensor == number).all():
                odd.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not odd
    assert len(memory._spare) <= 8  # Each holds one while it takes the next.


def test_a_batch_that_is_held_keeps_its_rows_while_others_are_filled():
    memory, held = Memory(), []
    for batch in range(3):
        buffer = BatchBuffer(4, memory=memory)
        for row in range(4):
            buffer.put(row, {"pixels": np.full((512, 1024), 10 * batch + row, np.uint8)})
        held.append(buffer.tensors["pixels"][1:3])
        del buffer
    assert [x[:, 0, 0].tolist() for x in held] == [[1, 2], [11, 12], [21, 22]]


@pytest.mark.parametrize("shape", [(5, 3), (3, 2), (3, 1)])
def test_a_row_that_is_too_long_or_has_other_axes_is_refused(shape):
    buffer = BatchBuffer(2, {"boxes": Lengths((2, 4))})
    buffer.put(0, {"boxes": np.ones((4, 3), np.int64)})
    with pytest.raises(ValueError, match=r"lengths allow 4, and other axes are \[3\]"):
        buffer.put(1, {"boxes": np.ones(shape, np.int64)})
