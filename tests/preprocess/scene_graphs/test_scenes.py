"""Scenes have a known truth: what their captions say of it comes out exactly."""

import pytest

from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import SeptetParser
from septet.preprocess.synthetic.scenes import Scene, Thing, captions, make_scene

Named = tuple[str, list[str]]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    found = [make_scene(3, index) for index in range(200)]
    return [scene for scene in found if scene.relations()]


def things(graph: SceneGraph) -> list[Named]:
    return [
        (o.lemma, sorted(a.lemma for a in graph.attributes if a.object == i))
        for i, o in enumerate(graph.objects)
    ]


def graphs(parser: SeptetParser, scenes: list[Scene], phrasing: int) -> list[SceneGraph]:
    return parser.graphs([captions(scene)[phrasing] for scene in scenes])


def full(thing: Thing) -> Named:
    return thing.shape, sorted([thing.colour, thing.size])


def test_relation_and_all_things(septet: SeptetParser, scenes: list[Scene]) -> None:
    for scene, graph in zip(scenes, graphs(septet, scenes, 0), strict=True):
        found = things(graph)
        assert sorted(found) == sorted(map(full, scene.things))
        (relation,) = graph.relations
        true = [(full(scene.things[i]), name, full(scene.things[j]))
                for i, name, j in scene.relations()]  # fmt: skip
        assert (found[relation.subject], relation.lemma, found[relation.object]) in true


def test_relation_with_the_definite_article(septet: SeptetParser, scenes: list[Scene]) -> None:
    for scene, graph in zip(scenes, graphs(septet, scenes, 1), strict=True):
        found = things(graph)
        assert len(found) == 2
        (relation,) = graph.relations
        true = [
            (*((t.shape, [t.colour]) for t in (scene.things[i], scene.things[j])), name)
            for i, name, j in scene.relations()
        ]
        assert (found[relation.subject], found[relation.object], relation.lemma) in true


def test_list_of_things(septet: SeptetParser, scenes: list[Scene]) -> None:
    for scene, graph in zip(scenes, graphs(septet, scenes, 2), strict=True):
        assert sorted(things(graph)) == sorted(map(full, scene.things))
        assert graph.relations == ()


def test_number_of_things(septet: SeptetParser, scenes: list[Scene]) -> None:
    for scene, graph in zip(scenes, graphs(septet, scenes, 3), strict=True):
        (number,) = graph.numbers
        assert number.value == len(scene.things)
        assert graph.objects[number.object].lemma == "shape"
        assert any(full(thing) in things(graph) for thing in scene.things)
