"""All randomness of training: generators that are pure functions of a purpose and numbers."""

import hashlib
from typing import Literal, get_args

import numpy as np

Purpose = Literal[
    "init",  # torch's generator while a module is built: (seed)
    "torch",  # torch's generator in a forward pass (dropout): (seed, step, place, rank)
    "shards",  # the order of a corpus's shards: (seed, stream, digest, epoch)
    "window",  # the order of a window's samples: (seed, stream, digest, epoch, window)
    "mix",  # which corpus a position is of: (seed, stream, block)
    "draw",  # what `Task.read` draws of a sample: (seed, stream, key, epoch)
    "join",  # what `Task.join` draws for a row of several samples: (seed, stream, position)
    "rows",  # where rows of a sub-batch's streams stand: (seed, step, number)
    "instead",  # how far away samples in place of unusable ones are: (seed, stream, digest, epoch)
    "kind",  # a task's kind of step: (seed, step)
    "tasks",  # how many rows are of which task of a mixture: (seed, step, names of tasks)
    "write",  # what is sampled token by token: (seed, key of the row, number of the sequence)
    "measure",  # what `Task.read` draws of a held-out sample: (key)
]
"""What randomness is for, and the numbers that it is a function of. One name is for one purpose:
two uses of a name with equal numbers would draw the same."""

PURPOSES = frozenset(get_args(Purpose))


def generator(purpose: Purpose, *parts: int | str) -> np.random.Generator:
    """A random generator that is a pure function of its arguments, on any machine."""
    assert purpose in PURPOSES, purpose
    text = "\0".join(map(str, (purpose, *parts))).encode()
    key = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
