import json
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from septet.pipelines.build import _run_stage, resolve
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import make_runner
from septet.pipelines.stages import dedup
from septet.preprocess import files
from septet.schemas.recipe_file import parse_recipe

FREQUENT = [f"this caption stands beside many images, kind {i}" for i in range(9)]
MOST = 4
RECIPE = f"""
name: survey
sources: [{{kind: list, paths: [list.jsonl]}}]
dedup: {{images_per_caption: {MOST}}}
write: {{samples_per_shard: 20}}
"""


def plans_and_rejects(folder: Path) -> tuple[pa.Table, pa.Table]:
    """What source, filter and dedup make of the recipe."""
    corpus = str(folder / "corpus")
    runner = make_runner("local", 1, [], corpus)
    stages = resolve(parse_recipe(RECIPE, "recipe.yaml"), str(folder), corpus)[:3]
    for stage in stages:
        _run_stage(stage, runner, BuildProgress(Console(quiet=True)))
    last, keys = stages[-1], stages[-1].keys()
    kept, lost = (
        pa.concat_tables(files.read_table(parts.path(key)) for key in keys)
        for parts in (last.parts("plans"), last.rejects)
    )
    return kept, lost


def test_frequent_captions_are_those_of_all_buckets_of_the_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = [FREQUENT[i % 9] if i % 2 else f"a caption of its own, number {i}" for i in range(180)]  # fmt: skip
    found = []
    for buckets in (1, 12):
        folder = tmp_path / str(buckets)
        folder.mkdir()
        rows = [{"url": f"http://e.org/{i}.jpg", "caption": c} for i, c in enumerate(captions)]
        (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        monkeypatch.setattr(dedup, "_SAMPLES_A_SURVEY_BUCKET", 180 // buckets)
        found.append(plans_and_rejects(folder))
        gathered = folder / "corpus/stages/frequent"
        assert gathered.exists() == (buckets > 1)
    kept, lost = found[0]
    assert found[1] == found[0]
    assert set(kept["caption"].to_pylist()) == {c for c in captions if c not in FREQUENT}
    assert sorted(lost["caption"].to_pylist()) == sorted(c for c in captions if c in FREQUENT)
    assert set(lost["value"].to_pylist()) == {"10"}
