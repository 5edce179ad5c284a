import json
from pathlib import Path

import pytest

from septet.preprocess.columns.image_sets import ByImage, read_map
from septet.preprocess.questions.pairs import Question
from septet.preprocess.questions.sources import read_questions


def write(path: Path, value: object) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def pairs(found: ByImage[Question], *images: str) -> dict[str, list[Question]]:
    """The pairs by image, of a set that has no other images."""
    assert len(found.records) == len(images)
    return {image: found.of(image)[0] for image in images}


def answers(*texts: str) -> list[dict]:
    return [
        {"answer": text, "answer_confidence": "yes", "answer_id": i + 1}
        for i, text in enumerate(texts)
    ]


ASKED = {
    "info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {},
    "questions": [
        {"image_id": 458752, "question": "What is this photo taken looking through?", "question_id": 458752000},
        {"image_id": 458752, "question": "Is this man a pitcher?", "question_id": 458752002},
        {"image_id": 262146, "question": "How many dogs? ", "question_id": 262146000},
        {"image_id": 9, "question": "Unanswered?", "question_id": 1},
    ],
}  # fmt: skip
ANSWERED = {
    "info": {}, "license": {},
    "annotations": [
        {"question_type": "what", "multiple_choice_answer": "net", "image_id": 458752,
         "answers": answers("net", "net", "mesh", "fence", "mesh", "net", "", "net", "net", "net"),
         "answer_type": "other", "question_id": 458752000},
        {"question_type": "is", "multiple_choice_answer": "no", "image_id": 458752,
         "answers": answers(*["no"] * 10), "answer_type": "yes/no", "question_id": 458752002},
        {"question_type": "how many", "image_id": 262146, "answers": answers("2", "two", "2"),
         "answer_type": "number", "question_id": 262146000},
    ],
}  # fmt: skip


def test_vqa(tmp_path: Path) -> None:
    found = read_questions(write(tmp_path / "q.json", ASKED), write(tmp_path / "a.json", ANSWERED))
    assert pairs(found, "458752", "262146") == {
        "458752": [
            Question("What is this photo taken looking through?", "net", "other", "en",
                     (("net", 6), ("mesh", 2), ("fence", 1))),
            Question("Is this man a pitcher?", "no", "yes/no", "en", (("no", 10),)),
        ],
        "262146": [Question("How many dogs?", "2", "number", "en", (("2", 2), ("two", 1)))],
    }  # fmt: skip
    assert found.of("458752")[1] == [] and found.of("9") == ([], [])
    assert found.rows == {
        "annotations": {"given": 3, "used": 3},
        "questions": {"given": 4, "used": 3, "unanswered": 1},
    }


def test_a_malformed_row_costs_itself(tmp_path: Path) -> None:
    asked = {
        **ASKED,
        "questions": [*ASKED["questions"], None, {"question_id": 458752000, "image_id": 1}],
    }
    answered = {**ANSWERED, "annotations": [*ANSWERED["annotations"], "x", {"answers": 5}]}
    found = read_questions(write(tmp_path / "q.json", asked), write(tmp_path / "a.json", answered))
    assert [len(found.of(image)[0]) for image in ("262146", "458752", "1")] == [1, 2, 0]
    (fault,) = found.of("1")[1]
    assert len(found.records) == 3 and "'question'" in fault
    assert found.rows == {
        "annotations": {"given": 5, "used": 3, "malformed": 2},
        "questions": {"given": 6, "used": 3, "unanswered": 1, "no_image_id": 1, "malformed": 1},
    }


ASK = {"image_id": 7, "question": "Why?", "answer": "x"}
OF_VQA = {"image_id": 7, "question": "Why?", "question_id": 1}
OF_GQA = {"imageId": 7, "question": "Why?", "answer": "x"}
NO_TEXTS = (None, True, [], {}, "", " ", float("nan"), 10**400)


@pytest.mark.parametrize(
    ("rows", "answered"),
    [
        *(([{**ASK, "answer": odd}, ASK], None) for odd in NO_TEXTS),
        *(([{**ASK, field: odd}, ASK], None) for field in ("question", "kind", "language")
          for odd in (None, 3, [])),
        ({"a": {**OF_GQA, "answer": None}, "b": OF_GQA}, None),
        ({"a": {**OF_GQA, "types": {"structural": None}}, "b": OF_GQA}, None),
        ({"a": {**OF_GQA, "types": 3}, "b": OF_GQA}, None),
        ({"questions": [{**OF_VQA, "question_id": []}, OF_VQA]}, {}),
        ({"questions": [{**OF_VQA, "question": None}, OF_VQA]}, {}),
        *(({"questions": [{**OF_VQA, "question_id": 2}, OF_VQA]}, odd) for odd in (
            {"answers": [{"answer": None}]}, {"answers": []}, {"answers": None},
            {"multiple_choice_answer": []}, {"multiple_choice_answer": "x", "answer_type": None},
        )),
    ],
)  # fmt: skip
def test_of_the_rows_of_a_set_each_is_a_pair_or_a_fault(
    tmp_path: Path, rows: object, answered: dict | None
) -> None:
    annotations = ""
    if answered is not None:
        good = {"question_id": 1, "multiple_choice_answer": "x"}
        odd = [{"question_id": []}, {"question_id": {}}, {**answered, "question_id": 2}]
        annotations = write(tmp_path / "a.json", {"annotations": [*odd, good]})
    found = read_questions(write(tmp_path / "q.json", rows), annotations)
    assert pairs(found, "7") == {"7": [Question("Why?", "x", "")]}
    assert len(found.of("7")[1]) == 1
    assert found.rows["questions"] == {"given": 2, "used": 1, "malformed": 1}


@pytest.mark.parametrize(("answer", "told"), [(3, "3"), (0, "0"), (0.5, "0.5"), (" x ", "x")])
def test_numbers_pass_for_answers(tmp_path: Path, answer: object, told: str) -> None:
    rows = [{"image_id": odd, "question": "Why?", "answer": "x"} for odd in (None, [], {}, True)]
    found = read_questions(write(tmp_path / "q.json", [*rows, {**ASK, "answer": answer}]))
    assert pairs(found, "7") == {"7": [Question("Why?", told, "")]} and not found.of("7")[1]
    assert found.rows == {"questions": {"given": 5, "used": 1, "no_image_id": 4}}
    answered = {"annotations": [{"question_id": 1, "multiple_choice_answer": answer}]}
    asked = write(tmp_path / "q.json", {"questions": [OF_VQA]})
    of_vqa = read_questions(asked, write(tmp_path / "a.json", answered))
    assert pairs(of_vqa, "7") == pairs(found, "7")


def test_gqa_and_plain_lists(tmp_path: Path) -> None:
    gqa = {"02930152": {"imageId": "2354786", "question": "Is the sky dark?", "answer": "yes",
                        "types": {"structural": "verify"}, "isBalanced": True},
           "07333408": {"imageId": "2375429", "question": "What is on the wall?", "answer": "pipe"}}  # fmt: skip
    found = read_questions(write(tmp_path / "gqa.json", gqa))
    assert pairs(found, "2354786", "2375429") == {
        "2354786": [Question("Is the sky dark?", "yes", "verify")],
        "2375429": [Question("What is on the wall?", "pipe", "")],
    }
    plain = [{"image_id": 7, "question": "Wie viele?", "answer": 3, "language": "de"},
             {"image_id": 7, "question": "", "answer": "x"}]  # fmt: skip
    assert pairs(read_questions(write(tmp_path / "plain.json", plain)), "7") == {
        "7": [Question("Wie viele?", "3", "", "de")]
    }


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    asked = write(tmp_path / "q.json", ASKED)
    with pytest.raises(ValueError, match="--set annotations=PATH"):
        read_questions(asked)
    with pytest.raises(ValueError, match=r"no such file '/none'; set it with --set questions"):
        read_questions("/none")
    with pytest.raises(ValueError, match="of the same split"):
        read_questions(asked, write(tmp_path / "a.json", {"annotations": []}))
    for wrong in ([3], {"a": {"question": "?"}}, "text", {"questions": [{"question": "?"}]}):
        with pytest.raises(ValueError, match="neither VQA's form"):
            read_questions(write(tmp_path / "w.json", wrong), asked)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        read_questions(str(tmp_path / "broken.json"))
    with pytest.raises(ValueError, match="expected a JSON object"):
        read_map(write(tmp_path / "m.json", [1]))
    found = read_map(write(tmp_path / "m.json", {"key": 12, "k": None}))
    assert found.get("key") == [(0, "12")] and len(found) == 1
    with pytest.raises(ValueError, match=r"image_map .*: key: TypeError: an image id that is list"):
        read_map(write(tmp_path / "m.json", {"key": []}))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="no JSON"):
        read_questions(str(tmp_path / "deep.json"))
