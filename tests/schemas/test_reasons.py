import ast
import pickle
from pathlib import Path

import pytest

from septet.schemas.reasons import (
    CLASSES,
    REASONS,
    Rejected,
    RejectedError,
    UnknownReasonError,
    class_of,
    reasons_page,
    require_known,
)

ROOT = Path(__file__).parents[2]
CARRIERS = {"Rejected", "RejectedError", "FetchError", "BodyError", "BrokenRecord"}  # fmt: skip


def test_the_page_is_the_table() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == reasons_page() + "\n", "run `make docs`"
    assert {reason.class_ for reason in REASONS.values()} <= set(CLASSES)


def literal_reasons() -> dict[str, list[str]]:
    """Reasons that the code of the data side names where it makes a loss, with the places."""
    found: dict[str, list[str]] = {}
    for path in sorted([*ROOT.glob("pipelines/**/*.py"), *ROOT.glob("preprocess/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in CARRIERS:
                continue
            given = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "reason")]
            at = 1 if node.func.id == "BrokenRecord" else 0
            reason = given[at] if len(given) > at else None
            if isinstance(reason, ast.Constant) and isinstance(reason.value, str):
                found.setdefault(reason.value, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_every_reason_in_the_code_is_in_the_table() -> None:
    found = literal_reasons()
    assert len(found) > 20
    assert {name: places for name, places in found.items() if name not in REASONS} == {}


def test_every_reason_in_the_table_is_in_the_code() -> None:
    paths = [*ROOT.glob("pipelines/**/*.py"), *ROOT.glob("preprocess/**/*.py")]
    text = "".join(path.read_text() for path in paths)
    assert [name for name in REASONS if f'"{name}"' not in text] == []


def test_every_text_rule_is_a_reason() -> None:
    from septet.preprocess.rules.table import RULES

    assert {name for name, reason in REASONS.items() if "filter" in reason.stages} >= set(RULES)


@pytest.mark.parametrize(
    ("reason", "value", "expected"),
    [
        ("http_status", "404", "network"),
        ("http_status", "429", "passing"),
        ("http_status", "503", "passing"),
        ("http_status", None, "network"),
        ("dns", "timeout", "passing"),
        ("outside_root", "../x", "access"),
        ("duplicate_pair", None, "duplicate"),
    ],
)
def test_classes(reason: str, value: str | None, expected: str) -> None:
    assert class_of(reason, value) == expected


def test_an_unknown_reason_is_a_programming_error() -> None:
    require_known(["timeout", "timeout"])
    with pytest.raises(UnknownReasonError, match="'nonsense'"):
        require_known(["timeout", "nonsense"])


def test_the_error_carries_the_loss_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RejectedError("timeout", "read")))
    assert error.rejected == Rejected("timeout", "read") and str(error) == "timeout: read"
