import ast
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.boxes.tokens import (
    SCHEMES,
    BoxTokens,
    Kosmos2,
    Ofa,
    Pali,
    PaliGemma,
    Pix2Seq,
)

ALL: list[BoxTokens] = [Ofa(), Ofa(384), Ofa(256), Pix2Seq(), Pix2Seq(500), Pali(), PaliGemma(),
                        Kosmos2()]  # fmt: skip
every = pytest.mark.parametrize("scheme", ALL, ids=lambda s: f"{s.name}-{s.bins}-{s.max_error:.1g}")
unit = st.floats(0, 1)
whole_boxes = st.lists(
    st.tuples(unit, unit, unit, unit).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    ),
    max_size=8,
)


@every
@given(boxes=whole_boxes)
def test_no_coordinate_is_further_off_than_told(scheme: BoxTokens, boxes: list) -> None:
    tokens = scheme.encode(boxes)
    assert tokens.shape == (len(boxes), scheme.width)
    decoded = scheme.decode(tokens)
    error = abs(decoded - np.array(boxes).reshape(-1, 4)).max(initial=0)
    assert error <= scheme.max_error * (1 + 1e-9)
    assert np.array_equal(scheme.encode(decoded), tokens)


@every
@given(boxes=whole_boxes)
def test_text_comes_back(scheme: BoxTokens, boxes: list) -> None:
    tokens = scheme.encode(boxes)
    names = [f"a thing no. {i}" for i in range(len(boxes))]
    text = "; ".join(f"{t} {n}" for t, n in zip(scheme.text(tokens), names, strict=True))
    found, labels = scheme.parse(text)
    assert np.array_equal(found, tokens) and labels == names


@pytest.mark.parametrize("scheme", [s for s in ALL if not isinstance(s, Ofa | Kosmos2)])
def test_every_token_is_the_code_of_what_it_decodes_to(scheme: BoxTokens) -> None:
    tokens = np.repeat(np.arange(scheme.bins)[:, None], 4, axis=1)
    assert np.array_equal(scheme.encode(scheme.decode(tokens)), tokens)


def test_the_told_error_is_reached() -> None:
    fine = np.linspace(0, 1, 200_001)
    boxes = np.stack([np.zeros_like(fine), np.zeros_like(fine), fine, fine], axis=1)
    for scheme in ALL:
        if isinstance(scheme, Kosmos2):
            continue
        error = abs(scheme.decode(scheme.encode(boxes)) - boxes).max()
        assert 0.99 * scheme.max_error < error <= scheme.max_error * (1 + 1e-9)


@given(st.floats(0, 512), st.sampled_from([256, 384, 480, 512]))
def test_ofa_by_its_own_formula(x: float, size: int) -> None:
    pixel = min(x, size)
    wanted = round(pixel / 512 * 999)
    (token,) = Ofa(size).encode([[0, 0, pixel / size, 1]])[:, 2]
    # Python rounds the quotient, the scheme the product with a share: they may part at ties only.
    assert (
        token == wanted or abs(abs(pixel / 512 * 999 - math.floor(pixel / 512 * 999)) - 0.5) < 1e-9
    )


def test_ofa_with_384_pixels_never_goes_beyond_749() -> None:
    assert Ofa(384).encode([[0, 0, 1, 1]]).tolist() == [[0, 0, 749, 749]]
    assert Ofa(384).text([[0, 0, 749, 749]]) == ["<bin_0><bin_0><bin_749><bin_749>"]
    with pytest.raises(ValueError, match="512"):
        Ofa(640)


def test_halves_go_to_the_even_neighbour() -> None:
    halves = (np.arange(6) + 0.5) / 999
    tokens = Pix2Seq().encode(np.stack([halves * 0, halves, halves * 0 + 1, halves], axis=1))
    assert tokens[:, 0].tolist() == np.rint(halves * 999).tolist() == [0, 2, 2, 4, 4, 6]


def test_orders() -> None:
    box = [[0.1, 0.2, 0.3, 0.4]]
    assert Ofa().encode(box).tolist() == [[100, 200, 300, 400]]
    assert Pix2Seq().encode(box).tolist() == [[200, 100, 400, 300]]
    assert Pali().encode(box).tolist() == [[200, 100, 400, 300]]
    assert PaliGemma().encode(box).tolist() == [[205, 102, 409, 307]]
    assert PaliGemma().text([[205, 102, 409, 1]]) == ["<loc0205><loc0102><loc0409><loc0001>"]


def test_the_example_of_palis_paper_is_read() -> None:
    tokens, labels = Pali().parse("10 20 90 100 cat 20 30 100 100 dog")
    assert tokens.tolist() == [[10, 20, 90, 100], [20, 30, 100, 100]] and labels == ["cat", "dog"]
    boxes = Pali().decode(tokens)
    assert np.allclose(boxes[0], [0.0205, 0.0105, 0.1005, 0.0905])


def test_broken_model_output_gives_no_box() -> None:
    assert len(Pali().parse("10 20 1000 100 cat 1 2 3")[0]) == 0
    assert len(Ofa().parse("<bin_1><bin_2><bin_3> cat <bin_4>")[0]) == 0
    assert len(PaliGemma().parse("")[0]) == 0
    tokens, labels = Ofa().parse("x <bin_1><bin_2><bin_3><bin_4>")
    assert tokens.tolist() == [[1, 2, 3, 4]] and labels == [""]


def transformers_kosmos() -> tuple[Callable, Callable]:
    """transformers' own two functions; importing their module would take a quarter of a minute."""
    spec = importlib.util.find_spec("transformers")
    assert spec and spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "models/kosmos2/processing_kosmos2.py"
    tree = ast.parse(file.read_text())
    names = ("coordinate_to_patch_index", "patch_index_to_coordinate")
    tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in names]
    space: dict = {"math": math}
    exec(compile(tree, str(file), "exec"), space)
    return space[names[0]], space[names[1]]


TO_CELLS, TO_BOX = transformers_kosmos()

# Thinner ones vanish in the rounding of 32 · x - 1, and transformers gives cell -1.
thick = st.tuples(unit, unit, unit, unit).filter(
    lambda b: b[0] + 1e-9 < b[2] and b[1] + 1e-9 < b[3]
)


@given(thick)
def test_kosmos_as_transformers_has_it(box: tuple) -> None:
    (found,) = Kosmos2().encode([box]).tolist()
    assert tuple(found) == TO_CELLS(box, 32)
    decoded = Kosmos2().decode([found])[0]
    assert np.allclose(decoded, TO_BOX(*found, 32), rtol=0, atol=0)


def test_kosmos_all_pairs_of_cells_come_back() -> None:
    side = np.arange(32)
    x0, x1 = np.meshgrid(side, side)
    pairs = np.stack([x0[x0 <= x1], x1[x0 <= x1]], axis=1)
    for y0, y1 in [(0, 0), (0, 31), (5, 6), (31, 31)]:
        tokens = np.stack([y0 * 32 + pairs[:, 0], y1 * 32 + pairs[:, 1]], axis=1)
        assert np.array_equal(Kosmos2().encode(Kosmos2().decode(tokens)), tokens)
    with pytest.raises(ValueError, match="above or left"):
        Kosmos2().decode([[40, 7]])


@every
def test_what_cannot_be_encoded_or_decoded_is_said(scheme: BoxTokens) -> None:
    with pytest.raises(ValueError, match="finite"):
        scheme.encode([[0, 0, math.nan, 1]])
    with pytest.raises(ValueError, match=r"lie in \[0"):
        scheme.decode([[scheme.bins] * scheme.width])
    with pytest.raises(ValueError, match="lie in"):
        scheme.text([[-1] * scheme.width])
    with pytest.raises(ValueError, match="tokens are"):
        scheme.decode([[0] * (scheme.width + 1)])
    assert scheme.encode([]).shape == (0, scheme.width)
    assert scheme.decode([]).shape == (0, 4)


@every
def test_boxes_out_of_the_image_are_clipped(scheme: BoxTokens) -> None:
    outside = scheme.encode([[-5.0, -1.0, 7.0, 2.0]])
    assert np.array_equal(outside, scheme.encode([[0.0, 0.0, 1.0, 1.0]]))


def test_all_schemes_have_names() -> None:
    assert list(SCHEMES) == ["ofa", "pix2seq", "pali", "paligemma", "kosmos2"]
