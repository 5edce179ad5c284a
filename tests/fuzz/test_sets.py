"""Annotated sets of rows whose fields hold anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources.base import Pair
from septet.schemas.reasons import REASONS, Rejected
from tests.pipelines.sources.test_annotated import found_in

FIELDS = [
    "id",
    "image_id",
    "imageId",
    "ann_id",
    "question_id",
    "category_id",
    "dataset_id",
    "annotator_id",
    "object_id",
    "region_id",
    "relationship_id",
    "qa_id",
    "file_name",
    "url",
    "name",
    "names",
    "caption",
    "timed_caption",
    "traces",
    "utterance",
    "start_time",
    "end_time",
    "x",
    "y",
    "w",
    "h",
    "t",
    "width",
    "height",
    "bbox",
    "iscrowd",
    "segments_info",
    "sentences",
    "sent",
    "raw",
    "question",
    "answer",
    "answers",
    "multiple_choice_answer",
    "answer_type",
    "types",
    "regions",
    "phrase",
    "objects",
    "attributes",
    "relationships",
    "relations",
    "subject",
    "object",
    "predicate",
    "qas",
]
CSV = [
    "ImageID",
    "LabelName",
    "LabelName1",
    "LabelName2",
    "DisplayName",
    "Source",
    "Confidence",
    "XMin",
    "XMax",
    "YMin",
    "YMax",
    "IsGroupOf",
    "RelationshipLabel",
    "OriginalURL",
]
MEMBERS = ["images", "annotations", "categories", "questions", "info", "7", ""]
PLAIN = (
    st.sampled_from([1, 7, "7", "", "a.jpg", "http://e.org/x/a.jpg", None, True, 0.5, -1, 1e308])
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=12,
)
ROWS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8) | VALUES
SETS = st.dictionaries(st.sampled_from(MEMBERS), st.lists(ROWS, max_size=5) | ROWS, max_size=4)
TABLES = st.lists(st.dictionaries(st.sampled_from(CSV), st.text("a1-./m,\"\n", max_size=5)), max_size=5)  # fmt: skip


@given(SETS | st.lists(ROWS, max_size=5), st.lists(ROWS, max_size=5), TABLES)
def test_no_row_of_a_set_ends_it(
    tmp_path_factory: pytest.TempPathFactory,
    one: Any,
    lines: list[Any],
    table: list[dict[str, str]],
) -> None:
    folder = tmp_path_factory.mktemp("set") / "in"
    folder.mkdir()
    image = {"id": "kept", "file_name": "kept.jpg", "width": 8, "height": 8}
    (folder / "a.json").write_text(json.dumps(one))
    (folder / "b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "c.csv").write_text("\n".join([",".join(CSV), *(_line(row) for row in table)]))
    (folder / "z.json").write_text(json.dumps({"images": [image]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEPTET_CACHE", f"{folder}-cache")  # else each example looks through all
        found = found_in(folder, files=["*"])
    assert all(one.reason in REASONS for one in found if isinstance(one, Rejected))
    assert "data/set/kept.jpg" in {one.image_url for one in found if isinstance(one, Pair)}
    for pair in found:
        if isinstance(pair, Pair):
            extra = json.loads(pair.extra or "")
            assert len(extra.get("boxes", [])) == len(extra.get("labels", []))


def _line(row: dict[str, str]) -> str:
    return ",".join('"' + row.get(name, "").replace('"', '""') + '"' for name in CSV)
