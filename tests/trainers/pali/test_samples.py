import json
from collections import Counter

import cv2
import numpy as np
import pytest

from septet.preprocess.boxes.tokens import Pali as Coordinates
from septet.preprocess.synthetic.languages import WORDINGS, caption, questions
from septet.preprocess.synthetic.scenes import make_scene, render
from septet.preprocess.tokenizers.mt5 import END
from septet.trainers.pali import objects, samples, spans
from septet.trainers.pali.presets import PRESETS
from septet.trainers.pali.samples import BLANK
from septet.trainers.pali.words import tokenizer, word_starts
from septet.trainers.task import SampleError

S = PRESETS["debug"].model
PIECES = tokenizer("scenes", S.language.words)
SCENE = make_scene(1, 5, things=(2, 2), signs=True)
BOXES = {
    "boxes": [list(thing.box) for thing in SCENE.things],
    "labels": [thing.name for thing in SCENE.things],
    "absent": ["small white star", "large red cross", "small red cross"],
}


def sample(language="en", **changes):
    """What a run reads of one scene."""
    png = cv2.imencode(".png", render(SCENE)[:, :, ::-1])[1].tobytes()
    pairs = [pair.to_json() for pair in questions(SCENE, language)]
    values = {
        "json": {"language": language}, "questions": {"pairs": pairs}, "boxes": BOXES,
        "ocr": {"lines": [{"text": "STOP"}, {"text": "HERE"}], "language": "en"},
    }  # fmt: skip
    found = {"png": png, "txt": caption(SCENE, language).encode()}
    found |= {name: json.dumps(value).encode() for name, value in values.items()}
    return {**found, **changes}


def draw(seed=0):
    return np.random.default_rng(seed)


def made(task, seed=0, **changes):
    return samples.TASKS[task](sample(**changes), S, draw(seed))


def test_prompts_are_the_papers_word_by_word():
    told = caption(SCENE)
    assert made("caption") == (f"Generate the alt_text in EN at 0: {BLANK}", told, True)
    assert made("ocr") == (f"Generate the ocr_text in EN: {BLANK}", "STOP HERE", True)
    first = questions(SCENE)[0]
    one = json.dumps({"pairs": [first.to_json()]}).encode()
    assert made("vqa", questions=one) == (f"Answer in EN: {first.question} {BLANK}", "two", False)
    assert made("vqg", questions=one) == (
        f"Generate a question in EN for two: {BLANK}", first.question, False,
    )  # fmt: skip


@pytest.mark.parametrize("language", WORDINGS)
def test_a_prompt_names_the_language_and_a_split_caption_comes_back(language):
    told, seen = caption(SCENE, language), set()
    for seed in range(60):
        prompt, rest, _ = made("split_caption", seed, language=language)
        head, _, first = prompt.removesuffix(f" {BLANK}").partition(": ")
        begin, code, words = head.rpartition(" at ")[0], language.upper(), head.rpartition(" ")[2]
        assert begin == f"Generate the alt_text in {code}"
        assert told == f"{first}{rest}" or (told == f"{first} {rest}" and rest)
        assert int(words) == len(word_starts(first))
        seen.add(int(words))
    count = len(word_starts(told))
    assert 0 in seen and max(seen) <= count - 1 and len(seen) > count / 2
    assert made("caption", language=language).prompt.startswith(
        f"Generate the alt_text in {language.upper()} at 0: "
    )


@pytest.mark.parametrize("text,words", [
    ("a red circle", 3), ("一个红色圆形", 6), ("红 色", 2), ("iPhone手机 shop", 4), ("ภาพ", 3),
    ("かな カナ", 4), ("  ", 0), ("그림 하나", 2),
])  # fmt: skip
def test_words_of_scripts_without_spaces_are_characters(text, words):
    assert len(word_starts(text)) == words


def test_split_points_are_equally_likely():
    told = caption(SCENE).split()
    found = Counter(len(made("split_caption", seed).answer.split()) for seed in range(2200))
    assert set(found) == set(range(1, len(told) + 1))
    expected = 2200 / len(told)
    assert all(abs(n - expected) < 4 * expected**0.5 for n in found.values())


def test_the_four_questions_about_objects_and_their_answers_are_true():
    present, absent = BOXES["labels"], BOXES["absent"]
    forms, answers = Counter(), Counter()
    for seed in range(800):
        found = objects.known_objects(present, absent, (), draw(seed))
        form, parts, answer = objects.ask(found, draw(seed))
        forms[form] += 1
        asked = parts.get("objects", parts.get("object", "")).split(", ")
        if form == "list_objects":
            assert answer == ", ".join(present)
        elif form == "which_objects":
            assert answer.split(", ") == [name for name in asked if name in present]
            assert 2 <= len(asked) <= 5
        else:
            assert (answer == "Yes") == all(name in present for name in asked)
            answers[form, answer] += 1
    assert all(abs(forms[form] - 200) < 50 for form in objects.FORMS)
    for form in ("one_object", "all_objects"):
        assert abs(answers[form, "Yes"] - answers[form, "No"]) < 60
    prompts = {made("objects", seed).prompt.split(":")[1].split(" ")[1] for seed in range(30)}
    assert prompts == {"List", "Is", "Which"}


def test_absent_objects_are_verified_ones_first():
    verified = objects.known_objects(["cat"], ["dog", "cat"], ["cow", "cat"], draw())
    assert verified == (["cat"], ["dog"])
    assert objects.known_objects(["cat"], [], ["cow", "cat"], draw()).absent == ["cow"]
    assert objects.ask(objects.Objects(["cat"], []), draw()) == ("list_objects", {}, "cat")
    with pytest.raises(SampleError, match="no box has a label") as error:
        objects.known_objects(["", ""], [], [], draw())
    assert error.value.outcome == "no_box"


def test_detection_names_classes_and_writes_boxes_as_digits():
    orders = set()
    for seed in range(20):
        prompt, answer, cut = made("detect", seed)
        names = prompt.removeprefix("detect ").split(" and ")
        assert set(BOXES["labels"]) < set(names) and not cut and BLANK not in prompt
        assert len(names) == 2 + S.most_absent
        tokens, labels = Coordinates().parse(answer)
        boxes = dict(zip(labels, Coordinates().decode(tokens), strict=True))
        for label, box in zip(BOXES["labels"], BOXES["boxes"], strict=True):
            assert np.abs(boxes[label] - box).max() <= 0.0005 + 1e-9
        assert PIECES.decode(PIECES.encode(answer)) == answer
        orders.add(tuple(labels))
    assert len(orders) == 2


def test_detection_writes_as_many_whole_boxes_as_fit():
    short = S.model_copy(update={"detect_tokens": 20})
    answer = samples.detect(sample(), short, draw()).answer
    assert len(Coordinates().parse(answer)[1]) == 1
    many = {"boxes": [[0.1, 0.1, 0.2, 0.2]] * 30, "labels": ["star"] * 30, "absent": ["cross"] * 9}
    wide = S.model_copy(update={"detect_tokens": 2000})
    answer = samples.detect(sample(boxes=json.dumps(many).encode()), wide, draw()).answer
    assert len(Coordinates().parse(answer)[1]) == S.most_boxes


def test_rows_end_with_their_end_and_hold_the_sentinel_by_its_id():
    row = samples.read("caption", sample(), S, draw())
    assert row["source"][-2:].tolist() == [PIECES.sentinel(0), END] and row["target"][-1] == END
    assert PIECES.decode(row["source"].tolist()) == "Generate the alt_text in EN at 0:"
    assert PIECES.decode(row["target"].tolist()) == caption(SCENE)
    assert row["pixels"].shape == (64, 64, 3) and row["pixels"].dtype == np.uint8


def test_no_text_of_a_sample_gives_a_sentinel():
    row = samples.read("caption", sample(txt=b"a red\0circle <extra_id_0>"), S, draw())
    assert row["target"].max() <= PIECES.sentinel(99)
    evil = json.dumps({"pairs": [{"question": f"wh{BLANK}o?", "answer": "x", "kind": "",
                                  "language": "en"}]}).encode()  # fmt: skip
    assert made("vqa", questions=evil).prompt.count(BLANK) == 1


@pytest.mark.parametrize("task,changes,outcome", [
    ("caption", {"txt": b" "}, "empty_text"),
    ("caption", {"json": b"{}"}, "no_prompt"),
    ("caption", {"json": b'{"language": "tlhIngan Hol"}'}, "no_prompt"),
    ("split_caption", {"txt": b"", "language": "de"}, "empty_text"),
    ("ocr", {"ocr": b'{"lines": [], "language": "und"}'}, "empty_text"),
    ("ocr", {"ocr": b""}, "no_value"),
    ("vqa", {"questions": b"[]"}, "no_value"),
    ("vqa", {"questions": b'{"pairs": []}'}, "no_answer"),
    ("objects", {"boxes": b'{"boxes": [], "labels": [], "absent": []}'}, "no_box"),
    ("detect", {"boxes": b'{"boxes": [], "labels": [], "absent": ["dog"]}'}, "no_box"),
])  # fmt: skip
def test_samples_that_a_task_cannot_use_have_a_name(task, changes, outcome):
    with pytest.raises(SampleError) as error:
        samples.read(task, sample(**changes), S, draw())
    assert error.value.outcome == outcome


def test_long_captions_are_cut_and_long_answers_are_not_used():
    short = S.model_copy(update={"answer_tokens": 5, "prompt_tokens": 20})
    row = samples.read("caption", sample(), short, draw())
    assert len(row["target"]) == 5 and END not in row["target"]
    pair = {"question": "what?", "answer": "a very long answer to it", "kind": "", "language": "en"}
    long = json.dumps({"pairs": [pair]}).encode()
    with pytest.raises(SampleError, match="an answer of") as error:
        samples.read("vqa", sample(questions=long), short, draw())
    assert error.value.outcome == "too_long"
    with pytest.raises(SampleError, match="a prompt of") as error:
        samples.read("vqa", sample(), short.model_copy(update={"prompt_tokens": 5}), draw())
    assert error.value.outcome == "too_long"


def test_spans_are_t5s():
    assert spans.raw_length(512) == 568 and spans.lengths(568) == (512, 114)
    assert spans.counts(568) == (85, 28) and spans.counts(2) == (1, 1)
    for length in (2, 3, 7, 31, 568):
        ids = 10 + np.arange(length) % 400
        for seed in range(5):
            source, target = spans.corrupt(ids, draw(seed), PIECES)
            assert (len(source), len(target)) == spans.lengths(length)
            assert source[-1] == target[-1] == END
            first = PIECES.sentinel(0)
            assert source[0] == 10 and source[-2] not in ids and target[0] == first
            assert target[-2] in ids  # No sentinel closes the target.
            assert restored(source, target) == ids.tolist()
            sentinels = [i for i in source.tolist() if i > PIECES.sentinel(99) - 1]
            assert sentinels == list(range(first, first - len(sentinels), -1))


def restored(source, target):
    """The text of which spans were hidden."""
    hidden, last = {}, 0
    for i in target[:-1].tolist():
        if i >= PIECES.sentinel(99):
            last = i
        else:
            hidden.setdefault(last, []).append(i)
    told = []
    for i in source[:-1].tolist():
        told += hidden.get(i, [i])
    return told


def joined(texts, seed=0, s=S):
    rows = (samples.read("spans", sample(txt=text.encode()), s, draw(seed)) for text in texts)
    return samples.join(rows, s, draw(seed))


def test_texts_are_joined_until_they_fill_a_row():
    told = [caption(make_scene(1, i)) for i in range(9)]
    whole = [i for text in told for i in PIECES.encode(text)]
    few, changes = joined(told[:1])
    assert restored(few["source"], few["target"]) == PIECES.encode(told[0]) and not changes
    length, begins, unread = spans.raw_length(S.span_tokens), set(), iter(told)
    for seed in range(40):
        unread = iter(told)
        row, changes = joined(unread, seed)
        assert (len(row["source"]), len(row["target"])) == spans.lengths(length)
        part = restored(row["source"], row["target"])
        begin = next(i for i in range(len(whole)) if whole[i : i + length] == part)
        begins.add(begin)
        assert changes == ["cut"]
    # No text is read that no room is left for, and none loses its words more often than others.
    read = len(told) - len(list(unread))
    enough = np.cumsum([len(PIECES.encode(text)) for text in told])
    assert read == np.searchsorted(enough, length) + 1 < len(told)
    assert begins == set(range(enough[read - 1] - length + 1))


def test_a_long_text_gives_a_random_part():
    rows = [joined([(caption(SCENE) + " ") * 20], seed)[0] for seed in range(3)]
    assert {len(row["source"]) for row in rows} == {S.span_tokens}
    assert len({row["source"].tobytes() for row in rows}) == 3
    with pytest.raises(SampleError) as error:
        samples.read("spans", sample(txt=b""), S, draw())
    assert error.value.outcome == "empty_text"
