"""All pages of a corpus that was made to do harm, walked in a real browser."""

from pathlib import Path
from urllib.parse import quote, unquote

from playwright.sync_api import Browser

from septet.pipelines.browse.site import BUILD
from septet.pipelines.report.sections import SECTIONS
from septet.preprocess.shards.reader import Corpus
from tests.browser import browser as browser
from tests.pipelines.browse.hostile import COLUMNS, DAMAGED, LIES, REJECTED, SAMPLES, write_hostile
from tests.pipelines.browse.serving import Visitor, served

ENTRIES = [*SAMPLES, *LIES, *DAMAGED, *COLUMNS, *map(str, range(len(REJECTED)))]

FAULTS = """() => [
    document.querySelectorAll("header nav").length === 1 || "no page of ours",
    document.querySelector("main :is(iframe, base, script, style, object, embed, link, [style], "
        + "[onload], [onerror], [onfocus], [onclick], form:not([action^='/']))")?.outerHTML.slice(0, 80),
    [...document.links].find((link) => link.origin !== location.origin)?.href,
    document.documentElement.scrollWidth > innerWidth && "wider than the window",
].filter((one) => one && one !== true)"""
"""What a page must not have."""


def test_no_page_does_harm(browser: Browser, tmp_path: Path) -> None:
    assert len(ENTRIES) >= 60
    hostile = write_hostile(tmp_path / "<b>hostile'\"")
    shards = Corpus(str(hostile)).shards
    with served(hostile, tmp_path / "scratch") as address:
        one = Visitor(browser, address)
        seen: dict[str, int] = {}
        faults: list[tuple[str, list[str]]] = []

        def visit(path: str) -> None:
            answer = one.page.goto(address + path, wait_until="domcontentloaded")
            seen[path] = answer.status if answer else 0
            found = one.page.evaluate(FAULTS)
            if found:
                faults.append((path[:80], found))

        one.go("/samples")  # whose images are waited for
        visit("/")
        for name in (*SECTIONS, BUILD):
            visit(f"/?figures={name}")
        for path in ("/samples", "/samples?page=2", "/samples?sort=caption", "/samples?sort=width",
                     "/samples?sort=extra", "/samples?sort=key&order=falling", "/rejects"):  # fmt: skip
            visit(path)
        for number, shard in enumerate(shards):
            for row in range(shard.samples):
                visit(f"/samples/{number}/{row}")
        for name, way in (("hebrew", "rtl"), ("arabic", "rtl"), ("script", "ltr")):
            one.go(f"/samples/0/{[*SAMPLES].index(name)}")
            shown = "getComputedStyle(document.querySelector('blockquote')).direction"
            assert one.page.evaluate(shown) == way
        one.go("/rejects")
        reasons = one.page.locator("main a").evaluate_all(
            "(all) => all.map((a) => a.getAttribute('href'))"
        )
        for path in [*reasons, "/rejects/%3Cscript%3Ealert(7)/x?words=<script>alert(8)</script>",
                     "/samples?keep=" + quote("caption == '<script>alert(19)</script>'"),
                     "/?keep=" + quote("\"><script>alert(20)</script>"), "/keys?key=" + quote("<script>"),
                     "/samples?sort=" + quote("<script>")]:  # fmt: skip
            visit(path)
        for how in ("false", "image"):
            assert one.page.request.get(f"{address}/codes/{how}/codes/0/0/0").status == 404
        assert faults == []
        assert one.dialogs == one.outside == []
        assert set(seen.values()) <= {200, 400, 404}, seen
        told = [path for path, status in seen.items() if status != 200 and "/samples/" in path]
        lost = [f"/samples/{1 + len(LIES) + number}/{row}" for number in (0, 1) for row in range(3)]
        assert told == [f"/samples/{1 + [*LIES].index('two rows')}/0", *lost]
        named = one.page.locator(".faults li b").all_text_contents()
        assert {"shards/flipped.parquet", "shards/lost.parquet", "rejects/within.parquet"} <= {
            *named
        }
        assert sum("ocr" in name for name in named) == 1, "the shards' own are shown without it"
        refused = ("status of 404", "status of 400")
        assert [text for text in one.complaints if not any(why in text for why in refused)] == []
        assert len(reasons) >= len({(row["stage"], row["reason"]) for row in REJECTED}), unquote(
            str(reasons)
        )
