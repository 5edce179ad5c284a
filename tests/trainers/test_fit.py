"""What is said of weights that do not fit a model."""

import pytest
import torch

from septet.trainers.weights.fit import MisfitError, require_fit

EXPECTED = {f"x{i}": torch.Size([i]) for i in range(9)}


def state(*but: int) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape) for name, shape in EXPECTED.items() if int(name[1]) not in but}


@pytest.mark.parametrize(("lacks", "more"), [(5, ""), (6, "; and 1 more"), (8, "; and 3 more")])
def test_the_first_five_differences_are_named_and_the_others_counted(lacks, more):
    named = "; ".join(f"x{i} is missing" for i in range(5))
    with pytest.raises(MisfitError, match=rf"^f\.pt does not fit: {named}{more}\. A hint$"):
        require_fit("f.pt", state(*range(lacks)), EXPECTED, hint="A hint")


def test_shapes_come_first_then_what_is_missing_then_what_has_no_place():
    found = state(1) | {"x3": torch.empty(4), "b": torch.empty(1), "a": torch.empty(1)}
    named = (
        r"x3 is \[4\], the model's \[3\]; x1 is missing; there is no place for a; "
        "there is no place for b"
    )
    with pytest.raises(MisfitError, match=named + "$") as error:
        require_fit("f.pt", found, EXPECTED)
    assert error.value.found == {name: x.shape for name, x in found.items()}
    with pytest.raises(MisfitError, match=r"it holds no weights of this model$"):
        require_fit("f.pt", {}, EXPECTED)


def test_what_is_not_needed_may_be_missing():
    require_fit("f.pt", state(), EXPECTED)
    require_fit("f.pt", state(1, 2), EXPECTED, lambda name: name not in ("x1", "x2"))
