"""Who forbids the use of images is heard in a page, in its headers and in those of an image."""

from pathlib import Path

from tests.corpora import random_image, rows, run_build
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
    url, body, told = image(f"http://e.org/{name}.jpg", random_image(seed), "image/jpeg")
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


def test_a_recipe_of_another_name_is_addressed_by_that_name(tmp_path: Path) -> None:
    """In pages, in headers and in archived texts; another name changes what was read before."""
    words = "</head><p>Words that stand in a page, and more of them.</p>"
    named = {
        "mine": page("mine", f"<meta name=mybot content=noai>{words}"),
        "head": page("head", words, **{"X-Robots-Tag": "MyBot: noai"}),
        "septet": page("septet", f"<meta name=septet content=noai>{words}"),
        "free": page("free", words),
    }
    photos = [photo(name, n) for n, name in enumerate(named)]
    photos[3] = photo("free", 3, **{"X-Robots-Tag": "mybot: noai"})
    write_warc(tmp_path / "a.warc.gz", [*named.values(), *photos])
    recipe = tmp_path / "t.yaml"
    for agent, kept in (("Septet/0.1", {"mine", "head", "free"}), ("MyBot/2.0 (x)", {"septet"})):
        recipe.write_text(RECIPE + f"fetch: {{user_agent: {agent}}}\n")
        run_build(recipe, tmp_path / "t")
        found = {row["url"].rpartition("/")[2][:-4] for row in rows(tmp_path / "t", "shards")}
        assert found == kept, agent
    recipe.write_text(
        "name: t\nsources: [{kind: text, paths: [a.warc.gz]}]\nfetch: {user_agent: MyBot/2.0}\n"
    )
    run_build(recipe, tmp_path / "texts")
    lost = {
        row["page_url"] for row in rows(tmp_path / "texts", "rejects") if row["reason"] == "opt_out"
    }
    assert lost == {"http://e.org/mine.html", "http://e.org/head.html"}


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
