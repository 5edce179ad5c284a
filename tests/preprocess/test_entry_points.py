"""Things of other packages: of two by one name none is taken, and none ends the process."""

import re
from pathlib import Path
from types import MappingProxyType

import pytest

from septet.pipelines.cli import COMMANDS, main
from septet.preprocess.columns.base import NoValue, Settings
from septet.preprocess.columns.registry import ColumnError, column_class, column_kinds, make_column
from septet.preprocess.columns.scorer import Scorer
from septet.preprocess.ocr.engines import engine_class
from septet.preprocess.rules.own import RuleError, own_rules, rule_class

SCORER = f"{__name__}:Length"


class Length(Scorer):
    """The characters of a caption."""

    version = 1
    reads = ("caption",)
    scores = MappingProxyType({"characters": "how many"})

    def score(self, images, captions):
        return {"characters": [len(text) for text in captions]}


class Unversioned(Scorer):
    reads, scores, score = Length.reads, Length.scores, Length.score


class Unmade(Length):
    def __init__(self, settings: Settings):
        raise ValueError("not today")


def install(folder: Path, package: str, name: str = "length", **points: str) -> None:
    """What a package has in `site-packages` that offers things of several groups by one name."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[septet.{group}]\n{name} = {what}\n" for group, what in points.items()]
    (info / "entry_points.txt").write_text("".join(lines))


def test_one_name_of_two_packages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "one", columns=SCORER, rules="a:B", ocr="a:B")
    assert column_class("length").__name__ == "Length"
    install(tmp_path / "again", "one_renamed", columns=SCORER)  # the same thing
    monkeypatch.syspath_prepend(str(tmp_path / "again"))
    assert column_class("length").__name__ == "Length"
    install(tmp_path / "more", "two", columns="other:Length", rules="c:D", ocr="c:D")
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    assert "length" in column_kinds() and "length" in own_rules()
    with pytest.raises(ColumnError) as found:
        column_class("length")
    for part in ("'length' is offered by two (other:Length) and", f" ({SCORER}): uninstall one"):
        assert part in str(found.value)
    assert column_class(SCORER).__name__ == "Length"
    with pytest.raises(RuleError, match=r"'length' is offered by one \(a:B\) and two \(c:D\)"):
        rule_class("length")
    with pytest.raises(ValueError, match=r"'length' is offered by one \(a:B\) and two \(c:D\)"):
        engine_class("length")
    assert engine_class("rapidocr").__name__ == "RapidOcr"


def test_no_package_replaces_what_septet_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"commands": ("build", "train"), "columns": ("clip",), "ocr": ("rapidocr",),
             "rules": ("too_short", "cc12m")}  # fmt: skip
    for group, some in names.items():
        for name in some:
            install(tmp_path / name, f"other_{name}", name, **{group: "other:Thing"})
            monkeypatch.syspath_prepend(str(tmp_path / name))
    theirs = r"is offered by (?=.*septet \(septet\.).*other_\w+ \(other:Thing\)"
    with pytest.raises(ColumnError, match=theirs):
        column_class("clip")
    with pytest.raises(ValueError, match=theirs):
        engine_class("rapidocr")
    for name in names["rules"]:
        with pytest.raises(RuleError, match=f"{name}' is the name of a rule or a set of Septet's"):
            rule_class(name)
    for name in names["commands"]:
        with pytest.raises(SystemExit) as ended:
            main([name])
        assert ended.value.code == 2
        assert re.search(f"'{name}' {theirs}", capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert COMMANDS["build"][1] in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_class_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ColumnError, match="'ends:X' cannot be loaded: SystemExit: 0"):
        column_class("ends:X")
    with pytest.raises(RuleError, match="'ends:X' cannot be loaded: SystemExit: 0"):
        rule_class("ends:X")
    with pytest.raises(ColumnError, match=r"Unversioned has no `version`: write `version = 1`"):
        column_class(f"{__name__}:Unversioned")
    with pytest.raises(ColumnError, match="Unmade cannot be made: ValueError: not today"):
        make_column(f"{__name__}:Unmade", {})


def test_a_class_that_ends_the_process_costs_its_sample() -> None:
    from septet.pipelines.annotate.work import annotate_batch
    from septet.preprocess.columns.base import Item

    class Ends(Length):
        def score(self, images, captions):
            raise SystemExit("b" * 100_000)

    (found,) = annotate_batch(Ends(Ends.Settings()), [Item("k", {"txt": b"a"}, {})])
    assert isinstance(found, NoValue) and found.reason == "error"
    assert found.found.startswith("SystemExit: bbb") and len(found.found) == 1000
