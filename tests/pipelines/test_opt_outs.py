"""Who forbids the use of images is heard in a page, in its headers and in those of an image."""

from pathlib import Path

from tests.corpora import picture, rows, run_build
from tests.warcs import html, image, write_warc

RECIPE = """
name: t
sources:
  - {kind: warc, paths: [a.warc.gz]}
filter: {min_words: 1}
"""


def page(name: str, head: str = "", **headers: str):
    figure = f"<img src='/{name}.jpg' alt='A picture of {name} in the snow'>"
    url, body, told = html(f"http://e.org/{name}.html", f"<html><head>{head}</head>{figure}</html>")
    return url, body, {**told, **headers}


def photo(name: str, seed: int, **headers: str):
    url, body, told = image(f"http://e.org/{name}.jpg", picture(seed), "image/jpeg")
    return url, body, {**told, **headers}


PAGES = {
    "free": page("free"),
    "bot": page("bot", "<meta name=googlebot content=noindex>"),
    "other": page("other", **{"X-Robots-Tag": "nofollow"}),
    "meta": page("meta", "<meta name='ROBOTS' content='NoIndex, follow'>"),
    "scoped": page("scoped", "<meta name=septet content=noai>"),
    "tdm": page("tdm", "<meta name=tdm-reservation content=1>"),
    "header": page("header", **{"X-Robots-Tag": "noimageai"}),
    "tdmheader": page("tdmheader", **{"tdm-reservation": "1"}),
    "imagesays": page("imagesays"),
    "imagetdm": page("imagetdm"),
}
IMAGE_HEADERS = {
    "imagesays": {"X-Robots-Tag": "noai"},
    "imagetdm": {"TDM-Reservation": "1"},
    "bot": {"X-Robots-Tag": "somebot: noindex"},
}


def test_opt_outs_count_wherever_they_are_said(tmp_path: Path) -> None:
    photos = [photo(name, n, **IMAGE_HEADERS.get(name, {})) for n, name in enumerate(PAGES)]
    write_warc(tmp_path / "a.warc.gz", [*PAGES.values(), *photos])
    recipe = tmp_path / "t.yaml"
    recipe.write_text(RECIPE)
    run_build(recipe, tmp_path / "t")
    kept = {row["url"] for row in rows(tmp_path / "t", "shards")}
    assert kept == {f"http://e.org/{name}.jpg" for name in ("free", "bot", "other")}
    lost = {
        (
            row["stage"],
            (row["page_url"] or row["image_url"]).split("/")[-1].split(".")[0],
            row["value"],
        )
        for row in rows(tmp_path / "t", "rejects")
        if row["reason"] == "opt_out"
    }
    assert lost == {
        ("source", "meta", "noindex"),
        ("source", "scoped", "noai"),
        ("source", "tdm", "tdm-reservation"),
        ("source", "header", "noimageai"),
        ("source", "tdmheader", "tdm-reservation"),
        ("fetch", "imagesays", "noai"),
        ("fetch", "imagetdm", "tdm-reservation"),
    }


def test_opt_outs_can_be_left_unheeded(tmp_path: Path) -> None:
    photos = [photo(name, n, **IMAGE_HEADERS.get(name, {})) for n, name in enumerate(PAGES)]
    write_warc(tmp_path / "a.warc.gz", [*PAGES.values(), *photos])
    recipe = tmp_path / "t.yaml"
    off = "opt_out: [], tdm_reservation: false"
    recipe.write_text(
        RECIPE.replace("paths: [a.warc.gz]", f"paths: [a.warc.gz], {off}") + f"fetch: {{{off}}}\n"
    )
    run_build(recipe, tmp_path / "t")
    assert len(rows(tmp_path / "t", "shards")) == len(PAGES)
