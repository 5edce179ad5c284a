"""Scenes: synthetic images of coloured shapes whose whole truth is known.

A scene is a few coloured shapes on a plain ground. Everything that a caption can say of it
(object, colour, size, relation) is true or false by arithmetic, and every object has its box. So
a model's learning can be measured with exact labels: retrieval, masked words that only the
image can tell, relations, boxes.

Scene `index` of `seed` is a pure function of the two numbers. Corpora for training and for
measuring take disjoint ranges of `index`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (44, 150, 60),
    "blue": (31, 90, 200),
    "yellow": (240, 205, 30),
    "purple": (140, 70, 170),
    "orange": (250, 130, 20),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
"""RGB, 0-255."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")

SIZES: dict[str, float] = {"small": 0.10, "large": 0.19}
"""Half the side of an object's box, as a share of the image's side."""

_COLOURS, _SIZES = tuple(COLOURS), tuple(SIZES)

GROUNDS = ((128, 128, 128), (150, 140, 130), (110, 120, 135), (165, 165, 160))
"""RGB of the grounds, all unlike every colour name."""

_SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
"""Axis of a relation, and the sign of the subject's coordinate less the object's."""

RELATIONS = tuple(_SIDES)

_GAP = 0.04
"""The least distance between boxes on one axis, as a share of the side."""

_MARGIN = 0.12
"""Centres must differ by this on an axis before a relation on it is said."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene. `box` is normalised (x0, y0, x1, y1), y downwards."""

    shape: str
    colour: str
    size: str
    box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """Normalised (x, y) of the box's middle."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def name(self) -> str:
        """Size, colour and shape, for example "small red circle"."""
        return f"{self.size} {self.colour} {self.shape}"


def on_side(a: Thing, relation: str, b: Thing, margin: float = 0.0) -> bool:
    """Whether the centre of `a` is on that side of the centre of `b`, by more than `margin`."""
    axis, sign = _SIDES[relation]
    return (a.centre[axis] - b.centre[axis]) * sign > margin


SIGN_WORDS = ("BUS", "CAFE", "EXIT", "OPEN", "PARK", "SALE", "STOP", "TAXI")
"""The words of signs: of four letters at most, readable at 64 pixels."""

SIGN_BOX = (0.14, 0.80, 0.86, 0.98)
"""The place of a scene's sign, normalised (x0, y0, x1, y1); things stay above it."""


@dataclass(frozen=True)
class Scene:
    """A whole scene. No two things share colour and shape, so each can be named."""

    seed: int
    index: int
    ground: tuple[int, int, int]
    things: tuple[Thing, ...]
    sign: str = ""
    """The word on its sign, white on black; empty where it has none."""

    def relations(self) -> list[tuple[int, str, int]]:
        """All true (subject, relation, object) triples, by position in `things`."""
        return [
            (i, relation, j)
            for i, a in enumerate(self.things)
            for j, b in enumerate(self.things)
            if i != j
            for relation in RELATIONS
            if on_side(a, relation, b, _MARGIN)
        ]

    def truth(self) -> dict[str, Any]:
        """Everything that is known of the scene, as JSON takes it."""
        sign = {"sign": {"text": self.sign, "box": list(SIGN_BOX)}} if self.sign else {}
        return {
            "scene": {"seed": self.seed, "index": self.index, "ground": list(self.ground)},
            "things": [{**vars(thing), "box": list(thing.box)} for thing in self.things],
            "relations": [list(triple) for triple in self.relations()],
            **sign,
        }

    @staticmethod
    def is_truth(extra: Mapping[str, Any]) -> bool:
        """Whether what a sample carries has the form of `truth`; other sets have `things` too."""
        things = extra.get("things")
        return isinstance(extra.get("scene"), Mapping) and isinstance(things, list | tuple)

    @classmethod
    def from_truth(cls, truth: Mapping[str, Any]) -> "Scene":
        """The inverse of `truth`.

        Raises:
            ValueError: it is no scene's truth.
        """
        try:
            scene, sign = truth["scene"], truth.get("sign") or {"text": ""}
            things = tuple(Thing(**{**one, "box": tuple(one["box"])}) for one in truth["things"])
            ground = tuple(scene["ground"])
            return cls(scene["seed"], scene["index"], ground, things, sign["text"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no scene: {type(error).__name__}: {error}") from error


def _generator(seed: int, index: int, purpose: int) -> np.random.Generator:
    key = np.array([seed, (purpose << 56) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


FEW = (2, 3)
"""Least and greatest number of things in a scene, if nothing else is said."""


def make_scene(seed: int, index: int, things: tuple[int, int] = FEW, signs: bool = False) -> Scene:
    """Make the `index`-th scene of `seed`.

    Args:
        seed: Any number in [0, 2^64).
        index: Any number in [0, 2^56).
        things: Least and greatest number of objects.
        signs: Whether it has a sign, below its things; then there are three things at most.

    Raises:
        ValueError: a number is out of its range.
    """
    low, high = things
    most = 3 if signs else 4
    if not (0 <= seed < 2**64 and 0 <= index < 2**56 and 1 <= low <= high <= most):
        raise ValueError(
            f"a scene needs 0 <= seed < 2^64, 0 <= index < 2^56 and one to {_NUMBERS[most]} "
            f"things; found seed {seed}, index {index}, things {things}"
        )
    draw = _generator(seed, index, 0)
    ground = GROUNDS[draw.integers(len(GROUNDS))]
    wanted = int(draw.integers(low, high + 1))
    kinds = draw.choice(len(COLOURS) * len(SHAPES), size=wanted, replace=False).tolist()
    sign = str(_generator(seed, index, 2).choice(SIGN_WORDS)) if signs else ""
    lowest = SIGN_BOX[1] if signs else 0.98
    while True:  # Placing at random fails rarely; then the whole arrangement is drawn again.
        placed: list[Thing] = []
        for kind in kinds:
            size = _SIZES[draw.integers(len(_SIZES))]
            half = SIZES[size]
            for _ in range(40):
                x = draw.uniform(half + 0.02, 0.98 - half)
                y = draw.uniform(half + 0.02, lowest - half)
                box = tuple(round(v, 4) for v in (x - half, y - half, x + half, y + half))
                if all(_apart(box, other.box) for other in placed):
                    colour, shape = divmod(kind, len(SHAPES))
                    placed.append(Thing(SHAPES[shape], _COLOURS[colour], size, box))  # type: ignore[arg-type]
                    break
        if len(placed) == wanted:
            return Scene(seed, index, ground, tuple(placed), sign)


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return (
        a[2] + _GAP < b[0] or b[2] + _GAP < a[0] or a[3] + _GAP < b[1] or b[3] + _GAP < a[1]
    )  # fmt: skip


def _inside(shape: str, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether points of a box, in coordinates from -1 to 1, lie within a shape."""
    if shape == "circle":
        return x * x + y * y <= 1.0
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= 0.9
    if shape == "triangle":
        return (y <= 0.95) & (abs(x) <= (y + 1.0) / 2.0)
    if shape == "diamond":
        return abs(x) * 1.35 + abs(y) <= 1.0
    if shape == "cross":
        return np.minimum(abs(x), abs(y)) <= 0.32
    angle = np.arctan2(x, -y) % (2 * np.pi / 5)  # star: five points, the first one up
    fold = np.minimum(angle, 2 * np.pi / 5 - angle)
    inner, step = 0.42, np.pi / 5
    radius = (
        inner * np.sin(step) / (inner * np.sin(step - fold) + np.sin(fold))
    )  # the polar form of the edge from the tip (1, 0) to the notch (inner, step)
    return np.hypot(x, y) <= radius


def render(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Draw a scene.

    Returns:
        uint8 [size, size, 3], RGB, with edges smoothed by 3 x 3 samples a pixel.
    """
    fine = size * 3
    row = np.tile(np.array(scene.ground, np.uint8), fine)
    canvas = np.tile(row, (fine, 1)).reshape(fine, fine, 3)
    middle = (np.arange(fine, dtype=np.float32) + 0.5) / fine
    for thing in scene.things:
        x0, y0, x1, y1 = thing.box
        columns = slice(*np.searchsorted(middle, [x0, x1]))
        rows = slice(*np.searchsorted(middle, [y0, y1]))
        x = (middle[columns] - x0) / (x1 - x0) * 2 - 1
        y = (middle[rows] - y0) / (y1 - y0) * 2 - 1
        mask = _inside(thing.shape, x[None, :], y[:, None])
        canvas[rows, columns][mask] = COLOURS[thing.colour]
    if scene.sign:
        _draw_sign(canvas, scene.sign)
    # The mean of nine numbers is never half way between two, so its rounding is not in doubt.
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def _draw_sign(canvas: NDArray[np.uint8], text: str) -> None:
    """Write text on a black plate at `SIGN_BOX`, in place; canvas [side, side, 3]."""
    x0, y0, x1, y1 = (round(share * len(canvas)) for share in SIGN_BOX)
    plate = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(1, len(canvas) // 80)
    (_, height), _ = cv2.getTextSize(text, font, 1.0, stroke)
    scale = 0.7 * len(plate) / height
    (width, height), _ = cv2.getTextSize(text, font, scale, stroke)
    where = ((plate.shape[1] - width) // 2, (len(plate) + height) // 2)
    cv2.putText(plate, text, where, font, scale, (255, 255, 255), stroke, cv2.LINE_AA)
    canvas[y0:y1, x0:x1] = plate


def captions(scene: Scene) -> list[str]:
    """Phrasings of a scene, every statement true; the first tells the most.

    The choice of what to say is a pure function of the scene.
    """
    draw = _generator(scene.seed, scene.index, 1)
    things, relations = scene.things, scene.relations()
    told = []
    if relations:
        order = draw.permutation(len(relations))
        i, relation, j = relations[order[0]]  # what first_relation gives
        rest = [thing for k, thing in enumerate(things) if k not in (i, j)]
        more = "".join(f", and also {_a(thing.name)}" for thing in rest)
        told.append(f"{_a(things[i].name)} {relation} {_a(things[j].name)}{more}")
        i, relation, j = relations[order[-1]]
        told.append(
            f"the {things[i].colour} {things[i].shape} is {relation} "
            f"the {things[j].colour} {things[j].shape}"
        )
    shuffled = [things[k] for k in draw.permutation(len(things))]
    told.append("a picture of " + _list([_a(thing.name) for thing in shuffled]))
    told.append(f"there are {_NUMBERS[len(things)]} shapes, one of them {_a(shuffled[0].name)}"
                if len(things) > 1 else f"there is only {_a(shuffled[0].name)}")  # fmt: skip
    return told


def first_relation(scene: Scene) -> tuple[int, str, int] | None:
    """The relation that a scene's first caption tells; None where it has none."""
    relations = scene.relations()
    if not relations:
        return None
    return relations[_generator(scene.seed, scene.index, 1).permutation(len(relations))[0]]


_NUMBERS = ("no", "one", "two", "three", "four")


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
