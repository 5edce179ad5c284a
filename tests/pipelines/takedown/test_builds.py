"""What was removed does not come back in a later build."""

import json
import shutil
from pathlib import Path

from rich.console import Console

from septet.pipelines.annotate.check import check_columns
from septet.pipelines.check import check_corpus
from septet.preprocess.shards.heads import read_head
from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer
from tests.pipelines.takedown.corpora import built, by_webdataset, records, same_image, taken_down

QUIET = Console(quiet=True)


def listed(path: Path, server: HostileServer, *names: str) -> None:
    lines = [
        {"url": server.url(f"/{name}.jpg"), "caption": f"A picture with the name {name}"}
        for name in names
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def names(corpus: Path) -> set[str]:
    return {one["caption"].rsplit(" ", 1)[1] for one in records(corpus).values()}


def test_bytes_do_not_come_back_under_another_url_nor_is_the_url_asked_again(
    tmp_path: Path,
) -> None:
    images = {f"/{n}.jpg": random_image(n) for n in range(8)} | {"/copy.jpg": random_image(3)}
    corpus = tmp_path / "corpus"
    with HostileServer(images) as server:
        listed(tmp_path / "a.jsonl", server, *"0123456")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "name: site\nsources: [{kind: list, paths: ['*.jsonl']}]\n"
            f"fetch: {{allowed_hosts: ['{server.host}'], backoff: 0.01}}\n"
            "write: {samples_per_shard: 3}\n"
        )
        run_build(recipe, corpus)
        (tmp_path / "urls.txt").write_text(server.url("/3.jpg"))
        assert taken_down(corpus, urls=tmp_path / "urls.txt").removed == 1
        listed(tmp_path / "b.jsonl", server, "7", "copy")
        shutil.rmtree(corpus / "store")
        server.hits.clear()
        result = run_build(recipe, corpus)
        assert server.hits["/3.jpg"] == 0 and server.hits["/copy.jpg"] == 1
    assert names(corpus) == set("0124567")  # neither the one nor its copy
    assert len(by_webdataset(corpus)) == 7
    lost = [row for row in rows(corpus, "rejects") if row["reason"] == "removed"]
    assert [row["stage"] for row in lost] == ["dedup", "curate"]
    said = {name for row in lost for name, value in row.items() if value is not None}
    assert said == {"id", "stage", "reason"}
    page = (corpus / "stats/report.html").read_text()
    assert "with the name copy" not in page and "with the name 3" not in page
    head = read_head(str(corpus))
    assert head.format_version == 3 and head.removed and head.samples == 7
    assert check_corpus(str(corpus), True, QUIET) == []
    assert not result.nothing_to_do and run_build(recipe, corpus).nothing_to_do


def test_a_build_after_a_removal_is_the_corpus_without_it(tmp_path: Path) -> None:
    corpus = built(tmp_path)
    before = records(corpus)
    key = sorted(before)[9]
    (tmp_path / "keys.txt").write_text(key)
    taken_down(corpus, ids=tmp_path / "keys.txt")
    run_build(tmp_path / "recipe.yaml", corpus)
    after = records(corpus)
    assert after == {k: one for k, one in before.items() if k not in same_image(before, key)}
    assert by_webdataset(corpus) == set(after)
    # Only shards that held it changed, so the column's files for the others hold.
    faults = check_columns(str(corpus), QUIET)
    assert 0 < len(faults) < len(list((corpus / "shards").rglob("*.tar")))
    assert taken_down(corpus, ids=tmp_path / "keys.txt").before == 1
    # A new folder with the list of what was removed is built without it, too.
    shutil.copytree(corpus / "removed", tmp_path / "other/removed")
    run_build(tmp_path / "recipe.yaml", tmp_path / "other")
    assert records(tmp_path / "other") == after
