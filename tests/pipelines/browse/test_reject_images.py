"""Images of rejects: found in the fetch store, in the report and in browse, until they are removed."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from septet.pipelines.report.page import write_report
from septet.pipelines.store import by_url
from septet.pipelines.store.by_url import RejectedImages
from septet.preprocess.shards.heads import read_head
from tests.browser import browser as browser
from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer
from tests.pipelines.browse.serving import Visitor, served
from tests.pipelines.takedown.corpora import records, taken_down


@pytest.mark.browser
def test_a_reject_has_its_image_until_that_is_removed(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"/{name}.jpg": random_image(name) for name in range(4)}
    images["/copy.jpg"] = images["/3.jpg"]
    corpus = tmp_path / "corpus"
    with HostileServer(images) as server:
        lines = [
            {"url": server.url(path), "caption": f"A boat named {path[1:-4]} in the harbour"}
            for path in (*images, "/absent.jpg")
        ]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (tmp_path / "recipe.yaml").write_text(
            "name: site\nsources: [{kind: list, paths: ['*.jsonl']}]\n"
            f"fetch: {{allowed_hosts: ['{server.host}'], backoff: 0.01}}\n"
            "curate: {identical_images: keep_one}\n"
        )
        run_build(tmp_path / "recipe.yaml", corpus)
    lost = rows(corpus, "rejects")
    (copy,) = (row for row in lost if row["reason"] == "duplicate_image")
    known = RejectedImages(str(corpus), read_head(str(corpus)).recipe)
    found = known.find(lost)
    assert list(found) == [copy["image_url"]], "of the absent one there is none"
    assert known.read(found[copy["image_url"]]) == images["/3.jpg"]
    with monkeypatch.context() as patched:
        patched.setattr(by_url, "read_stored", None)  # no table has it, so none is read again
        assert known.find([lost[0] | {"image_url": "http://elsewhere.example/x.jpg"}]) == {}
    page = (corpus / "stats/report.html").read_text()
    clusters = page.split('aria-label="Clusters of duplicate image"')[1].split("</ul>")[0]
    assert clusters.count('src="data:image/webp;base64,') == 2

    kept, keys = copy["value"][:32], sorted(records(corpus))
    with served(corpus, tmp_path) as address:
        one = Visitor(browser, address)
        for path in ("/rejects/curate/duplicate_image", f"/samples/0/{keys.index(kept)}"):
            one.go(path)
            one.until("document.querySelector('img.small').naturalWidth > 10")
            assert one.page.locator("img.small").count() == 1
        source = one.page.get_attribute("img.small", "src")
        looked = []
        monkeypatch.setattr(RejectedImages, "find", lambda self, rows: looked.append(rows) or {})
        one.go("/rejects/curate/duplicate_image")
        assert one.page.locator("img.small").count() == 1 and not looked, "it was looked for before"
        monkeypatch.undo()
        one.go("/rejects/fetch/http_status")
        assert one.page.locator("img.small").count() == 0
        assert one.page.request.get(f"{address}/reject-image?url=x").status == 404
        assert one.page.request.get(f"{address}{source}").status == 200
        (tmp_path / "ids.txt").write_text(kept)
        assert taken_down(corpus, ids=tmp_path / "ids.txt").removed == 1
        assert one.page.request.get(f"{address}{source}").status == 404
        assert one.complaints == one.outside == []
        one.page.close()
    assert known.find(lost) == {}
    with pytest.raises(ValueError, match="removed"):
        known.read(found[copy["image_url"]])
    write_report(str(corpus))
    assert 'aria-label="Clusters of duplicate image"' in (corpus / "stats/report.html").read_text()
    assert b"data:image/webp" in (corpus / "stats/report.html").read_bytes()  # of those kept
