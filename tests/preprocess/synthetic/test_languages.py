"""Scenes told in five languages: the same truth, each in its own grammar."""

import pytest

from septet.preprocess.questions.pairs import Question
from septet.preprocess.synthetic.languages import WORDINGS, caption, phrases, questions
from septet.preprocess.synthetic.scenes import Scene, Thing, captions, make_scene
from septet.preprocess.text.language import identify

SCENES = [make_scene(3, i) for i in range(200)]
TOLD = {
    "en": "a large purple circle above a large blue circle, and also a small red diamond",
    "de": "ein großer violetter Kreis über einem großen blauen Kreis, "
    "außerdem eine kleine rote Raute",
    "fr": "un grand cercle violet au-dessus d'un grand cercle bleu, et aussi un petit losange rouge",
    "es": "un círculo morado grande encima de un círculo azul grande, "
    "y también un rombo rojo pequeño",
    "zh": "一个大的紫色圆形在一个大的蓝色圆形的上方，还有一个小的红色菱形",
}


@pytest.mark.parametrize("language", WORDINGS)
def test_captions_are_what_they_were(language: str) -> None:
    # Corpora of scenes must stay the same bytes: a change here breaks every one of them.
    assert caption(SCENES[0], language) == TOLD[language]


def test_english_is_the_first_caption_of_scenes() -> None:
    assert [caption(scene) for scene in SCENES] == [captions(scene)[0] for scene in SCENES]


@pytest.mark.parametrize("language", WORDINGS)
def test_each_language_tells_all_that_english_tells(language: str) -> None:
    """Captions of scenes differ in one language where, and only where, they do in English."""
    english: dict[str, str] = {}
    for scene in SCENES:
        assert english.setdefault(caption(scene, language), caption(scene)) == caption(scene)
    assert len(english) == len({caption(scene) for scene in SCENES})


@pytest.mark.parametrize("language", WORDINGS)
def test_captions_are_told_apart_by_the_language_model(language: str) -> None:
    found = [identify(caption(scene, language)).code for scene in SCENES]
    assert found.count(language) > 0.9 * len(found)


def the(shape: str, colour: str, x: float, y: float) -> Thing:
    return Thing(shape, colour, "small", (x - 0.1, y - 0.1, x + 0.1, y + 0.1))


TWINS = Scene(0, 0, (128, 128, 128), (
    the("cross", "white", 0.2, 0.2), the("cross", "green", 0.8, 0.2), the("star", "red", 0.5, 0.8),
))  # fmt: skip


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["the white cross", "the cross left of the red star", "the green cross",
                "the cross right of the red star", "the red star", "the star"]),
        ("de", ["das weiße Kreuz", "das Kreuz links von dem roten Stern", "das grüne Kreuz",
                "das Kreuz rechts von dem roten Stern", "der rote Stern", "der Stern"]),
        ("fr", ["la croix blanche", "la croix à gauche de l'étoile rouge", "la croix verte",
                "la croix à droite de l'étoile rouge", "l'étoile rouge", "l'étoile"]),
        ("es", ["la cruz blanca", "la cruz a la izquierda de la estrella roja", "la cruz verde",
                "la cruz a la derecha de la estrella roja", "la estrella roja", "la estrella"]),
        ("zh", ["白色十字形", "红色星形左边的十字形", "绿色十字形", "红色星形右边的十字形",
                "红色星形", "星形"]),
    ],
)  # fmt: skip
def test_phrases_of_two_things_of_one_shape(language: str, expected: list[str]) -> None:
    assert phrases(TWINS, language) == list(zip(expected, [0, 0, 1, 1, 2, 2], strict=True))


@pytest.mark.parametrize("language", WORDINGS)
def test_a_phrase_fits_one_thing(language: str) -> None:
    for scene in SCENES:
        found = phrases(scene, language)
        assert {k for _, k in found} == set(range(len(scene.things)))
        assert len({phrase for phrase, _ in found}) == len(found)


def test_a_related_phrase_fits_one_thing_by_arithmetic() -> None:
    sides = {
        "left of": lambda a, b: a.centre[0] < b.centre[0],
        "right of": lambda a, b: a.centre[0] > b.centre[0],
        "above": lambda a, b: a.centre[1] < b.centre[1],
        "below": lambda a, b: a.centre[1] > b.centre[1],
    }
    checked = 0
    for scene in (make_scene(1, i, (3, 4)) for i in range(500)):
        for phrase, k in phrases(scene):
            for relation in sides:
                shape, found, anchor = phrase.partition(f" {relation} ")
                if not found:
                    continue
                (other,) = [t for t in scene.things if f"the {t.colour} {t.shape}" == anchor]
                fits = [
                    n
                    for n, thing in enumerate(scene.things)
                    if f"the {thing.shape}" == shape and sides[relation](thing, other)
                ]
                assert fits == [k], (scene, phrase)
                checked += 1
    assert checked > 100


def test_questions_have_the_one_right_answer() -> None:
    assert questions(TWINS, "de") == [
        Question("wie viele Formen sind zu sehen?", "three", "number", "de"),
        Question("wie groß ist das weiße Kreuz?", "small", "size", "de"),
        Question("wie groß ist das grüne Kreuz?", "small", "size", "de"),
        Question("wie groß ist der rote Stern?", "small", "size", "de"),
        Question("welche Farbe hat der Stern?", "red", "color", "de"),
    ]
    for scene in SCENES:
        for language in WORDINGS:
            asked = [one.question for one in questions(scene, language)]
            assert len(set(asked)) == len(asked)


def test_a_language_that_scenes_are_not_told_in() -> None:
    with pytest.raises(ValueError, match="scenes are told in en, de, fr, es, zh; found 'fi'"):
        caption(SCENES[0], "fi")
