"""Readers of one file, timed in turns: CPU time of one thread, items a second."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Rates = dict[str, list[float]]
"""Items a second in each round, by the name of the reader."""


def rates_in_turns(
    readers: dict[str, Callable[[str], Any]], path: str, items: int, rounds: int
) -> Rates:
    """Time readers of a file of so many items, one after another in each round."""
    gc.collect()
    gc.freeze()  # what was made before is nothing that a reader should walk through
    rates: Rates = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            start = time.process_time()
            reader(path)
            rates[name].append(items / (time.process_time() - start))
    return rates


def show_rates(unit: str, rates: Rates) -> None:
    """Print the median, least and most of each reader's rates, and the load of the machine."""
    print(f"{max(map(len, rates.values()))} rounds; load {os.getloadavg()[0]:.1f}")
    print(f"{unit:<22}{'median':>9}{'least':>9}{'most':>9}")
    for name, values in rates.items():
        print(f"{name:<22}{statistics.median(values):9,.0f}{min(values):9,.0f}{max(values):9,.0f}")


def show_ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Print the median of the rounds' ratios, and their spread."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"ratios of the rounds {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"ratio {name} {statistics.median(ratios):.2f}")
