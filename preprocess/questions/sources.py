"""Question-answer pairs of VQA sets, by the id of the image.

- VQA (Antol et al. 2015; v2: Goyal et al. 2017; visualqa.org): a file of questions, a file of
  annotations with ten answers each.
- GQA (Hudson and Manning 2019): one file, `{id: {imageId, question, answer, types}}`.
- A plain list: `[{"image_id": ..., "question": ..., "answer": ...}]`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from septet.preprocess.columns.image_sets import read_json
from septet.preprocess.questions.pairs import Question

ByImage = dict[str, list[Question]]


def read_questions(questions: str, annotations: str = "") -> ByImage:
    """The pairs of a set.

    Args:
        questions: VQA's file of questions, or a file of one of the other forms.
        annotations: VQA's file of annotations; empty with the other forms.

    Raises:
        ValueError: a file is missing, or has none of the forms; says what was expected.
    """
    asked = read_json(questions, "questions")
    try:
        if isinstance(asked, dict) and "questions" in asked:
            if not annotations:
                raise ValueError(
                    "VQA's questions need their annotations: set it with --set annotations=PATH"
                )
            return _vqa(asked["questions"], read_json(annotations, "annotations")["annotations"])
        if isinstance(asked, dict):
            return _grouped((row["imageId"], _gqa(row)) for row in asked.values())
        return _grouped((row["image_id"], _plain(row)) for row in asked)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"questions {questions}: neither VQA's form (questions and annotations), nor GQA's "
            "({id: {imageId, question, answer}}), nor a list of {image_id, question, answer} "
            f"({type(error).__name__}: {error})"
        ) from error


def _grouped(pairs: Iterable[tuple[Any, Question]]) -> ByImage:
    found: ByImage = {}
    for image, pair in pairs:
        if pair.question and pair.answer:
            found.setdefault(str(image), []).append(pair)
    return found


def _vqa(questions: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> ByImage:
    given = {row["question_id"]: row for row in annotations}
    missing = sum(row["question_id"] not in given for row in questions)
    if missing == len(questions):
        raise ValueError("no question has an annotation: are the two files of the same split?")
    return _grouped(
        (row["image_id"], _answered(row["question"], given[row["question_id"]]))
        for row in questions
        if row["question_id"] in given
    )


def _answered(question: str, annotation: dict[str, Any]) -> Question:
    counts = Counter(str(one["answer"]).strip() for one in annotation.get("answers", ()))
    counts.pop("", None)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    best = annotation.get("multiple_choice_answer") or (ranked[0][0] if ranked else "")
    kind = annotation.get("answer_type", "")
    return Question(question.strip(), str(best).strip(), str(kind), answers=tuple(ranked))


def _gqa(row: dict[str, Any]) -> Question:
    kind = (row.get("types") or {}).get("structural", "")
    return Question(row["question"].strip(), str(row["answer"]).strip(), str(kind))


def _plain(row: dict[str, Any]) -> Question:
    kind, language = str(row.get("kind", "")), str(row.get("language", "en"))
    return Question(row["question"].strip(), str(row["answer"]).strip(), kind, language)
