"""Lines for machines: of a build, of a library's warning, and of an error that ends a command."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import septet
from septet.preprocess.log import JsonConsole, json_line, make_console, tell
from tests.corpora import write_site


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_build_tells_its_stages_and_its_shards(tmp_path: Path) -> None:
    out = io.StringIO()
    recipe = write_site(tmp_path / "site")
    result = septet.build(recipe, tmp_path / "corpus", workers=1, console=JsonConsole(out))
    lines = lines_of(out.getvalue())
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    ended = {line["stage"]: line for line in lines if "seconds" in line}
    assert list(ended) == [stage.name for stage in result.stages]
    for stage in result.stages:
        told = ended[stage.name]
        assert (told["rows_in"], told["rows_out"]) == (stage.counts.rows_in, stage.counts.rows_out)
        assert told["rejected"] == dict(stage.counts.rejected)
    shards = [line for line in lines if line.get("shard") is not None]
    first = shards[0]["stage"]
    pages = [line for line in shards if line["stage"] == first]
    assert [line["done"] for line in pages] == [1, 2, 3] and {line["of"] for line in pages} == {3}
    assert len({line["shard"] for line in pages}) == 3
    assert {line["stage"] for line in shards} == {*ended}
    assert {"survey", "plan"} <= {line["pass"] for line in shards if line["stage"] == "dedup"}


def test_a_console_is_for_a_person_unless_lines_are_asked_for(monkeypatch, capsys) -> None:
    monkeypatch.delenv("SEPTET_LOG", raising=False)
    tell(make_console(), "[bold]two[/] steps", step=2)
    assert capsys.readouterr().out == "two steps\n"
    monkeypatch.setenv("SEPTET_LOG", "json")
    monkeypatch.setenv("RANK", "3")
    tell(make_console(), "[bold]two[/] steps", step=2, loss=float("nan"))
    make_console(stderr=True).print("a [red]warning[/]", "\n")
    told = capsys.readouterr()
    (line,) = lines_of(told.out)
    assert line.pop("time").endswith("+00:00")
    expected = {"level": "info", "message": "two steps", "rank": 3, "step": 2, "loss": "nan"}
    assert line == expected
    assert [line["message"] for line in lines_of(told.err)] == ["a warning"]


def test_a_message_is_one_line_whatever_it_holds() -> None:
    line = json_line('a "quoted"\nline\u2028 of text', path=Path("x"))
    assert line.count("\n") == 1 and json.loads(line)["path"] == "x"
    assert json.loads(line)["message"] == 'a "quoted"\nline\u2028 of text'


def run(code: str) -> list[dict]:
    environment = {**os.environ, "SEPTET_LOG": "json", "RANK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    return lines_of(done.stderr)


def test_errors_warnings_and_what_libraries_log_are_lines() -> None:
    (refused,) = run("from septet.pipelines.cli import main; main(['build', 'no-such.yaml'])")
    assert refused["level"] == "error" and refused["message"].startswith("septet: ")
    assert refused["rank"] == 1 and "no-such.yaml" in refused["message"]
    found = run(
        "import logging, warnings; from septet.preprocess.log import install; install()\n"
        "warnings.warn('old'); logging.getLogger('beam').warning('slow %s', 'worker'); 1 / 0"
    )
    assert [line["level"] for line in found] == ["warning", "warning", "error"]
    assert "UserWarning: old" in found[0]["message"]
    assert (found[1]["logger"], found[1]["message"]) == ("beam", "slow worker")
    assert found[2]["message"] == "ZeroDivisionError: division by zero"
    assert 'File "<string>", line 2' in found[2]["traceback"]
