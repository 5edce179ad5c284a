import io
from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines import explain
from septet.pipelines.build import resolve
from septet.pipelines.explain import explain_stages
from septet.schemas.recipe_file import parse_recipe


def test_names_are_printed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_SHOWN", 4)
    names = ["pairs[red].jsonl", "[bold].jsonl", "a\x1b[31m.jsonl"]
    for name in names:
        (tmp_path / name).write_text('{"url": "http://e.org/1.jpg", "caption": "a cat"}\n')
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.jpg").write_bytes(b"x")
    recipe = parse_recipe(
        "name: t\nsources:\n  - {kind: list, paths: ['pairs[red].jsonl', '*.jsonl']}\n"
        "  - {kind: folder, paths: [pictures], without_text: keep}\n"
    )
    out = io.StringIO()
    stages = resolve(recipe, str(tmp_path), str(tmp_path / "c"))
    explain_stages(recipe, stages, {}, Console(file=out, width=120))
    text = out.getvalue()
    assert "… and" not in text
    assert "sources.0.paths: ['pairs[red].jsonl', '*.jsonl']" in text
    assert "sources.1.kind: folder" in text and "sources.1.without_text: keep" in text
    assert "  pairs[red].jsonl  50 bytes  blake2b:" in text and "  [bold].jsonl  " in text
    assert "inputs: 4 of " in text and "\x1b" not in text and "pictures  1 bytes  listing:" in text
    assert not (tmp_path / "c").exists()
    monkeypatch.setattr(explain, "_SHOWN", 3)
    explain_stages(recipe, stages, {}, Console(file=out, width=120))
    assert out.getvalue().endswith("  … and 1 more\n")
