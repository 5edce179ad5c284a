"""A reader of VQA sets: question-answer pairs, by the id of the image.

- VQA (Antol et al. 2015; v2: Goyal et al. 2017; visualqa.org): a file of questions, a file of
  annotations with ten answers each.
- GQA (Hudson and Manning 2019): one file, `{id: {imageId, question, answer, types}}`.
- A plain list: `[{"image_id": ..., "question": ..., "answer": ...}]`.
"""

from collections import Counter
from typing import Any

from septet.preprocess.columns.image_sets import ByImage, by_id, by_image, read_json
from septet.preprocess.columns.left_out import MALFORMED, text_of
from septet.preprocess.questions.pairs import Question


def read_questions(questions: str, annotations: str = "") -> ByImage[Question]:
    """Read the pairs of a set. A malformed row costs itself, and is a fault of its image.

    Args:
        questions: VQA's file of questions, or a file of one of the other forms.
        annotations: VQA's file of annotations; empty with the other forms.

    Raises:
        ValueError: a file is missing, or has none of the forms; says what was expected.
    """
    asked = read_json(questions, "questions")
    answered = None
    if isinstance(asked, dict) and "questions" in asked:
        if not annotations:
            raise ValueError(
                "VQA's questions need their annotations: set it with --set annotations=PATH"
            )
        answered = read_json(annotations, "annotations")
    try:
        if answered is not None:
            return _vqa(asked["questions"], answered["annotations"])
        if isinstance(asked, dict):
            return by_image(asked.values(), lambda row: row["imageId"], _gqa)
        return by_image(asked, lambda row: row["image_id"], _plain)
    except _OtherSplitError:
        raise
    except MALFORMED as error:
        raise ValueError(
            f"questions {questions}: neither VQA's form (questions and annotations), nor GQA's "
            "({id: {imageId, question, answer}}), nor a list of {image_id, question, answer} "
            f"({type(error).__name__}: {error})"
        ) from error


class _OtherSplitError(ValueError):
    """Raised when a set's two files are of different splits."""


def _vqa(questions: list[Any], annotations: list[Any]) -> ByImage[Question]:
    given = by_id(annotations, "question_id")

    def read(row: dict[str, Any]) -> Question | None:
        annotation = given.get(text_of(row["question_id"], "a question's id"))
        return None if annotation is None else _answered(row["question"], annotation)

    if not by_id(questions, "question_id").keys() & given.keys():
        raise _OtherSplitError(
            "no question has an annotation: are the two files of the same split?"
        )
    return by_image(questions, lambda row: row["image_id"], read)


def _answered(question: Any, annotation: dict[str, Any]) -> Question:
    counts = Counter(text_of(one["answer"], "an answer") for one in annotation.get("answers", ()))
    counts.pop("", None)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    best = annotation.get("multiple_choice_answer")
    if best is None or best == "":
        best = ranked[0][0] if ranked else ""
    kind = annotation.get("answer_type", "")
    return _told(question, best, kind, answers=tuple(ranked))


def _gqa(row: dict[str, Any]) -> Question:
    return _told(row["question"], row["answer"], (row.get("types") or {}).get("structural", ""))


def _plain(row: dict[str, Any]) -> Question:
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
