"""Columns that are made of annotated sets: what of a set is used stands in the manifest and the
report."""

import json
from pathlib import Path

import pytest

from septet.pipelines.report.page import report_page
from septet.pipelines.report.statistics import column_figures, corpus_statistics
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.annotate.test_annotate import faults
from tests.pipelines.report.test_report_page import Elements


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    run_build(write_site(folder / "in"), folder / "corpus")
    return folder / "corpus"


def write(path: Path, value: object) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def set_of(folder: Path, keys: list[str]) -> dict[str, str]:
    """A VQA set with what published ones have: questions without image or answer, rows that came
    twice, images that the corpus lacks; the image of every sample but the first is in it."""
    asked = [
        {"image_id": n, "question": f"How many are in {n}?", "question_id": n}
        for n in range(1, len(keys) + 5)
    ]
    asked += [{"question": "Where?", "question_id": 1}, {"image_id": 1, "question_id": 2}]
    asked += [{"image_id": 3, "question": "Who?", "question_id": 10**6}]
    answered = [
        {"question_id": row["question_id"], "multiple_choice_answer": str(n % 3)}
        for n, row in enumerate(asked[:-1])
    ]
    return {
        "source": "set",
        "questions": write(folder / "questions.json", {"info": {}, "questions": asked}),
        "annotations": write(folder / "answers.json", {"annotations": [*answered, {"x": 1}]}),
        "image_map": write(folder / "map.json", {key: n for n, key in enumerate(keys)}),
    }


def test_given_rows_are_used_or_counted_by_reason(corpus: Path, tmp_path: Path) -> None:
    keys = [json.loads(sample["json"])["key"] for sample in Corpus(str(corpus))]
    made = run_annotation(corpus, "questions", set_of(tmp_path, keys), name="vqa", workers=2)
    given = len(keys) + 7
    assert made.rows == {
        "annotations": {"given": given, "used": given - 3, "malformed": 1, "repeated": 2},
        "questions": {
            "given": given, "used": len(keys) + 4, "malformed": 1, "no_image_id": 1,
            "unanswered": 1,
        },
    }  # fmt: skip
    for counts in made.rows.values():
        assert counts["given"] == sum(n for why, n in counts.items() if why != "given")
    assert made.counts == {"samples": len(keys), "values": len(keys) - 1, "no_question": 1}
    assert faults(corpus) == []
    (figures,) = column_figures(str(corpus))
    assert figures.rows == made.rows and sum(n["samples"] for n in figures.languages.values())
    text = " ".join(
        "".join(Elements(report_page(str(corpus), corpus_statistics(str(corpus)))).text).split()
    )
    assert (
        f"questions: {len(keys) + 4} of {given} rows are used. malformed: 1. no image id: 1."
        in text
    )


def test_a_set_of_another_form_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    before = sorted(corpus.rglob("*"))
    settings = {"source": "set", "questions": write(tmp_path / "q.json", [{"caption": "a dog"}])}
    with pytest.raises(ValueError, match="neither VQA's form"):
        run_annotation(corpus, "questions", settings, name="odd")
    assert sorted(corpus.rglob("*")) == before and faults(corpus) == []
