"""Lists without a header, several columns of captions, digests of images."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import InputError, Pair
from septet.pipelines.sources.lists import UrlList
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from septet.schemas.recipe_file import RecipeError, parse_recipe
from tests.corpora import digests, random_image, rows, run_build
from tests.http_server import HostileServer
from tests.pipelines.sources.test_lists import URL, found_in, of_row, settings_of

CC3M = [(f"a dog on street {n} of \"town\"", f"http://e.org/{n}.jpg") for n in range(40)]  # fmt: skip


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
@pytest.mark.parametrize("every", [1, 300, 10**6])
def test_columns_by_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, every: int
) -> None:
    for cut in (cuts.cut_lines, cuts.cut_csv):
        monkeypatch.setattr(cut, "__defaults__", (every,))
    plain = name == "a.tsv"
    lines = [
        f"{caption}\t{url}" if plain else '"{}",{}'.format(caption.replace('"', '""'), url)
        for caption, url in CC3M
    ]
    (tmp_path / name).write_text("\n".join(lines))
    facts = UrlList().describe(str(tmp_path / name), (tmp_path / name).stat().st_size)
    assert (len(facts.slices) > 2) == (every < 10**6)
    found = found_in(tmp_path / name, settings_of(columns=["caption", "url"]))
    assert [(one.caption, one.image_url) for one in found if isinstance(one, Pair)] == CC3M
    assert len(found) == len(CC3M)
    swapped = tmp_path / f"b{name[1:]}"  # as Conceptual 12M has it
    swapped.write_text(f"{CC3M[0][1]}{',' if not plain else chr(9)}a dog\n")
    (pair,) = found_in(swapped, settings_of(columns=["url", "caption"]))
    assert isinstance(pair, Pair) and (pair.image_url, pair.caption) == (CC3M[0][1], "a dog")


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("a.tsv", "a cat\thttp://e.org/1\n", None, r"no column 'url'.*`columns: \[caption, url\]`"),
        ("a.tsv", "a\tb\tc\n", ["caption", "url"], "3 columns in its first line, .* names 2: capt"),
        ("a.tsv", "caption\turl\n", ["caption", "url"], "is a header: take `columns` out"),
        ("a.jsonl", '{"url": 1}\n', ["url"], "names its columns itself"),
        ("a.csv", 'a "b,"c\n', None, "cannot be read as a header"),
        ("a.tsv", "a\tb\n", ["caption", "link"], "no column 'url'; it has caption, link. Set url_"),
        ("a.txt", "http://e.org/1", ["url", "caption"], "1 columns in its first line"),
        ("a.txt", "http://e.org/1", None, "set caption_col: null"),
    ],
)
def test_what_columns_a_list_has_is_told(
    tmp_path: Path, name: str, text: str, columns: list[str] | None, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        found_in(tmp_path / name, settings_of(columns=columns))


def test_a_bad_first_row_of_a_list_without_a_header_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'"a "cat",{URL}\na dog,{URL}\n')
    lost, kept = found_in(tmp_path / "a.csv", settings_of(columns=["caption", "url"]))
    assert isinstance(lost, Rejected) and lost.reason == "list_row"
    assert isinstance(kept, Pair) and kept.caption == "a dog"


def test_text_files_of_urls_and_of_captions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{URL}\n\nnot a URL\n{URL}?2\n")
    urls = found_in(tmp_path / "a.txt", settings_of(caption_col=None))
    assert [getattr(one, "reason", one.image_url) for one in urls] == [URL, "url_scheme", f"{URL}?2"]  # fmt: skip
    (tmp_path / "b.txt").write_text("a cat, a dog\n\ta cow\n")
    texts = found_in(tmp_path / "b.txt", settings_of(url_col=None, columns=["caption"]))
    assert [one.caption for one in texts if isinstance(one, Pair)] == ["a cat, a dog", "a cow"]


def test_several_columns_of_captions(tmp_path: Path) -> None:
    row = {"url": URL, "alt": "a cat", "title": ["a dog", "a cat"], "blip": 7, "none": None}
    columns = ["alt", "title", "blip", "none"]
    *pairs, lost = of_row(tmp_path, row, caption_col=columns)
    assert [(one.caption, one.caption_from) for one in pairs if isinstance(one, Pair)] == [
        ("a cat", "list:alt"), ("a dog", "list:title"),
    ]  # fmt: skip
    assert isinstance(lost, Rejected) and (lost.reason, lost.value) == ("caption_type", "int: 7")
    (empty,) = of_row(tmp_path, {"url": URL}, caption_col=["url", "gone"][1:], on_broken_input="reject")  # fmt: skip
    assert isinstance(empty, Rejected) and empty.value == "no gone"
    for wrong in ([], ["a", "a"]):
        with pytest.raises(ValueError, match="caption_col names a column twice, or none"):
            settings_of(caption_col=wrong)


def test_digests_are_hexadecimal_and_of_their_length(tmp_path: Path) -> None:
    md5 = hashlib.md5(b"").hexdigest()
    good = {"url": URL, "caption": "a cat", "md5": f" {md5.upper()} "}
    (pair,) = of_row(tmp_path, good, hash_col="md5", hash="md5")
    assert isinstance(pair, Pair) and pair.image_hash == f"md5:{md5}"
    for value in (md5[1:], "x" * 32, 7, ""):
        (lost,) = of_row(tmp_path, good | {"md5": value}, hash_col="md5", hash="md5")
        assert isinstance(lost, Rejected) and lost.reason == "list_row"
        assert "expected a md5 in column 'md5', found" in str(lost.value)
    (kept,) = of_row(tmp_path, good | {"md5": None}, hash_col="md5", incomplete_rows="keep")
    assert isinstance(kept, Pair) and kept.image_hash is None


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({f"/{n}.jpg": random_image(n) for n in range(4)}) as one:
        yield one


def write_list(folder: Path, server: HostileServer, lines: list[dict[str, Any]], more: str) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [line | {"url": server.url(line["url"])} for line in lines]
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"name: hashes\nsources: [{{kind: list, paths: [list.jsonl], {more}}}]\n"
        f"fetch: {{allowed_hosts: ['{server.host}']}}\ncurate: {{identical_images: keep_all}}\n"
    )
    return recipe


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_other_bytes_than_the_list_names_are_rejected(
    tmp_path: Path, server: HostileServer, kind: str
) -> None:
    """Each row is judged by its own digest, also where another row names the same image."""
    truth = [hashlib.new(kind, random_image(n)).hexdigest() for n in range(4)]
    lines = [
        {"url": f"/{n}.jpg", "caption": f"A picture {which} of number {n}", "hash": digest}
        for n in range(4)
        for which, digest in (("true", truth[n]), ("false", truth[n - 1]))
    ]
    recipe = write_list(tmp_path / "in", server, lines, f"hash_col: hash, hash: {kind}")
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    assert {s["txt"].decode(): s["jpg"] for s in Corpus(str(corpus))} == {
        f"A picture true of number {n}": random_image(n) for n in range(4)
    }
    lost = rows(corpus, "rejects")
    assert {(row["stage"], row["reason"], row["caption"], row["value"]) for row in lost} == {
        ("fetch", "hash_mismatch", f"A picture false of number {n}",
         f"found {kind} {truth[n]}, expected {truth[n - 1]}")
        for n in range(4)
    }  # fmt: skip
    assert len(lost) == 4
    funnel = json.loads((corpus / "stats/funnel.json").read_text())["stages"]
    assert all(stage["in"] == stage["out"] + sum(stage["rejected"].values()) for stage in funnel)
    run_build(recipe, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(corpus)


def test_images_are_fetched_again_only_for_a_digest_that_the_store_lacks(
    tmp_path: Path, server: HostileServer
) -> None:
    sha256, md5 = (hashlib.new(kind, random_image(0)).hexdigest() for kind in ("sha256", "md5"))
    lines = [{"url": "/0.jpg", "caption": "A picture of zero", "sha256": sha256, "md5": md5}]
    corpus = tmp_path / "corpus"
    asked = []
    for more in ("", "hash_col: sha256", "hash_col: md5, hash: md5", "hash_col: sha256", "extra_cols: [md5], hash_col: md5, hash: md5"):  # fmt: skip
        before = sum(server.hits.values())
        run_build(write_list(tmp_path / "in", server, lines, more), corpus)
        asked.append(sum(server.hits.values()) - before)
        assert [sample["jpg"] for sample in Corpus(str(corpus))] == [random_image(0)]
    assert asked == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("key", "ours"),
    [("save_additional_columns: [a]", "extra_cols"), ("verify_hash: [md5, md5]", "hash_col"),
     ("url_list: x.csv", "paths"), ("input_format: csv", "its ending says")],
)  # fmt: skip
def test_words_of_img2dataset_lead_to_ours(key: str, ours: str) -> None:
    recipe = f"name: t\nsources:\n  - kind: list\n    paths: [x.csv]\n    {key}\n"
    with pytest.raises(RecipeError, match=rf"recipe:5: .*img2dataset.*{ours}"):
        parse_recipe(recipe)
