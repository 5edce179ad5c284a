"""What a build takes away of an earlier one before it writes its first shard."""

import json
from pathlib import Path

from septet.pipelines.stages.stage import Context, Key
from septet.pipelines.stages.write import WriteStage
from septet.schemas import layout
from septet.schemas.recipe_file import parse_recipe


class OfTwo(WriteStage):
    def keys(self) -> list[Key]:
        return [0, 3]


def test_marks_and_shards_of_stopped_builds_go_and_nothing_else(tmp_path: Path) -> None:
    text = "name: t\nsources:\n  - {kind: list, paths: [x.csv]}\n"
    stage = OfTwo(Context(str(tmp_path), parse_recipe(text), str(tmp_path), ()), {})
    marks = tmp_path / "stages/done"
    for name, data in {
        "write-1.json": "{}", "write-1.begun": "[0, 1]", "write-2.begun": "", "report-1.json": "{}",
        "report-1.begun": "", "fetch-1.json": "{}",
    }.items():  # fmt: skip
        marks.mkdir(parents=True, exist_ok=True)
        (marks / name).write_text(data)
    for number in range(3):
        for path in (layout.shard_tar(number), layout.shard_sidecar(number)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
    stage.prepare()
    begun = f"write-{stage.fingerprint}.begun"
    assert {path.name for path in marks.iterdir()} == {begun, "report-1.begun", "fetch-1.json"}
    assert json.loads((marks / begun).read_text()) == [0, 3]
    left = {str(path.relative_to(tmp_path)) for path in (tmp_path / "shards").rglob("*.*")}
    assert left == {layout.shard_tar(2), layout.shard_sidecar(2)}
    # What it writes itself stays when it goes on.
    (tmp_path / layout.shard_tar(0)).touch()
    stage.prepare()
    assert (tmp_path / layout.shard_tar(0)).exists()
