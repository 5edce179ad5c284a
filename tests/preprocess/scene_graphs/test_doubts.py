"""What a caption denies, supposes or asks is not what the image shows."""

import json

import pytest

from septet.preprocess.scene_graphs.doubts import doubted
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import SeptetParser

# Things that are there; things that are named and are not.
THINGS = {
    "There are no people on the beach.": ("beach", "people"),
    "A street without cars or bikes": ("street", "car bike"),
    "A man without a hat rides a horse.": ("man horse", "hat"),
    "The man is not wearing a hat.": ("man", "hat"),
    "Nobody is riding the horse.": ("horse", ""),
    "A kitchen with no windows and a small table": ("kitchen table", "window"),
    "The house doesn't have a garden.": ("house", "garden"),
    "There isn't a cloud in the blue sky.": ("sky", "cloud"),
    "A woman, not a man, drives the bus.": ("woman bus", "man"),
    "A man can't open the red door.": ("man door", ""),
    "A cup of tea with milk but no sugar": ("cup tea milk", "sugar"),
    "The absence of trees on the hill": ("hill", "absence tree"),
    "A bicycle lacks a front wheel.": ("bicycle", "wheel"),
    "The girl is wearing a coat instead of a jacket.": ("girl coat", "jacket"),
    "A no parking sign on a wall": ("sign wall", ""),
    "Is there a dog on the sofa?": ("", "dog sofa"),
    "What color is the car?": ("", "color car"),
    "A dog on a skateboard. Is it a cat?": ("dog skateboard", "cat"),
    "If it rains, the men will carry umbrellas.": ("", "man umbrella"),
    "Imagine two elephants in a kitchen.": ("", "elephant kitchen"),
    "A boy pretends to drive a bus.": ("boy", "bus"),
    "A man who might buy a car": ("man", "car"),
    "The bride will cut the cake.": ("bride cake", ""),
    "You can see a dog on the sofa": ("dog sofa", ""),
    "A man in a hat that is not red": ("man hat", ""),
}


@pytest.mark.parametrize("caption", THINGS)
def test_things(septet: SeptetParser, caption: str) -> None:
    (graph,) = septet.graphs([caption])
    there, not_there = THINGS[caption]
    assert sorted(o.lemma for o in graph.objects) == sorted(there.split())
    assert sorted(o.lemma for o in graph.unasserted) == sorted(not_there.split())
    for thing in graph.unasserted:
        assert [caption[a:b] for a, b in thing.spans] == [thing.text]


@pytest.mark.parametrize("caption", [
    "The car is not red.", "The boy isn't holding the ball.", "Neither the cat nor the dog is awake.",
    "The children could ride the pony.", "You should put the lamp on the table.",
    "Are these shoes blue or green?", "She wants to paint the house blue.",
    "The dog never sits on the sofa.", "Not all of the birds are on the fence.",
    "A man almost dropping the plates", "The child is about to blow out the candles.",
    "A person who is unable to climb the wall", "She is going to ride the horse.", "The old man and the woman will dance.",
])  # fmt: skip
def test_nothing_is_said_of_them(septet: SeptetParser, caption: str) -> None:
    (graph,) = septet.graphs([caption])
    assert graph.relations == ()
    assert {a.lemma for a in graph.attributes} <= {"old"}


def test_why(septet: SeptetParser) -> None:
    texts = ["No dog.", "Perhaps a dog.", "A dog?", "A dog."]
    graphs = septet.graphs(texts)
    assert [[o.why for o in graph.unasserted] for graph in graphs] == [
        ["denied"], ["supposed"], ["asked"], [],
    ]  # fmt: skip
    for graph in graphs:
        assert SceneGraph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    assert "unasserted" not in graphs[-1].to_json()
    data = graphs[0].to_json()
    data["unasserted"][0]["why"] = "other"
    with pytest.raises(ValueError, match="no known reason"):
        SceneGraph.from_json(data)


def test_doubted_sentences() -> None:
    text = "A red dog. Is it big? It can't run! A cat | no sale | a bus."
    assert [text[part.start : part.stop].strip() for part in doubted(text)] == [
        "Is it big?", "It can't run!", "no sale |",
    ]  # fmt: skip
    assert doubted("A dog and a notebook in the nook.") == []
