"""A reader of VQA sets: question-answer pairs, by the id of the image.

- VQA (Antol et al. 2015; v2: Goyal et al. 2017; visualqa.org): a file of questions, a file of
  annotations with ten answers each.
- GQA (Hudson and Manning 2019): one file, `{id: {imageId, question, answer, types}}`.
- A plain list: `[{"image_id": ..., "question": ..., "answer": ...}]`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from septet.preprocess.columns.image_sets import (
    ByImage,
    OtherSetError,
    Rows,
    add_rows,
    array,
    check_is_there,
    lay_aside,
    open_json,
    read_set,
    referring,
)
from septet.preprocess.columns.left_out import MALFORMED, text_of
from septet.preprocess.json_members import JsonError
from septet.preprocess.keyed import KeyedWriter
from septet.preprocess.questions.pairs import Question


def read_questions(questions: str, annotations: str = "") -> ByImage[Question]:
    """Read the pairs of a set. A malformed row costs itself, and is a fault of its image.

    Args:
        questions: VQA's file of questions, or a file of one of the other forms.
        annotations: VQA's file of annotations; empty with the other forms.

    Raises:
        ValueError: a file is missing, or has none of the forms; says what was expected.
    """
    check_is_there(questions, "questions")
    of_vqa = _is_vqa(questions)
    if of_vqa:
        if not annotations:
            raise ValueError(
                "VQA's questions need their annotations: set it with --set annotations=PATH"
            )
        check_is_there(annotations, "annotations")

    def fill(writer: KeyedWriter) -> Rows:
        try:
            return _vqa(writer, questions, annotations) if of_vqa else _listed(writer, questions)
        except (JsonError, OtherSetError):
            raise
        except MALFORMED as error:
            raise ValueError(
                f"questions {questions}: neither VQA's form (questions and annotations), nor GQA's "
                "({id: {imageId, question, answer}}), nor a list of {image_id, question, answer} "
                f"({type(error).__name__}: {error})"
            ) from error

    return read_set([questions, annotations if of_vqa else ""], Question, fill)


def _is_vqa(path: str) -> bool:
    """Whether a file is VQA's: an object with `questions`, where GQA's has a question a member."""
    for name, value in open_json(path, "questions"):
        if name == "questions":
            return True
        if name is None or (isinstance(value, dict) and "imageId" in value):
            return False
    return False


def _listed(writer: KeyedWriter, path: str) -> Rows:
    """Add a plain list's pairs, or GQA's."""

    def rows() -> Iterator[Any]:
        for name, value in open_json(path, "questions"):
            if name is None and isinstance(value, Iterator):
                yield from value
            else:
                yield value if name is None else (name, value)

    def image(row: Any) -> Any:
        return row[1]["imageId"] if isinstance(row, tuple) else row["image_id"]

    def read(row: Any) -> Question:
        return gqa_pair(row[1]) if isinstance(row, tuple) else plain_pair(row)

    return {"questions": add_rows(writer, rows(), image, read)}


def _vqa(writer: KeyedWriter, questions: str, annotations: str) -> Rows:
    counts: Rows = {}
    for name, value in open_json(annotations, "annotations"):
        if name == "annotations":
            fields = ("answers", "multiple_choice_answer", "answer_type")
            rows = array(value, "annotations")
            counts["annotations"] = lay_aside(writer, "annotation", rows, "question_id", *fields)
    if "annotations" not in counts:
        raise KeyError("annotations")

    def read(row: dict[str, Any]) -> Question | None:
        found = writer.aside("annotation", text_of(row["question_id"], "a question's id"))
        return None if found is None else vqa_pair(row["question"], found)

    for name, value in open_json(questions, "questions"):
        if name == "questions":
            rows = referring(
                array(value, "questions"), lambda row: row["question_id"], writer, "annotation",
                "no question has an annotation: are the two files of the same split?",
            )  # fmt: skip
            counts["questions"] = add_rows(
                writer, rows, lambda row: row["image_id"], read, without="unanswered"
            )
    return counts


def vqa_pair(question: Any, annotation: dict[str, Any]) -> Question:
    """The pair of a question of VQA and its annotation, with all answers.

    Raises:
        MALFORMED: one of them has another form, or no text.
    """
    counts = Counter(text_of(one["answer"], "an answer") for one in annotation.get("answers", ()))
    counts.pop("", None)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    best = annotation.get("multiple_choice_answer")
    if best is None or best == "":
        best = ranked[0][0] if ranked else ""
    kind = annotation.get("answer_type", "")
    return _told(question, best, kind, answers=tuple(ranked))


def gqa_pair(row: dict[str, Any]) -> Question:
    """The pair of a row of GQA; raises as `vqa_pair` does."""
    return _told(row["question"], row["answer"], (row.get("types") or {}).get("structural", ""))


def plain_pair(row: dict[str, Any]) -> Question:
    """The pair of a row with question and answer; raises as `vqa_pair` does."""
    return _told(row["question"], row["answer"], row.get("kind", ""), row.get("language", "en"))


def _told(
    question: Any,
    answer: Any,
    kind: Any,
    language: Any = "en",
    answers: tuple[tuple[str, int], ...] = (),
) -> Question:
    """Make a pair.

    Raises:
        MALFORMED: it has no text, or is of a wrong kind, as `Question.from_json` says.
    """
    pair = {"question": question.strip(), "answer": text_of(answer, "an answer"), "kind": kind}
    return Question.from_json({**pair, "language": language, "answers": answers})
