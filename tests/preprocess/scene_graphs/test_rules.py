import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import GraphParser, SeptetParser, SngParser
from septet.preprocess.scene_graphs.words import words

# What SceneGraphParser 0.1.0 gets wrong, by its own issues, and what alt texts are like.
MENDED = {
    "The car is red.": ["car=red"],
    "The soup tastes good.": ["soup=good"],
    "A red, white and blue flag.": ["flag=red", "flag=white", "flag=blue"],
    "A black cat is sleeping on top of a laptop.": ["cat=black", "cat,sleep on top of,laptop"],
    "A man standing in front of a red door.": ["door=red", "man,stand in front of,door"],
    "A bus parked next to a tall building.": ["building=tall", "bus,park next to,building"],
    "A white dog that is wearing a collar.": ["dog=white", "dog,wear,collar"],
    "A man wearing sunglasses and a woman holding an umbrella.": [
        "man,wear,sunglasses", "woman,hold,umbrella",
    ],
    "A man in a hat riding a horse.": ["man,in,hat", "man,ride,horse"],
    "A dog and a cat sit on a mat.": ["dog,sit on,mat", "cat,sit on,mat"],
    "A lot of people are flying kites.": ["people,fly,kite"],
    "A close-up of a bee on a purple flower": ["flower=purple", "bee,on,flower"],
    "Old Wooden Door With Rusty Lock": ["door=old", "door=wooden", "lock=rusty", "door,with,lock"],
    "A dog is chased by two cats.": ["cat=2", "cat,chase,dog"],
    "a basket full of ripe apples": ["apple=ripe", "basket,full of,apple"],
    "A man with a beard talks on a phone.": ["man,with,beard", "man,talk on,phone"],
    "A desk with a computer, a lamp, and some books": [
        "desk,with,computer", "desk,with,lamp", "desk,with,book",
    ],
    "A man holds the cup up.": ["man,hold up,cup"],
    "A sleeping child.": ["child=sleeping"],
    "A child is sleeping.": ["child=sleep"],
}  # fmt: skip


def said(graph: SceneGraph) -> list[str]:
    names = [o.lemma for o in graph.objects]
    attributes = [f"{names[a.object]}={a.lemma}" for a in graph.attributes]
    numbers = [f"{names[n.object]}={n.value}" for n in graph.numbers]
    relations = [f"{names[r.subject]},{r.lemma},{names[r.object]}" for r in graph.relations]
    return sorted(attributes + numbers + relations)


@pytest.mark.parametrize("caption", MENDED)
def test_mended_failures(septet: SeptetParser, caption: str) -> None:
    (graph,) = septet.graphs([caption])
    assert said(graph) == sorted(MENDED[caption])


def test_spans_say_the_words(septet: SeptetParser) -> None:
    caption = "Two big fire hydrants stand  next to\n the old man who holds the cup up."
    (graph,) = septet.graphs([caption])
    assert said(graph) == sorted([
        "hydrant=2", "hydrant=big", "man=old", "hydrant,stand next to,man", "man,hold up,cup",
    ])  # fmt: skip
    spans = {
        node.lemma: [caption[start:end] for start, end in node.spans] for node in graph.nodes()
    }
    assert spans == {
        "hydrant": ["fire hydrants"], "man": ["man"], "cup": ["cup"], "big": ["big"],
        "old": ["old"], "two": ["Two"], "stand next to": ["stand  next to"],
        "hold up": ["holds", "up"],
    }  # fmt: skip
    assert [o.text for o in graph.objects] == ["fire hydrants", "man", "cup"]


def test_sng_behind_the_same_schema(sng: SngParser) -> None:
    caption = "Two big dogs chase a cat through the old garden."
    (graph,) = sng.graphs([caption])
    assert said(graph) == sorted([
        "dog=2", "dog=big", "garden=old", "dog,chase,cat", "dog,through,garden",
    ])  # fmt: skip
    spans = [[caption[a:b] for a, b in node.spans] for node in graph.nodes()]
    assert spans == [["dogs"], ["cat"], ["garden"], ["big"], ["old"], ["Two"], ["chase"],
                     ["through"]]  # fmt: skip
    assert sng.models() == {"SceneGraphParser": "0.1.0"}


def test_a_graph_does_not_depend_on_its_batch(septet: SeptetParser) -> None:
    captions = [*MENDED, "", "词", "a b c " * 20]
    whole = dict(zip(captions, septet.graphs(captions), strict=True))
    mixed = random.Random(0).sample(captions, len(captions))
    assert dict(zip(mixed, SeptetParser(batch_size=3).graphs(mixed), strict=True)) == whole
    assert septet.graphs(["The car is red."]) == [whole["The car is red."]]


WORDS = sorted(
    words(
        """a the two red big man dogs that which is are on top of next to in front holding 's , . ;
        and wearing with by left right full there white-haired it -- ( ) / & é 狗 3 don't ran up"""
    )
)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=12).map("  ".join),
)


@pytest.mark.parametrize("parser", ["septet", "sng"])
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(caption=TEXTS)
def test_any_text_gives_a_sound_graph(
    request: pytest.FixtureRequest, parser: str, caption: str
) -> None:
    made: GraphParser = request.getfixturevalue(parser)
    (graph,) = made.graphs([caption])
    graph.check()
    assert SceneGraph.from_json(graph.to_json()) == graph
    for node in graph.nodes():
        assert parser == "sng" or node.spans
        for start, end in node.spans:
            assert end <= len(caption)
            assert not (caption[start] + caption[end - 1]).isspace()
    for thing in graph.objects:
        assert thing.text == " ".join(caption[start:end] for start, end in thing.spans)
    if parser == "septet":
        for number in graph.numbers:
            ((start, end),) = number.spans
            assert caption[start:end].lower() == number.lemma
