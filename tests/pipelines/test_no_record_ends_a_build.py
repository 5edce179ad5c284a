"""No record ends a build: each hostile one has its reject row, every good neighbour is kept."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from septet.pipelines.inputs import find_inputs
from septet.pipelines.sources.base import Pair
from septet.pipelines.sources.table import SOURCES
from septet.pipelines.stages.source import read_slice
from septet.schemas.reasons import REASONS
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import rows, run_build
from tests.pipelines.hostile import (
    LIST_CASES,
    TEXT,
    Case,
    list_file,
    warc_cases,
    warc_file,
    write_images,
)
from tests.pipelines.hostile_folders import FOLDER_CASES, write_folder
from tests.pipelines.hostile_sources import (
    BARE_CASES,
    CELL_CASES,
    HASH_CASES,
    SET_CASES,
    TAR_CASES,
    bare_file,
    cell_file,
    hash_file,
    tar_file,
    write_set,
)

RECIPE = """
name: hostile
sources:
  - {kind: list, paths: ['lists/*.jsonl', 'lists/*.csv', 'lists/*.tsv', 'lists/*.parquet'], url_col: path, image_root: files}
  - {kind: list, paths: ['carried/*.jsonl'], url_col: path, image_root: files, extra_cols: [carried]}
  - {kind: folder, paths: ['folders/*']}
  - {kind: list, paths: ['bare/*.tsv'], columns: [caption, path], url_col: path, image_root: files}
  - {kind: list, paths: ['hashes/*.jsonl'], url_col: path, image_root: files, hash_col: sha256}
  - {kind: list, paths: ['cells/*.parquet'], image_col: image, image_root: files}
  - {kind: annotated, paths: ['sets/*'], files: ['*.json'], images: px}
  - {kind: webdataset, paths: ['tars/*.tar'], class_names: [A fish of the sea, A horse on a meadow]}
  - {kind: warc, paths: ['archives/*.warc.gz'], max_page_bytes: 1000000}
dedup: {images_per_caption: null}
fetch: {max_bytes: 2000000}
image: {image_size: 32}
curate: {identical_images: keep_all}
filter: {max_chars: 5000, max_words: 5000}
"""


OTHER = [
    ("bare", "tsv", BARE_CASES, bare_file),
    ("hashes", "jsonl", HASH_CASES, hash_file),
    ("tars", "tar", TAR_CASES, tar_file),
    ("cells", "parquet", CELL_CASES, cell_file),
]


@dataclass(frozen=True)
class Written:
    """An input: its file, and the cases that it holds."""

    label: str
    cases: list[Case]


def _is_carried(case: Case) -> bool:
    return b"carried" in case.data if isinstance(case.data, bytes) else "carried" in case.data


def write_inputs(folder: Path) -> list[Written]:
    """The recipe's inputs: each case alone, in its first format, and all of a format together."""
    for name in ("lists", "carried", "archives", "bare", "hashes", "tars", "cells"):
        (folder / name).mkdir()
    write_images(folder / "files")
    (folder / "recipe.yaml").write_text(RECIPE)
    inputs = []
    for form in TEXT:
        plain = [case for case in LIST_CASES if form in case.formats]
        carried = [case for case in plain if _is_carried(case)]
        for below, cases in (
            ("lists", [c for c in plain if c not in carried]),
            ("carried", carried),
        ):
            alone = [case for case in cases if form == case.formats[0]]
            groups = [([case], re.sub(r"[ /:]+", "-", case.name)) for case in alone]
            for group, name in [*groups, (cases, "all")]:
                if group:
                    label = f"{below}/{name}.{form}"
                    (folder / label).write_bytes(list_file(group, form, f"{below} {form} {name}"))
                    inputs.append(Written(label, group))
    (folder / "folders").mkdir()
    for cases in (*([case] for case in FOLDER_CASES), FOLDER_CASES):
        tag = cases[0].name.replace(" ", "-") if len(cases) == 1 else "all"
        write_folder(folder / "folders" / tag, cases, tag)
        inputs.append(Written(f"folders/{tag}", cases))
    for below, ext, table, write in OTHER:
        for cases in (*([case] for case in table), table):
            tag = cases[0].name.replace(" ", "-") if len(cases) == 1 else "all"
            (folder / f"{below}/{tag}.{ext}").write_bytes(write(cases, f"{below} {tag}"))
            inputs.append(Written(f"{below}/{tag}.{ext}", cases))
    for cases in (*([case] for case in SET_CASES), SET_CASES):
        tag = cases[0].name.replace(" ", "-") if len(cases) == 1 else "all"
        write_set(folder / "sets" / tag, cases, tag)
        inputs.append(Written(f"sets/{tag}", cases))
    names = [case.name for case in warc_cases("")]
    for number, name in enumerate(names):
        tag = name.replace(" ", "-").replace(":", "").replace(",", "")
        case = warc_cases(tag)[number]
        label = f"archives/{tag}.warc.gz"
        (folder / label).write_bytes(warc_file([case], tag))
        inputs.append(Written(label, [case]))
    together = [warc_cases(f"all {name}")[number] for number, name in enumerate(names)]
    (folder / "archives/all.warc.gz").write_bytes(warc_file(together, "all"))
    inputs.append(Written("archives/all.warc.gz", together))
    return inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> list[Written]:
    return write_inputs(folder)


@pytest.fixture(scope="module")
def corpus(folder: Path, inputs: list[Written]) -> Path:
    run_build(folder / "recipe.yaml", folder / "corpus", workers=1)
    return folder / "corpus"


def test_the_table_is_long_and_its_reasons_are_known() -> None:
    other = [case for _, _, table, _ in OTHER for case in table]
    cases = [*LIST_CASES, *FOLDER_CASES, *SET_CASES, *other, *warc_cases("")]
    assert len(cases) >= 150
    assert {reason for case in cases for reason in case.reasons} <= REASONS.keys()


def test_reading_each_input_raises_nothing(folder: Path, inputs: list[Written]) -> None:
    """Without a build, so that what raises is named."""
    recipe = parse_recipe((folder / "recipe.yaml").read_text())
    parts = find_inputs(recipe, str(folder))
    assert {part.label for part in parts} == {one.label for one in inputs}
    faults = {}
    for part in parts:
        settings = recipe.sources[part.source]
        (written,) = (one for one in inputs if one.label == part.label)
        try:
            found = list(read_slice(SOURCES[settings.kind], settings, part, Counter()))
        except Exception as error:
            faults[part.label] = repr(error)
            continue
        good = sum(isinstance(one, Pair) and str(one.caption).startswith("Good ") for one in found)
        if good != len(written.cases) + 1:
            faults[part.label] = f"{good} good neighbours"
    assert faults == {}


def test_each_hostile_record_has_its_reject_row(corpus: Path, inputs: list[Written]) -> None:
    rejects: dict[str, Counter[str]] = {}
    values: dict[tuple[str, str], list[str]] = {}
    for row in rows(corpus, "rejects"):
        rejects.setdefault(row["source"], Counter())[row["reason"]] += 1
        values.setdefault((row["source"], row["reason"]), []).append(str(row["value"]))
    faults = {}
    for one in inputs:
        wanted = Counter(reason for case in one.cases for reason in case.reasons)
        found = rejects.get(one.label, Counter())
        if found != wanted:
            faults[one.label] = (
                f"rejected {dict(found - wanted)}, expected {dict(wanted - found)}; "
                f"values {[v for (s, r), v in values.items() if s == one.label and r in found - wanted][:2]}"
            )
        elif len(one.cases) == 1:
            texts = [text for reason in found for text in values[one.label, reason]]
            if texts and not any(one.cases[0].value in text for text in texts):
                faults[one.label] = f"{one.cases[0].value!r} is not in {texts}"
    assert not faults, "\n" + "\n".join(f"{label}: {fault}" for label, fault in faults.items())


def test_every_good_neighbour_is_kept(corpus: Path, inputs: list[Written]) -> None:
    samples: dict[str, list[str]] = {}
    for row in rows(corpus, "shards"):
        samples.setdefault(row["source"], []).append(str(row["caption"]))
    faults = {}
    for one in inputs:
        captions = samples.get(one.label, [])
        good = sum(caption.startswith("Good ") for caption in captions)
        kept = len(captions) - good
        wanted = len(one.cases) + 1, sum(case.kept for case in one.cases)
        if (good, kept) != wanted:
            faults[one.label] = f"{good} good and {kept} hostile kept, expected {wanted}"
    assert not faults, "\n" + "\n".join(f"{label}: {fault}" for label, fault in faults.items())


def test_rows_in_are_rows_kept_and_rejected(corpus: Path) -> None:
    stages = json.loads((corpus / "stats/funnel.json").read_text())["stages"]
    rejected = Counter((row["stage"], row["reason"]) for row in rows(corpus, "rejects"))
    for stage in stages:
        assert stage["in"] == stage["out"] + sum(stage["rejected"].values()), stage
        for reason, count in stage["rejected"].items():
            assert rejected[stage["stage"], reason] == count
    assert sum(rejected.values()) == sum(sum(stage["rejected"].values()) for stage in stages)
    assert stages[0]["in"] == len(rows(corpus, "shards")) + sum(rejected.values())
