"""Rows that lack what their task needs go to another, and languages are drawn and named."""

import itertools
import json
import math
from collections import Counter

import pytest

from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.source import Health, Source
from septet.trainers.loader.tally import Counted, Tally
from septet.trainers.pali.presets import PRESETS
from septet.trainers.pali.samples import BLANK, TASKS, fill
from septet.trainers.pali.task import PaliTask
from septet.trainers.pali.words import tokenizer
from septet.trainers.settings.overrides import override
from septet.trainers.task import ReadSample
from tests.corpora import run_annotation
from tests.trainers.corpora import scenes_corpus
from tests.trainers.pali.corpora import COLUMNS
from tests.trainers.pali.test_samples import S, draw, sample

PIECES = tokenizer("scenes", S.language.words)


def task(*changes):
    return override(PRESETS["debug"], [*changes, "train.global_batch=16"]).task()


def read(corpus, stream, of, n):
    """Prompts of a stream's first rows, and what is counted."""
    found = Source(stream, of, [(Corpus(str(corpus)), 1.0)], 0, 64, Health(0.0))
    rows = list(found.rows(range(n)))
    tally = Tally(itertools.chain(*(counted for _, counted in rows)))
    return [PIECES.decode(row["source"].tolist()) for row, _ in rows], tally


def signless(i, members):
    """Every third scene's truth has no sign."""
    told = json.loads(members["json"])
    if i % 3 == 0:
        told["extra"].pop("sign")
    return {**members, "json": json.dumps(told).encode()}


def test_a_row_without_a_column_goes_to_the_next_task_with_an_image(tmp_path, monkeypatch):
    corpus = scenes_corpus(tmp_path, 1, 60, size=32, signs=True, change=signless)
    monkeypatch.syspath_prepend(str(COLUMNS))
    run_annotation(corpus, "scene_signs:SceneSigns", name="ocr")
    of = task("model.mixture={spans: 1, ocr: 1, caption: 1}")
    prompts, tally = read(corpus, "ocr", of, 60)
    captions = [prompt for prompt in prompts if prompt == "Generate the alt_text in EN at 0:"]
    assert len(captions) == 20 and prompts.count("Generate the ocr_text in EN:") == 40
    assert tally[Counted("task", "caption")] == tally[Counted("moved", "ocr")] == 20
    assert tally[Counted("task", "ocr")] == 40


def test_rows_move_among_tasks_with_images_alone():
    of = task("model.mixture={spans: 1, caption: 1, ocr: 1, vqa: 1}")
    assert {name: stream.otherwise for name, stream in of.streams.items()} == {
        "spans": (), "caption": ("vqa", "ocr"), "ocr": ("caption", "vqa"),
        "vqa": ("ocr", "caption"),
    }  # fmt: skip


@pytest.mark.parametrize("texts,joined", [(1, 0), (3, 10)])
def test_texts_are_joined_and_counted(tmp_path, texts, joined):
    corpus = scenes_corpus(tmp_path, 1, 20, size=32)
    of = task("model.mixture={spans: 1}", f"model.span_texts={texts}", "model.span_tokens=64")
    _, tally = read(corpus, "spans", of, 5)
    assert tally[Counted("task", "spans")] == 5 and tally[Counted("joined", "spans")] == joined
    alone = Source("spans", of, [(Corpus(str(corpus)), 1.0)], 0, 64, Health(0.0))
    assert len({alone.locate(p, n) for p in range(5) for n in range(texts)}) == 5 * texts


@pytest.mark.parametrize("temperature", [1.0, math.inf])
def test_languages_are_drawn_by_temperature_and_named(tmp_path, temperature):
    # Three of four captions are English, the others German.
    languages = ("en", "en", "en", "de")
    corpus = scenes_corpus(tmp_path, 1, 200, size=32, languages=languages)
    of = task("model.mixture={caption: 1}").settings.model_copy(
        update={"language_temperature": temperature}
    )
    rows = 400 if temperature == 1 else 1000  # Two epochs, or a block of a mix.
    prompts, tally = read(corpus, "caption", PaliTask(of, 16), rows)
    german = sum(prompt == "Generate the alt_text in DE at 0:" for prompt in prompts)
    own = Counter(json.loads(s["json"])["language"] for s in Corpus(str(corpus)))["de"]
    assert own < 80 and german == (2 * own if temperature == 1 else 500)
    assert tally[Counted("language", "de")] == german
    assert tally[Counted("language", "en")] == rows - german


@pytest.mark.parametrize("stream,named", [
    ("caption", "de"), ("split_caption", "de"), ("vqg", "fr"), ("ocr", "en"), ("vqa", None),
])  # fmt: skip
def test_the_language_that_a_prompt_names_is_counted(stream, named):
    pair = {"question": "c'est quoi ?", "answer": "red", "kind": "", "language": "fr"}
    questions = json.dumps({"pairs": [pair]}).encode()
    found = ReadSample(sample("de", questions=questions), key="0", corpus="x")
    prompt = TASKS[stream](found, S, draw()).prompt
    assert found.language == named
    assert named is None or f" in {named.upper()} " in prompt.replace(":", " ")


def test_the_language_that_is_drawn_is_asked_in():
    found = ReadSample(sample("de"), key="0", corpus="x", language="en")
    assert TASKS["caption"](found, S, draw()).prompt == f"Generate the alt_text in EN at 0: {BLANK}"
    # Of no known language, the metadata may tell it.
    found = ReadSample(sample("de"), key="0", corpus="x", language="und")
    assert " in DE " in TASKS["caption"](found, S, draw()).prompt


@pytest.mark.parametrize("tags,code", [
    (("iw", "he", "HE", "heb"), "HE"), (("pt-BR", "pt"), "PT"), (("zh_Hans", "zh"), "ZH"),
])  # fmt: skip
def test_a_language_has_one_code_in_prompts(tags, code):
    assert {fill("caption", tag) for tag in tags} == {
        f"Generate the alt_text in {code} at 0: {BLANK}"
    }
    found = ReadSample(sample(json=json.dumps({"language": tags[0]}).encode()), key="0", corpus="x")
    TASKS["caption"](found, S, draw())
    assert found.language == code.lower()


def test_a_temperature_is_above_zero():
    with pytest.raises(ValueError, match="language_temperature"):
        task("model.language_temperature=0")
