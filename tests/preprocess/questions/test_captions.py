import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from septet.preprocess.questions.captions import PEOPLE, Candidate, candidates, facts, questions
from septet.preprocess.questions.lexicon import NOUNS
from septet.preprocess.scene_graphs.parsers import SeptetParser
from septet.preprocess.synthetic.scenes import captions, make_scene


@pytest.fixture(scope="session")
def septet() -> SeptetParser:
    return SeptetParser()


def asked(parser: SeptetParser, caption: str, *languages: str) -> list[tuple[str, str, str]]:
    (found,) = questions(parser, [caption], languages or ("en",))
    return [(pair.question, pair.answer, pair.kind) for pair in found]


def test_all_kinds(septet: SeptetParser) -> None:
    caption = "Two women sitting on a green bench are eating sandwiches"
    assert asked(septet, caption) == [
        ("How many women are there?", "2", "number"),
        ("What color is the bench?", "green", "color"),
        ("What are the women sitting on?", "bench", "object"),
        ("Who is sitting on the bench?", "women", "object"),
        ("Where are the women sitting?", "bench", "location"),
        ("What are the women eating?", "sandwiches", "object"),
        ("Who is eating the sandwiches?", "women", "object"),
    ]


def test_other_languages(septet: SeptetParser) -> None:
    caption = "Three dogs and a yellow apple and a red house and a blue kite"
    assert asked(septet, caption, "en", "de", "fr", "es") == [
        ("How many dogs are there?", "3", "number"),
        ("Wie viele Hunde sind zu sehen?", "3", "number"),
        ("Combien de chiens y a-t-il ?", "3", "number"),
        ("¿Cuántos perros hay?", "3", "number"),
        ("What color is the apple?", "yellow", "color"),
        ("Welche Farbe hat der Apfel?", "yellow", "color"),
        ("De quelle couleur est la pomme ?", "yellow", "color"),
        ("¿De qué color es la manzana?", "yellow", "color"),
        ("What color is the house?", "red", "color"),
        ("Welche Farbe hat das Haus?", "red", "color"),
        ("De quelle couleur est la maison ?", "red", "color"),
        ("¿De qué color es la casa?", "red", "color"),
        ("What color is the kite?", "blue", "color"),
    ]
    assert asked(septet, "Two birds and black stars", "fr", "es") == [
        ("Combien d'oiseaux y a-t-il ?", "2", "number"),
        ("¿Cuántos pájaros hay?", "2", "number"),
        ("De quelle couleur sont les étoiles ?", "black", "color"),
        ("¿De qué color son las estrellas?", "black", "color"),
    ]
    assert len({frozenset(nouns) for nouns in NOUNS.values()}) == 1


@pytest.mark.parametrize("caption", [
    "A red cup beside a blue cup",  # which cup?
    "A black and white dog",  # no one word
    "A man",
    "The man in the shirt",  # nobody is somewhere in a shirt
    "Someone at night in Paris",
    "A dog on the mat and a dog under the bed",
    "",
])  # fmt: skip
def test_what_has_no_single_answer_is_not_asked(septet: SeptetParser, caption: str) -> None:
    assert asked(septet, caption) == []


def test_the_answer_has_to_come_back(septet: SeptetParser) -> None:
    """Pairs whose statement is parsed otherwise than their caption are dropped."""
    texts = [
        "A skateboarder is doing a trick on a ramp", "A dog sitting in the car watching",
        "The clock tower stands beside the left house", "A bird eating fish near ducks swimming",
        "Kids in costumes inside a store shopping", "A lamp on on the table",
    ]  # fmt: skip
    made: list[Candidate] = [
        one
        for text, graph in zip(texts, septet.graphs(texts), strict=True)
        for one in candidates(text, graph, ["en"], septet.lemmas)
    ]
    kept = {pair for found in questions(septet, texts) for pair in found}
    for one in made:
        (graph,) = septet.graphs([one.statement])
        assert (set(one.pairs) <= kept) == (one.fact in facts(graph)), one
    assert kept


def test_questions_of_scenes_are_true(septet: SeptetParser) -> None:
    scenes = [make_scene(11, index) for index in range(60)]
    texts = [captions(scene)[phrasing] for scene in scenes for phrasing in (0, 1, 3)]
    count = 0
    for i, found in enumerate(questions(septet, texts)):
        scene = scenes[i // 3]
        for pair in found:
            count += 1
            words = pair.question.rstrip("?").split()
            if pair.kind == "number":
                assert pair.answer == str(len(scene.things))
            elif pair.kind == "color":
                assert any((t.shape, t.colour) == (words[-1], pair.answer) for t in scene.things)
            else:
                assert pair.kind == "object"
                relation = " ".join(words[2 : words.index("the")])
                true = [(scene.things[a].shape, name, scene.things[b].shape)
                        for a, name, b in scene.relations()]  # fmt: skip
                assert (pair.answer, relation, words[-1]) in true
    assert count > 150


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60) | st.lists(
    st.sampled_from([*sorted(PEOPLE), "red", "two", "the", "a", "on", "riding", "is", "and"]),
    max_size=15,
).map(" ".join))  # fmt: skip
def test_any_text(septet: SeptetParser, text: str) -> None:
    found, other = questions(septet, [text, "A red dog"], ("en", "de"))
    assert found == questions(septet, [text], ("en", "de"))[0]
    assert [pair.answer for pair in other] == ["red", "red"]
    for pair in found:
        assert pair.question.endswith("?") and len(pair.answer.split()) == 1


@pytest.mark.parametrize("caption", [
    "There are no people on the beach.",
    "Two dogs are not sitting on the green bench.",
    "Nobody is sitting on the red bench.",
    "A beach without two red umbrellas on it.",
    "If two dogs sit on a green bench, call us.",
    "Two dogs could be sitting on a green bench.",
    "Perhaps two dogs are sitting on a green bench.",
    "Imagine two dogs on a green bench.",
    "Are two dogs sitting on a green bench?",
    "Two dogs on a green bench?",
    "Do two dogs sit on a green bench",
    "She didn\u2019t buy the two green hats on the table.",
    "TWO DOGS ARE NEVER SITTING ON A GREEN BENCH",
    "Two dogs want to sit on a green bench.",
    "Two dogs refuse to sit on the green bench.",
    "A room lacking two green chairs on a rug.",
    "Neither of two men is riding a green bicycle.",
    "Two dogs will be sitting on a green bench.",
    "Unless two men are riding a green bicycle, stop.",
    "The absence of two green chairs on the rug.",
    "I wonder whether two dogs are on the green bench.",
    "How to put two dogs on a green bench",
    "Two dogs on the green bench: not in this picture.",
    "3-4 dogs",
    "Two or three dogs",
    "About ten dogs",
    "2.5 million dogs",
    "More than fifty dogs",
    "12 of 24 dogs",
    "2019 Honda",
    "-5 dogs",
    "1/2 dogs",
    "children eating ice cream",
    "The cook tosses pancakes in a pan",
    "People watch fireworks above the bridge",
    "A sign saying two dogs",
    "lightning strikes behind the skyline",
    "a model walks the runway wearing a coat",
])  # fmt: skip
def test_what_is_not_said_to_be_so_is_not_asked(septet: SeptetParser, caption: str) -> None:
    assert asked(septet, caption) == []


def test_a_sentence_in_doubt_leaves_the_others_alone(septet: SeptetParser) -> None:
    caption = "Have you seen any? A red dog. There is no cat on the table."
    assert asked(septet, caption) == [("What color is the dog?", "red", "color")]
    # What one sentence denies and another says has no single answer.
    assert asked(septet, "A red dog on a mat. There is no dog on the table.") == []
