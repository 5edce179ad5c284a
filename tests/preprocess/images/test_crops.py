"""Random parts of images, with draws that are told."""

import math
from typing import Any

import pytest

from septet.preprocess.images.crops import Box, random_box


class Told:
    """Draws that always stand at one place of their range, from 0 to 1, and how many there were."""

    def __init__(self, place: float):
        self.place, self.ranges = place, list[tuple[float, float]]()

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return low + self.place * (high - low)

    def integers(self, count: int) -> int:
        return min(int(self.place * count), count - 1)


@pytest.mark.parametrize(("height", "width", "place", "scale", "ratio", "box"), [
    (100, 200, 0, (0.25, 0.25), (1, 1), (0, 0, 71, 71)),
    (100, 200, 1, (0.25, 0.25), (1, 1), (129, 29, 200, 100)),
    (100, 200, 0.5, (0.04, 0.32), (0.25, 1), (79, 8, 121, 93)),
    # One pixel wide, one pixel high.
    (1, 100, 1, (0.5, 0.5), (50, 50), (50, 0, 100, 1)),
    (100, 1, 1, (0.5, 0.5), (0.02, 0.02), (0, 50, 1, 100)),
])  # fmt: skip
def test_a_part_has_its_area_and_ratio_and_lies_anywhere(
    height: int,
    width: int,
    place: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    box: Box,
) -> None:
    draw: Any = Told(place)
    assert random_box(height, width, draw, scale, ratio) == box
    assert draw.ranges == [scale, (math.log(ratio[0]), math.log(ratio[1]))]


@pytest.mark.parametrize(("height", "width", "ratio", "box"), [
    (10, 1000, (3 / 4, 4 / 3), (493, 0, 506, 10)),
    (1000, 10, (3 / 4, 4 / 3), (0, 493, 10, 506)),
    (1, 100, (0.1, 0.2), (49, 0, 50, 1)),
    (100, 1, (5, 10), (0, 49, 1, 50)),
])  # fmt: skip
def test_after_ten_draws_that_do_not_fit_it_is_the_largest_in_the_middle(
    height: int, width: int, ratio: tuple[float, float], box: Box
) -> None:
    draw: Any = Told(0.5)
    assert random_box(height, width, draw, ratio=ratio) == box
    assert len(draw.ranges) == 2 * 10


def test_usual_parts_are_nearly_whole() -> None:
    draw: Any = Told(0)
    random_box(90, 90, draw)
    assert draw.ranges[:2] == [(0.9, 1.0), (math.log(3 / 4), math.log(4 / 3))]
