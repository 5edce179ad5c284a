import itertools
from pathlib import Path

import pytest

from benchmarks.languages import macro, scenes
from septet.preprocess.text.figure_numbers import without_figure_number
from septet.preprocess.text.language import identify, known_languages
from septet.preprocess.text.language.declared import (
    CAUTION,
    Prior,
    default_prior,
    learnt_prior,
)
from septet.preprocess.text.language.model import (
    LanguageModel,
    LanguageModelError,
    language_model,
    model_digest,
)
from septet.preprocess.text.language.scripts import dominant_script, is_written_in
from septet.preprocess.text.language.words import words_of
from septet.schemas.languages import MODEL_LANGUAGES, label_language, language_code, with_included

WITH_SCRIPTS = Path(__file__).parent / "data" / "labels_with_scripts.bin"


def told(caption: str, declared: str | None = None, **settings: object) -> tuple[str, str]:
    found = identify(caption, declared, **settings)  # type: ignore[arg-type]
    assert 0 <= found.score <= 1
    return found.code, found.origin


def test_the_page_is_heard_where_the_model_is_unsure() -> None:
    assert known_languages() == MODEL_LANGUAGES
    assert told("This is a photograph of the old town hall", "zh") == ("en", "model")
    # The model does not know Silesian and calls it German: the page's word stands.
    assert told("Dō mje sie") == ("de", "model")
    assert told("Dō mje sie", "szl") == ("szl", "page")
    assert told("Una vaca lletera", "ca") == ("ca", "page")
    # What is half translated is English; what has another script is not the page's language.
    assert told("Blur tool", "zh") == ("en", "page")
    assert told("The old town hall and the bridge over the river", "szl") == ("en", "model")


@pytest.mark.parametrize("declared", [None, "zh", "ja", "de"])
def test_what_has_no_letters_has_no_language(declared: str | None) -> None:
    assert identify("12345 67890 → ❤ !!", declared) == ("und", 0.0, "undetermined")
    assert identify("", declared) == ("und", 0.0, "undetermined")


@pytest.mark.parametrize(
    ("caption", "declared", "code"),
    [
        # Han without kana is not Japanese, unless the page says so and it can be.
        ("长城", "zh", "zh"),
        ("大山與河流", "zh", "zh"),
        ("长城和天安门广场", None, "zh"),
        ("京都国立博物館", "ja", "ja"),
        ("这个城市的老房子", "ja", "zh"),
        ("京都のお寺", "zh", "ja"),
        # A number in front.
        ("1 The old town hall", None, "en"),
        ("Figure 3.2. The layers dialog of the image window", None, "en"),
        ("图 3-2 The layers dialog of the image window", None, "en"),
        ("Abb. 4: Das alte Rathaus der Stadt am Fluss", None, "de"),
        # Quotation marks.
        ('The " Open " dialog of this program', None, "en"),
        ("« La vieille ville au bord de la rivière »", None, "fr"),
        # Addresses and names of files.
        ("https://de.example.org/bild.jpg The bridge over the river", None, "en"),
        # Scripts of one language.
        ("서울의 오래된 집", None, "ko"),
        ("Το παλιό σπίτι", None, "el"),
        # A script that no guess of the model is written in.
        ("ᚠᚢᚦᚨᚱᚲ ᚷᚹᚺᚾᛁᛃ", None, "und"),
        # Declared English says little.
        ("El viejo puente sobre el río de la ciudad", "en", "es"),
        ("THE OLD TOWN HALL BY THE RIVER", None, "en"),
    ],
)
def test_faults_of_short_captions(caption: str, declared: str | None, code: str) -> None:
    assert identify(caption, declared).code == code


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ('The "Open" dialog', "the open dialog"),
        ("L'arbre, d’or", "l'arbre d’or"),
        ("'quoted' words'", "quoted words"),
        ("IMG_2041.JPG of 3 dogs", "of dogs"),
        ("see https://e.org/a?b=c or mail@e.org.uk now", "see or now"),
        ("می‌خواهم ۱۲", "می‌خواهم"),
        ("हिन्दी में", "हिन्दी में"),
        ("e\u0301", "e\u0301"),
        ("12 → 34", ""),
    ],
)
def test_a_model_sees_words_alone(caption: str, words: str) -> None:
    assert words_of(caption) == words


@pytest.mark.parametrize("part", ["a", "a.", "a@", "a@a.", "www.", ".jpg", "'", "1."])
def test_a_word_of_a_megabyte_is_read_once(part: str) -> None:
    """With time that grows with the square this would take hours."""
    long = part * (1_000_000 // len(part))
    assert words_of(f"The harbour {long}").startswith("the harbour")


@pytest.mark.parametrize(
    ("caption", "rest"),
    [
        ("Figure 3.2. Blur tool", "Blur tool"),
        ("Figure 3.2 Blur tool", "Blur tool"),
        ("FIG. 2a Cells", "Cells"),
        ("(Fig. 1) Cats", "Cats"),
        ("Figure 1A–C. Cells", "Cells"),
        ("Figure IV. The king", "The king"),
        ("Figure A.1: The king", "The king"),
        ("Abb. 3: Ein Hund", "Ein Hund"),
        ("Рис. 2 — Кот", "Кот"),
        ("图3-1 对话框", "对话框"),
        ("図3東京", "東京"),
        ("그림 2. 고양이", "고양이"),
        ("3. ábra: Macska", "Macska"),
        ("2 pav. Katė", "Katė"),
        ("รูปที่ 2 แมว", "แมว"),
        ("Hình 1.2: Con mèo", "Con mèo"),
        ("شكل 3: قطة", "قطة"),
        ("चित्र 4: बिल्ली", "बिल्ली"),
        # These stay.
        ("Figure 3", "Figure 3"),
        ("3 dogs", "3 dogs"),
        ("2001: A Space Odyssey", "2001: A Space Odyssey"),
        ("Figure skating 2010", "Figure skating 2010"),
        ("Image 5 of 7", "Image 5 of 7"),
        ("Image CC BY", "Image CC BY"),
        ("Photo 2019, Berlin", "Photo 2019, Berlin"),
        ("Figure 10% off", "Figure 10% off"),
        ("photo 3D model", "photo 3D model"),
        ("图书馆", "图书馆"),
        ("", ""),
    ],
)
def test_figure_numbers_in_front(caption: str, rest: str) -> None:
    assert without_figure_number(caption) == rest


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("abc", "Latin"), ("été", "Latin"), ("Ａ", "Latin"), ("кот cat", "Cyrillic"), ("猫", "Han"),
        ("猫の", "Kana"), ("ﾈｺ", "Kana"), ("고양이", "Hangul"), ("แมว", "Thai"), ("ᐃᓄᒃ", "Canadian"),
        ("12", None), ("→é", "Latin"), ("", None),
    ],
)  # fmt: skip
def test_the_script_of_most_letters(text: str, script: str | None) -> None:
    assert dominant_script(text) == script


def test_languages_have_scripts() -> None:
    assert is_written_in("sr", "Latin") and is_written_in("sr", "Cyrillic")
    assert is_written_in("ja", "Han") and is_written_in("yue", "Han")
    assert not is_written_in("zh", "Latin") and not is_written_in("ko", "Kana")
    assert is_written_in("szl", "Latin") and not is_written_in("szl", "Han")
    assert is_written_in("zh", None)


def test_a_site_that_is_half_translated_is_learnt() -> None:
    usual = default_prior("de")
    assert usual.of("de") == 0.8 and usual.of("en") == 0.1 and 0 < usual.of("fi") < 0.001
    honest, half = learnt_prior({"de": 95}, usual), learnt_prior({"de": 45, "en": 50}, usual)
    assert honest.of("de") == (95 + 0.8 * CAUTION) / (95 + CAUTION)
    assert half.of("en") == (50 + 0.1 * CAUTION) / (95 + CAUTION)
    wrong = learnt_prior({"en": 100}, usual)
    assert told("Butter", "de", prior=honest) == ("de", "page")
    assert identify("Butter on the table", "de", prior=wrong).code == "en"
    assert identify("Ein Hund", "de", prior=wrong).code == "de"  # the model's word still counts
    # Where nothing was seen, nothing changes.
    assert learnt_prior({}, usual) == usual
    assert default_prior(None) == default_prior("und") == Prior.even()


def test_probabilities_follow_bayes() -> None:
    likely = identify("Una casa", None, sure=0.0)
    prior = Prior({"es": 0.5, "it": 0.5}, 0.0)
    weighed = identify("Una casa", None, sure=0.0, prior=prior)
    scores = language_model().guesses("una casa").scores
    assert weighed.code in ("es", "it")
    assert weighed.score == pytest.approx(scores[weighed.code] / (scores["es"] + scores["it"]))
    assert likely.score == pytest.approx(max(scores.values()), abs=0.01)


def test_a_model_with_scripts_in_its_labels() -> None:
    model = LanguageModel(str(WITH_SCRIPTS))
    assert model.codes == {"en", "de", "sr", "ar", "no", "zh"}
    assert model.unknown_labels == ["__label__zzz_Xxxx"]
    cases = {
        "the old house": "en", "die alte Katze": "de", "стара кућа": "sr", "红色的房子": "zh",
        "en liten gammel katt": "no",
    }  # fmt: skip
    assert {text: identify(text, model=model).code for text in cases} == cases
    assert told("blorp zimbu", model=model) == ("und", "unknown_label")
    assert told("blorp zimbu", "szl", model=model) == ("szl", "page")
    assert model.guesses("blorp zimbu").unknown == "__label__zzz_Xxxx"


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("en", "en"), ("eng_Latn", "en"), ("cmn_Hani", "zh"), ("zho_Hant", "zh"), ("nob_Latn", "no"),
        ("nno_Latn", "nn"), ("als_Latn", "sq"), ("als", "als"), ("arb_Arab", "ar"), ("arz_Arab", "arz"),
        ("uzn_Cyrl", "uz"), ("fil_Latn", "tl"), ("yue_Hant", "yue"), ("ekk_Latn", "et"),
        ("und_Latn", "und"), ("zxx_Zxxx", "und"), ("zzz_Xxxx", None), ("lorem", None),
    ],
)  # fmt: skip
def test_labels_of_models(label: str, code: str | None) -> None:
    assert label_language(label) == code


def test_languages_include_others() -> None:
    assert with_included(["no"]) == ["no", "nn"]
    assert with_included(["nn", "en"]) == ["nn", "en"]
    assert {"zh", "yue", "wuu"} <= set(with_included(["zh"]))
    assert "arz" in with_included(["ar"]) and "azb" in with_included(["az"])
    assert with_included(["sh"]) == ["sh", "bs", "cnr", "hr", "sr"]
    assert "id" not in with_included(["ms"])
    assert [language_code(tag) for tag in ("nb", "iw", "in", "fil", "cmn")] == [
        "no", "he", "id", "tl", "zh",
    ]  # fmt: skip


def damaged(folder: Path) -> list[tuple[Path, str]]:
    whole = WITH_SCRIPTS.read_bytes()
    vectors = bytearray(whole)
    vectors[8 + 7 * 4] = 2  # of skip-grams
    cases = {
        "text": (b"the 0.1 0.2\n", "does not begin"), "empty": (b"", "does not begin"),
        "old": (whole[:4] + b"\x0a" + whole[5:], "has version 10"),
        "vectors": (bytes(vectors), "word vectors"),
        "longer": (whole + b"1", "1 bytes follow"),
        "endless": (whole[:96] + b"x" * 200_000, "no end"),
    }  # fmt: skip
    for end in itertools.chain(range(5, 120, 9), range(120, len(whole), 4001)):
        cases[f"cut{end}"] = (whole[:end], "cut off|does not begin")
    for name, (content, _) in cases.items():
        (folder / name).write_bytes(content)
    return [(folder / name, message) for name, (_, message) in cases.items()]


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    for path, message in damaged(tmp_path):
        for attempt in (LanguageModel, model_digest):
            with pytest.raises(LanguageModelError, match=message):
                attempt(str(path))
    with pytest.raises(LanguageModelError, match="cannot be read"):
        LanguageModel(str(tmp_path / "nothing"))
    assert model_digest(None) is None
    assert str(model_digest(str(WITH_SCRIPTS))).startswith("blake2b:")


def test_models_lie_on_any_store() -> None:
    import fsspec

    with fsspec.open("memory://models/a.bin", "wb") as file:
        file.write(WITH_SCRIPTS.read_bytes())
    assert identify("the old house", model=LanguageModel("memory://models/a.bin")).code == "en"


def test_scenes_in_72_languages_are_told_where_they_are_declared() -> None:
    captions = scenes()
    assert len({one.code for one in captions}) == 72 and len(captions) == 72 * 12
    declared = [identify(one.text, one.code).code for one in captions]
    alone = [identify(one.text, sure=0).code for one in captions]
    assert macro(captions, declared) >= 0.95
    assert macro(captions, alone) >= 0.78
    english = [one.text for one in captions if one.code == "en"]
    assert not any(identify(text, "zh").code == "zh" for text in english)
