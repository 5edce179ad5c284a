import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from septet.preprocess.questions.pairs import Question
from septet.trainers.draws import generator
from septet.trainers.loader.side import SideFiles
from septet.trainers.ofa import samples
from septet.trainers.ofa.lists import Negatives
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.ofa.spans import hide_spans, lengths
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.ofa.views import around, augment, centre, jittered
from septet.trainers.task import Batch, ReadSample, SampleError

DEBUG = PRESETS["debug"].model.model_copy(update={"objects_column": "objects"})
WORDS = vocabulary(DEBUG)
LISTS = ("captions.txt", "objects.txt", "answers.jsonl")


@pytest.fixture(scope="module")
def negatives(tmp_path_factory) -> Negatives:
    folder = tmp_path_factory.mktemp("lists")
    (folder / LISTS[0]).write_text("a red star\na blue square\na green cross\n")
    (folder / LISTS[1]).write_text("star\nsquare\ncross\n")
    rows = [{"kind": "color", "answers": ["red", "blue", "green"]},
            {"kind": "number", "answers": ["0", "1", "2", "9"]},
            {"kind": "other", "answers": ["large", "small", "yes"]}]  # fmt: skip
    (folder / LISTS[2]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {name: str(folder / name) for name in LISTS}
    return Negatives([SideFiles("scenes", paths)], LISTS)


def image(width: int = 80, height: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def sample(width: int = 80, height: int = 64, **members) -> ReadSample:
    out = io.BytesIO()
    Image.fromarray(image(width, height)).save(out, "PNG")
    given = {n: x if isinstance(x, bytes) else json.dumps(x).encode() for n, x in members.items()}
    return ReadSample({"png": out.getvalue(), **given}, key="k", corpus="scenes")


def told(ids) -> str:
    return WORDS.decode(np.asarray(ids).tolist())


@pytest.mark.parametrize("language,asked,region", [
    ("zh", "图片描述了什么？", "区域描述了什么？ 区域："),
    ("de", "was zeigt das Bild?", "was zeigt der Bereich? Bereich:"),
    (None, "what does the image describe?", "what does the region describe? region:"),
])  # fmt: skip
def test_texts_are_asked_for_in_their_own_language(language, asked, region, negatives):
    s = DEBUG.model_copy(update={"languages": ("en", "de", "zh"), "words": 900})
    words = vocabulary(s)
    phrases = {"boxes": [[0.1, 0.1, 0.5, 0.5]], "phrases": ["一个圆形"]}
    given = sample(txt="一个红色圆形".encode(), phrases=phrases)
    given.language = language
    (caption,) = samples.captions(given, s, None, negatives)
    assert words.decode(caption.source) == asked
    assert words.decode(caption.target) == "一个红色圆形"
    box, (phrase,) = samples.boxed(given, "phrases")
    _, named = samples.regions(phrase, box, s, samples.language_of(given, s))
    assert words.decode(named.source[:-4]) == region
    # Without languages all is taken for English, as published.
    (plain,) = samples.captions(given, DEBUG, None, negatives)
    assert told(plain.source) == "what does the image describe?"


def test_captions_are_cleaned_as_published():
    assert samples.clean(",.!?*#:;~ A Dog-like  thing/one <person>\n", 99) == (
        "a dog like thing one person"
    )
    assert samples.clean("<person> one two three", 2, question=True) == "<person> one"
    assert samples.clean(" - / ", 5) == ""


def test_a_caption_gives_itself_and_whether_a_text_describes_the_image(negatives):
    one = sample(txt=b"A red STAR.", objects={"objects": ["star"]})
    found = []
    for i in range(400):
        first, second = samples.captions(one, DEBUG, generator("measure", str(i)), negatives)
        assert told(first.source) == "what does the image describe?"
        assert told(first.target) == "a red star." and first.target[-1] == 2
        text = told(second.source).removeprefix('does the image describe "').removesuffix('"?')
        found.append((told(second.target), text.strip()))
    right = [text for answer, text in found if answer == "yes"]
    wrong = [text for answer, text in found if answer == "no"]
    assert abs(len(right) - 200) < 3.5 * 10 and set(right) == {"a red star."}
    assert "a red star." not in wrong
    exchanged = [text for text in wrong if text in ("a red square.", "a red cross.")]
    assert abs(len(exchanged) / len(wrong) - 0.4) < 0.12  # Of those with a known object.
    assert {"a blue square", "a green cross"} <= set(wrong)
    (alone,) = samples.captions(one, DEBUG, None, negatives)
    assert told(alone.target) == "a red star."


def test_of_some_corpora_the_first_two_tokens_are_not_scored(negatives):
    one = sample(txt=b"a red star")
    one.corpus = "cc12m"
    negatives = Negatives()
    row = samples.read("captions", one, DEBUG, None, negatives)
    assert row["unscored"].tolist() == [2]
    data = {name: torch.from_numpy(np.asarray(x))[None] for name, x in row.items()}
    before, target, scored, _ = samples.targets(Batch("pairs", data))
    assert scored[0].tolist() == [False, False] + [True] * (target.shape[1] - 2)
    assert before[0, 0] == 0 and torch.equal(before[0, 1:], target[0, :-1])


def test_a_question_is_weighted_by_how_sure_people_were(negatives):
    pairs = [{"question": "What color is it?", "answer": "Red", "kind": "color", "language": "en",
              "answers": [["Red", 6], ["pink", 4]]}]  # fmt: skip
    one = sample(questions={"pairs": pairs})
    kinds = {"color": set(), "other": set()}
    for i in range(300):
        first, second = samples.questions(one, DEBUG, generator("measure", str(i)), negatives)
        assert told(first.source) == "what color is it?" and told(first.target) == "red"
        assert first.weight == second.weight == 0.6
        answer = told(second.source).split('is "')[1].removesuffix('"?').strip()
        if told(second.target) == "yes":
            assert answer == "red"
        else:
            assert answer != "red"
            kinds["color" if answer in ("blue", "green") else "other"].add(answer)
    assert kinds == {"color": {"blue", "green"}, "other": {"large", "small", "yes"}}


def test_answers_that_do_not_match_are_of_the_kind(negatives):
    draws = [generator("measure", str(i)) for i in range(400)]
    found = [negatives.answer(draw, "scenes", "2", "number", 1.0) for draw in draws]
    assert {"1", "3"} <= set(found) <= {"0", "1", "3", "9", "large", "small", "yes"}
    near = sum(answer in ("1", "3") for answer in found)
    assert near / 400 > 0.45
    zero = {negatives.answer(draw, "scenes", "0", "number", 1.0) for draw in draws}
    assert "-1" not in zero and "1" in zero
    unsure = {negatives.answer(draw, "scenes", "red", "color", 0.05) for draw in draws}
    assert unsure == {"large", "small", "yes"}


def test_a_region_gives_its_place_and_its_name():
    value = {"boxes": [[0.25, 0.25, 0.5, 0.75]], "phrases": ["The Red Star"]}
    one = sample(64, 64, phrases=value)
    row = samples.read("regions", one, DEBUG, generator("measure", "a"), Negatives())
    assert row["source"].shape[1] == row["target"].shape[1] == 2
    asked, target = row["source"][:, 0], row["target"][:, 0]
    assert told(asked) == 'which region does the text " the red star " describe?'
    corners = WORDS.corners(target[:4], 64)
    assert target[4] == 2 and abs(corners - value["boxes"]).max() < 0.5 / 63 + 1e-9
    back = row["source"][:, 1]
    assert told(back).startswith("what does the region describe? region:")
    end = int(np.flatnonzero(back == 2)[0])
    assert np.array_equal(back[end - 4 : end], target[:4])  # Bins before </s>.
    assert told(row["target"][:, 1]) == "the red star"


def test_boxes_follow_what_is_seen():
    whole, box = image(200, 100), np.array([[0.7, 0.2, 0.9, 0.6]])
    marked = whole.copy()
    marked[20:60, 140:180] = (255, 0, 0)
    for i in range(30):
        draw = generator("measure", str(i))
        pixels, found = around(draw, marked, box, 64, 100)
        (x0, y0, x1, y1) = (found[0] * 64).round().astype(int)
        inside = pixels[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].reshape(-1, 3)
        assert pixels.shape == (64, 64, 3) and abs(inside.mean(0) - [255, 0, 0]).max() < 12
        pixels, found = jittered(generator("measure", str(i)), marked, box, 64)
        (x0, y0, x1, y1) = (found[0] * 64).round().astype(int)
        if x1 - x0 > 6 and y1 - y0 > 6:
            inside = pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].reshape(-1, 3)
            assert abs(inside.mean(0) - [255, 0, 0]).max() < 12
    same = [augment(generator("measure", "a"), whole, 2) for _ in range(2)]
    assert np.array_equal(*same)
    several = {augment(generator("measure", str(i)), whole, 2).tobytes() for i in range(40)}
    assert len(several) > 15
    wide = centre(generator("measure", "a"), image(2000, 200), 128, 128, 0)  # A side is squeezed.
    assert wide.shape == (128, 128, 3)


def test_objects_are_written_largest_first_and_whole():
    boxes = np.array([[0, 0, 0.1, 0.1], [0, 0, 0.9, 0.9], [0.5, 0.5, 0.5, 0.9], [0, 0, 0.5, 0.5]])
    found = samples.detection(boxes, ["star", "Cross", "no area", "square"], DEBUG)
    assert told(found.source) == "what are the objects in the image?"
    listed = WORDS.objects(found.target.tolist(), 64)
    assert [label for _, label in listed] == ["cross", "square", "star"]
    short = DEBUG.model_copy(update={"target_tokens": len(found.target) - 2})
    cut = samples.detection(boxes, ["star", "Cross", "no area", "square"], short)
    assert [label for _, label in WORDS.objects(cut.target.tolist(), 64)] == ["cross", "square"]
    assert cut.target[-1] == 2 and len(cut.target) <= short.target_tokens + 1


def test_codes_are_of_the_middle_and_the_middle_is_not_seen():
    s = DEBUG
    row = samples.read("images", sample(), s, None, Negatives())
    codes = WORDS.image_codes(row["target"][:, 0])
    assert len(codes) == s.code_grid**2 and row["target"][-1, 0] == 2 and bool(row["codes"])
    middle = row["pixels"][16:48, 16:48].reshape(4, 8, 4, 8, 3).mean((1, 3)) / 32
    for shift in (-1e-3, 1e-3):  # One colour is at the border of two steps.
        expected = (np.floor(middle + shift).clip(0, 7) @ [64, 8, 1]).reshape(-1)
        assert (codes == expected).sum() >= 14
    data = {name: torch.from_numpy(np.asarray(x))[None] for name, x in row.items()}
    seen = samples.model_inputs(Batch("plain", data), s)["pixels"]
    assert (seen[..., 16:48, 16:48] == 0).all() and (seen[..., :16, :] != 0).float().mean() > 0.9
    text = samples.read("texts", sample(txt=b"a star"), s, None, Negatives())
    data = {name: torch.from_numpy(np.asarray(x))[None] for name, x in text.items()}
    blank = samples.model_inputs(Batch("plain", data), s)
    assert (blank["pixels"] == 0).all() and not blank["seen"].any() and not blank["codes"].any()


def test_hidden_spans_of_a_text():
    draw = np.random.default_rng(0)
    starts = np.ones(200, np.bool_)
    masks, inserted, kept = [], [], []
    for _ in range(300):
        spans = lengths(draw, 60)
        assert spans.sum() == 60 and spans.max() <= 17
        masks.append((spans > 0).sum())
        inserted.append((spans == 0).sum())
    # 200 words, of which 60 are hidden: 19.4 spans and 1.0 insertions (counted on the original).
    assert abs(np.mean(masks) - 19.4) < 0.4 and abs(np.mean(inserted) - 1.0) < 0.2
    for i in range(200):
        ids = np.arange(4, 204)
        starts = np.random.default_rng(i).random(200) < 0.6
        starts[0] = True
        found = hide_spans(np.random.default_rng(i), ids, starts, 0.3, 999)
        rest = found[found != 999]
        assert (np.diff(rest) > 0).all() and (found == 999).any()
        gone = np.setdiff1d(ids, rest) - 4
        # What is hidden begins at words and ends before words.
        for g in gone:
            assert starts[g] or g - 1 in gone
            assert g == 199 or starts[g + 1] or g + 1 in gone
        kept.append(len(rest) / 200)
    assert 0.7 < np.mean(kept) < 0.76  # Spans that overlap hide less.
    one = hide_spans(np.random.default_rng(0), np.array([5]), np.array([True]), 0.3, 999)
    assert one.tolist() == [999] or set(one.tolist()) == {999}


def test_of_a_chinese_text_letters_are_hidden_not_the_whole():
    told = "红色圆形在白色十字的左边"
    words, kept = vocabulary(DEBUG), []
    for seed in range(20):
        found = samples.texts(sample(txt=told.encode()), DEBUG, generator("measure", str(seed)))
        assert words.decode(found.target) == told
        kept.append(sum(letter in words.decode(found.source) for letter in set(told)))
    assert len(set(told)) / 2 < np.mean(kept) < len(set(told))


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_what_matches_may_count_for_more(factor, negatives):
    s = DEBUG.model_copy(update={"matching": factor})
    pairs = [{"question": "What color is it?", "answer": "Red", "kind": "color", "language": "en",
              "answers": [["Red", 6], ["pink", 4]]}]  # fmt: skip
    one = sample(txt=b"a red star", questions={"pairs": pairs})
    for make, sure in ((samples.captions, 1.0), (samples.questions, 0.6)):
        asked, match = make(one, s, generator("measure", "a"), negatives)
        assert (asked.weight, match.weight) == (sure, sure * factor)


def test_a_text_is_asked_with_what_is_hidden_between_the_quotes():
    one = sample(txt=b" A small red Star left of a large blue square ")
    found = samples.texts(one, DEBUG, generator("measure", "a"))
    assert told(found.target) == "a small red star left of a large blue square"
    assert (found.source == DEBUG.mask).any()
    plain = samples.texts(one, DEBUG, None)
    assert told(plain.source) == (
        'what is the complete text of " a small red star left of a large blue square "?'
    )
    long = sample(txt=" ".join(["star"] * 400).encode())
    assert len(samples.texts(long, DEBUG, None).target) == DEBUG.text_tokens + 1


@pytest.mark.parametrize("stream,members,outcome", [
    ("captions", {"txt": b".,! "}, "empty_text"),
    ("questions", {"questions": {"pairs": []}}, "no_answer"),
    ("regions", {"phrases": {"boxes": [[1.2, 0, 1.5, 1]], "phrases": ["star"]}}, "no_box"),
    ("detection", {"boxes": {"boxes": [], "labels": []}}, "no_box"),
    ("texts", {"txt": b"  "}, "empty_text"),
    ("regions", {"phrases": {"boxes": [[0, 0, 1, 1]], "phrases": ["--"]}}, "empty_text"),
    ("regions", {"phrases": {"boxes": [[0, 0, 1, 1]], "phrases": ["x1" * 400]}}, "too_long"),
    ("questions", {"questions": {"pairs": [Question("红" * 300, "x", "").to_json()]}}, "too_long"),
])  # fmt: skip
def test_samples_that_a_task_cannot_use_have_named_outcomes(stream, members, outcome, negatives):
    with pytest.raises(SampleError) as found:
        samples.read(stream, sample(**members), DEBUG, None, negatives)
    assert found.value.outcome == outcome


def test_a_text_without_blanks_is_too_long_to_be_asked_about(negatives):
    one = sample(txt="红".encode() * 300)
    assert samples.read("captions", one, DEBUG, None, negatives)
    outcomes = set()
    for epoch in range(20):
        try:
            samples.read("captions", one, DEBUG, generator("measure", str(epoch)), negatives)
        except SampleError as error:
            outcomes.add(error.outcome)
    assert outcomes == {"too_long"}


def test_a_held_out_corpus_takes_the_lists_that_are_trained_on(negatives):
    one = sample(txt=b"a red star", questions={"pairs": [Question("what?", "red", "x").to_json()]})
    one.corpus = "val"
    for stream in ("captions", "questions"):
        for epoch in range(8):
            draw = generator("measure", str(epoch))
            assert samples.read(stream, one, DEBUG, draw, negatives)


def test_lists_that_cannot_be_drawn_from_are_told(tmp_path):
    for name, text in zip(
        LISTS, ("a\n", "", '{"kind": "color", "answers": ["red"]}\n'), strict=True
    ):
        (tmp_path / name).write_text(text)
    side = SideFiles("scenes", {name: str(tmp_path / name) for name in LISTS})
    with pytest.raises(ValueError, match="no answer of the kind other"):
        Negatives([side], LISTS)
    (tmp_path / LISTS[0]).write_text("")
    with pytest.raises(ValueError, match="no caption is listed"):
        Negatives([side], LISTS)
    with pytest.raises(ValueError, match="two corpora of a mix have one name"):
        Negatives([side, side], LISTS)


def test_kept_patches_are_a_function_of_the_sample(negatives):
    s = DEBUG.model_copy(update={"patches": 6})
    one = sample(txt=b"a red star")
    rows = [samples.read("captions", one, s, generator("draw", 0, "captions", "k", epoch),
                         negatives) for epoch in (0, 0, 1)]  # fmt: skip
    assert rows[0]["patches"].shape == (2, 6)
    assert np.array_equal(rows[0]["patches"], rows[1]["patches"])
    assert not np.array_equal(rows[0]["patches"], rows[2]["patches"])
    assert (np.diff(rows[0]["patches"]) > 0).all() and rows[0]["patches"].max() < 16
