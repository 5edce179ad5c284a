"""Lines of text in an image, and their reading order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Quad = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Line:
    """One line of text."""

    text: str
    quad: Quad
    """Its four corners (x, y), normalised to the image's sides, y downwards: from the one where
    the text begins at the top, clockwise in the text's own direction."""
    score: float
    """The engine's confidence, 0 to 1."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The upright rectangle around it, x0, y0, x1, y1."""
        x, y = zip(*self.quad, strict=True)
        return min(x), min(y), max(x), max(y)


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Sort lines from the top-left to the bottom-right: rows from top to bottom, within a row from
    left to right.

    A line belongs to a row where its middle lies within the height of the row's first line. Text
    in columns is read across them.
    """
    left = sorted(lines, key=lambda line: (line.box[1] + line.box[3], line.box[0], line.text))
    ordered: list[Line] = []
    while left:
        _, top, _, bottom = left[0].box
        row = [line for line in left if top <= (line.box[1] + line.box[3]) / 2 <= bottom]
        ordered += sorted(row, key=lambda line: (line.box[0], line.box[1], line.text))
        left = [line for line in left if line not in row]
    return ordered


def sound_lines(lines: Sequence[Line]) -> tuple[list[Line], list[str]]:
    """The lines that can be stored, and what is wrong with each other one."""
    sound, faults = [], []
    for number, line in enumerate(lines):
        x0, y0, x1, y1 = line.box
        if not line.text.strip():
            faults.append(f"line {number} has no text")
        elif not 0 <= line.score <= 1:
            faults.append(f"line {number} has a confidence of {line.score}")
        elif not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            faults.append(f"line {number} has no area in the image: {line.box}")
        else:
            sound.append(line)
    return sound, faults


def as_quad(corners: Sequence[Sequence[float]], width: float, height: float) -> Quad:
    """Make corners in pixels a normalised quad, clipped to the image, to six decimals."""
    shares = np.clip(np.asarray(corners, np.float64) / [width, height], 0, 1)
    return tuple((round(float(x), 6), round(float(y), 6)) for x, y in shares)
