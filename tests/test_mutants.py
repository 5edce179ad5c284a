"""The tool behind `make mutants`: what it changes, and that every file of its rooms has tests."""

from pathlib import Path

from benchmarks.mutants import OUTSIDE, ROOTS, find_tests, mutants_of, mutated

CODE = '''"""Text."""
def f(a: "list[int]" = [1], *, b: int = -2) -> bool:
    if a < 3 and not b:
        return True
    a += 4 * b
    return a == 5 if b else a in (6, 7)
'''


def test_each_change_is_made_once_and_no_annotation_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(CODE)
    found = [(m.kind, m.before, m.after) for m in mutants_of(str(path))]
    for wanted in (
        ("comparison turned", "a < 3", "a <= 3"),
        ("comparison turned", "a == 5", "a != 5"),
        ("comparison turned", "a in (6, 7)", "a not in (6, 7)"),
        ("and / or", "a < 3 and (not b)", "a < 3 or not b"),
        ("not taken away", "not b", "b"),
        ("sign", "-2", "2"),
        ("truth value", "True", "False"),
        ("operator exchanged", "a += 4 * b", "a -= 4 * b"),
        ("operator exchanged", "4 * b", "4 // b"),
        ("condition never true", "if a < 3 and (not b):", "if False:"),
        ("condition never true", "a == 5 if b else a in (6, 7)", "a == 5 if False else a in (6, 7)"),
    ):  # fmt: skip
        assert found.count(wanted) == 1, wanted
    assert sorted(before for kind, before, _ in found if kind == "number + 1") == list("1234567")
    texts = {mutated(m) for m in mutants_of(str(path))}
    assert len(texts) == len(found)
    for text in texts:
        compile(text, "x.py", "exec")


def test_every_file_has_tests() -> None:
    paths = [str(path) for root in ROOTS for path in sorted(Path(root).rglob("*.py"))]
    assert [path for path in paths if not path.startswith(OUTSIDE) and not find_tests(path)] == []
