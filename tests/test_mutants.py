"""The tool behind `make mutants`: what it changes, and that every file of its rooms has tests."""

from pathlib import Path

import pytest

from benchmarks.mutants.__main__ import draw
from benchmarks.mutants.changes import changed, changes_of, runs_at_import
from benchmarks.mutants.page import section
from benchmarks.mutants.rooms import ROOTS, find_files, find_tests

CODE = '''"""Text."""
def f(a: "list[int]" = [1], *, b: int = -2) -> bool:
    if a < 3 and not b:
        return True
    a += 4 * b
    zip(a, b, strict=True)
    if TYPE_CHECKING:
        a = 8
    return a == 5 if b else a in (6, 7)
'''


def test_each_change_is_made_once_and_no_annotation_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(CODE)
    found = [(m.kind, m.before, m.after) for m in changes_of(str(path))]
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
    texts = {changed(m) for m in changes_of(str(path))}
    assert len(texts) == len(found)
    for text in texts:
        compile(text, "x.py", "exec")


def test_what_runs_at_import_is_no_tests_own(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "# a\nA = 1\n\nclass B:\n    b: int = 2\n\n    def f(self, c=3) -> bool:\n        c += 4\n"
        "        return c > 5\n\n    d = 6\n"
    )
    found = {c.before: runs_at_import(c) for c in changes_of(str(path)) if "number" in c.kind}
    assert found == dict.fromkeys("1236", True) | dict.fromkeys("45", False)


def test_the_page_counts_by_room_and_names_what_is_not_noticed() -> None:
    told = {"kind": "sign", "before": "-2", "after": "2", "date": "2026-01-02", "commit": "abc"}
    results = [
        {"path": "a/b/x.py", "line": 3, "outcome": "failed", **told},
        {"path": "a/b/c/y.py", "line": 4, "outcome": "timeout", "first": "passed", **told},
        {"path": "a/d.py", "line": 9, "outcome": "passed", "why": "twos are ones", **told},
        {"path": "a/d.py", "line": 5, "outcome": "passed", **told, "commit": "def"},
    ]
    assert (
        section("All", results, "run", 4)
        == """## All

`run`, tried on 2026-01-02 of commit abc, def: 4 changes, 50.0% noticed, 1 of them only since tests were written for them; 1 are named with why they are not, 1 are open.

| room | changed | noticed | named with why | open |
|---|---|---|---|---|
| a | 2 | 0 | 1 | 1 |
| a/b | 2 | 2 | 0 | 0 |
| **all** | 4 | 2 | 1 | 1 |

Not noticed:

- `a/d.py:5` sign: `-2` → `2`
- `a/d.py:9` sign: `-2` → `2`: twos are ones
"""
    )
    assert "abc, def: 4 of 9 changes so far, 2 noticed, 1 of" in section("All", results, "run", 9)


def test_a_sample_stays_the_same_where_the_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(f"def f{i}(a):\n    return a + {i} < 3\n\n\n" for i in range(20))
    Path("x.py").write_text(code)
    before = draw(["x.py"], 11, 99)
    assert len(before) == 20 * 4
    assert draw(["x.py"], 11, 10) == before[:10] != draw(["x.py"], 12, 10)
    code = code.replace("def f7(a):\n", 'def f7(a):\n    """Doc."""\n')
    Path("x.py").write_text(code)
    with_doc = draw(["x.py"], 11, 99)
    Path("x.py").write_text(code.replace("Doc.", "Other\n\n    words."))
    assert [c.key for c in draw(["x.py"], 11, 99)] == [c.key for c in with_doc]
    code = code.replace('    """Doc."""\n', "")
    Path("x.py").write_text("# Two lines\n# more.\n" + code.replace("a + 3 <", "a - 3 <"))
    after = draw(["x.py"], 11, 99)
    same = {change.key for change in before} & {change.key for change in after}
    assert {change.line for change in before if change.key not in same} == {14}
    assert {change.line for change in after if change.key not in same} == {16}
    was, is_ = ([(c.key, c.line) for c in of if c.key in same] for of in (before, after))
    assert is_ == [(key, line + 2) for key, line in was]


@pytest.mark.parametrize("what", ROOTS)
def test_every_file_has_tests(what: str) -> None:
    assert [root for root in ROOTS[what] if not Path(root).exists()] == []
    assert [path for path in find_files(what, []) if not find_tests(path)] == []
