"""What a removal asks for stays out of later builds, whether or not a sample had it then."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

import septet
from septet.pipelines.cli import main
from septet.pipelines.stages.barred import Barred
from septet.preprocess.images.appearance import appearance_of
from septet.preprocess.shards.barred import bar, newest_barred, read_barred_list, text_key
from septet.preprocess.shards.heads import read_head
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.text.ids import sample_id, url_hash
from septet.schemas.manifest import BARRED_LIST, REMOVED_LIST
from septet.schemas.versioned import ManifestError
from tests.corpora import random_image, rows, run_build
from tests.pipelines.takedown.corpora import records, taken_down
from tests.pipelines.takedown.test_indexed import foreign, keys
from tests.warcs import html, image, write_warc


def copy_of(data: bytes) -> bytes:
    """The image smaller, brighter and compressed again."""
    with Image.open(io.BytesIO(data)) as opened:
        smaller = ImageEnhance.Brightness(opened.resize((260, 195))).enhance(1.05)
    out = io.BytesIO()
    smaller.save(out, "JPEG", quality=70)
    return out.getvalue()


def phash(data: bytes) -> str:
    return appearance_of(data, 10**6).phash


def archive(path: Path, images: dict[str, bytes], pages: dict[str, list[str]]) -> None:
    """Pages that show images, beside captions with their names, and the images."""
    texts = [
        html(page, "<html>" + "".join(f'<img src="{url}" alt="The picture {_name(url)}">'
                                      for url in urls) + "</html>")
        for page, urls in pages.items()
    ]  # fmt: skip
    write_warc(path, [*texts, *(image(url, data, "image/jpeg") for url, data in images.items())])


def _name(url: str) -> str:
    return re.sub(r"\W+", " ", url.partition("//")[2])


def shown(corpus: Path) -> set[str]:
    return {one["url"] for one in records(corpus).values() if one.get("url")}


TEXTS = "  - {kind: list, paths: ['*.jsonl'], url_col: null, caption_col: caption}\n"


def recipe_of(folder: Path, more: str = "", texts: str = "") -> Path:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"name: site\nsources:\n  - {{kind: warc, paths: ['*.warc.gz']}}\n{texts}"
        f"write: {{samples_per_shard: 4}}\n{more}"
    )
    return recipe


def test_what_matched_nothing_is_dropped_by_the_next_build(tmp_path: Path) -> None:
    archive(
        tmp_path / "a.warc.gz",
        {f"http://a.test/{n}.jpg": random_image(n) for n in range(4)},
        {"http://a.test/": [f"http://a.test/{n}.jpg" for n in range(4)]},
    )
    recipe, corpus = recipe_of(tmp_path), tmp_path / "corpus"
    run_build(recipe, corpus)
    before = records(corpus)
    (tmp_path / "photo.png").write_bytes(_png(random_image(9)))
    (tmp_path / "looks.txt").write_text(
        f"# by hash and by image\n{phash(random_image(8)).upper()}\nphoto.png\n"
    )
    (tmp_path / "urls.txt").write_text("http://A.test/5.jpg\nhttp://a.test/bad.html#top\n")
    (tmp_path / "ids.txt").write_text(sample_id("http://a.test/6.jpg", "The picture a test 6 jpg"))
    for how, value, lines in (
        ("phash", tmp_path / "looks.txt", 2), ("urls", tmp_path / "urls.txt", 2),
        ("ids", tmp_path / "ids.txt", 1), ("domain", "b.test", 1),
    ):  # fmt: skip
        taken = taken_down(corpus, **{how: value})
        assert (taken.removed, len(taken.unknown)) == (0, lines)
    assert records(corpus) == before and read_head(str(corpus)).format_version == 2
    named = newest_barred(str(corpus))
    assert taken_down(corpus, domain="B.test.").removed == 0 and newest_barred(str(corpus)) == named

    bad = {
        "http://a.test/5.jpg": random_image(5), "http://a.test/6.jpg": random_image(6),
        "http://www.b.test/7.jpg": random_image(7), "http://a.test/8.jpg": random_image(8),
        "http://c.test/nine.jpg": copy_of(random_image(9)), "http://c.test/11.jpg": random_image(11),
        "http://c.test/12.jpg": random_image(12),
    }  # fmt: skip
    good = {"http://c.test/13.jpg": random_image(13)}
    archive(
        tmp_path / "b.warc.gz",
        bad | good,
        {
            "http://a.test/more": [*list(bad)[:5], *good],
            "http://a.test/bad.html": ["http://c.test/11.jpg"],
            "http://img.b.test/x/": ["http://c.test/12.jpg"],
        },
    )
    run_build(recipe, corpus)
    assert shown(corpus) == {*good, *(f"http://a.test/{n}.jpg" for n in range(4))}
    lost = [row for row in rows(corpus, "rejects") if row["reason"] == "removed"]
    assert sorted(row["stage"] for row in lost) == ["curate"] * 2 + ["dedup"] * 5
    assert run_build(recipe, corpus).nothing_to_do
    # A new corpus beside the same lists drops the same.
    shutil.copytree(corpus / "removed", tmp_path / "other/removed")
    run_build(recipe, tmp_path / "other")
    assert records(tmp_path / "other") == records(corpus)


def _png(data: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as opened:
        opened.save(out, "PNG")
    return out.getvalue()


def test_what_looks_alike_goes_and_what_has_its_bytes(tmp_path: Path) -> None:
    images = {
        "http://a.test/0.jpg": random_image(0), "http://a.test/copy.jpg": copy_of(random_image(0)),
        "http://a.test/same.jpg": copy_of(random_image(0)),
        **{f"http://a.test/{n}.jpg": random_image(n) for n in range(1, 6)},
    }  # fmt: skip
    archive(tmp_path / "a.warc.gz", images, {"http://a.test/": list(images)})
    corpus = tmp_path / "corpus"
    run_build(recipe_of(tmp_path, "curate: {identical_images: keep_all}\n"), corpus)
    assert shown(corpus) == set(images)
    (tmp_path / "photo.jpg").write_bytes(random_image(0))
    taken = taken_down(corpus, phash=tmp_path / "photo.jpg")
    assert (taken.removed, taken.unknown) == (3, ())
    assert shown(corpus) == {f"http://a.test/{n}.jpg" for n in range(1, 6)}
    assert taken_down(corpus, phash=tmp_path / "photo.jpg").before == 1
    # A hash alone: that of the image, not that of one which is merely somewhat near.
    hash_ = phash(random_image(2))
    (tmp_path / "far.txt").write_text(f"{int(hash_, 16) ^ 0b11111:016x}")
    assert taken_down(corpus, phash=tmp_path / "far.txt").removed == 0
    (tmp_path / "near.txt").write_text(f"{int(hash_, 16) ^ 0b1111:016x}\n{phash(random_image(77))}")
    taken = taken_down(corpus, phash=tmp_path / "near.txt")
    assert taken.removed == 1 and taken.unknown == (phash(random_image(77)),)
    assert "http://a.test/2.jpg" not in shown(corpus) and len(shown(corpus)) == 4


def test_images_of_foreign_tars_are_looked_at(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "tars")
    before = keys(folder)
    (tmp_path / "photo.jpg").write_bytes(copy_of(random_image(12)))
    assert taken_down(folder, phash=tmp_path / "photo.jpg").removed == 1
    assert [key for key in before if key not in keys(folder)] == ["000010002"]


def test_lists_of_looks_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, listed = foreign(tmp_path / "tars"), tmp_path / "list.txt"
    (tmp_path / "broken.jpg").write_bytes(random_image(1)[:200])
    for text, message in (
        (
            "0123456789abcde",
            r"'0123456789abcde' is no hash of 16 hex digits, nor an image that can",
        ),
        ("http://a.test/1.jpg", r"'http://a\.test/1\.jpg' is a URL, and no server is asked"),
        ("no-such.jpg", "'no-such.jpg' is no hash of 16"),
        ("list.txt", "'list.txt' is no image that can be used: not_image"),
        ("broken.jpg", "'broken.jpg' is no image that can be used: decode_error"),
        ("# nothing", "holds no line"),
    ):
        listed.write_text(text + "\n")
        with pytest.raises(ValueError, match=message):
            septet.remove(folder, phash=listed)
    with pytest.raises(ValueError, match="there is no such file"):
        septet.remove(folder, phash=tmp_path / "none.jpg")
    with pytest.raises(ValueError, match=r"broken\.jpg is no image that can be used: decode_error"):
        septet.remove(folder, phash=tmp_path / "broken.jpg")
    assert not (folder / "removed").exists()
    with pytest.raises(SystemExit) as ended:
        main(["remove", str(folder), "--domain", "z.test"])
    said = capsys.readouterr().err
    assert ended.value.code == 0 and "1 lines name no sample: z.test\nlater builds drop" in said


def test_a_text_that_is_cleaned_otherwise_does_not_come_back(tmp_path: Path) -> None:
    texts = ("Buy now: the Red Cat — sleeps!!!", "A dog that is awake", "The red cat sleeps")
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"caption": text}) + "\n" for text in texts)
    )
    write_warc(tmp_path / "a.warc.gz", [html("http://a.test/", "<html></html>")])
    corpus = tmp_path / "corpus"
    run_build(recipe_of(tmp_path, "filter: {crop: ['buy now']}\n", TEXTS), corpus)
    known = {one["caption"]: key for key, one in records(corpus).items()}
    assert set(known) == {"the Red Cat — sleeps!!!", *texts[1:]}
    (tmp_path / "ids.txt").write_text(known["the Red Cat — sleeps!!!"])
    assert taken_down(corpus, ids=tmp_path / "ids.txt").removed == 1
    for more in ("", "filter: {fold_punctuation: true}\n", "filter: {crop: ['buy']}\n"):
        run_build(recipe_of(tmp_path, more, TEXTS), corpus)
        assert {one["caption"] for one in records(corpus).values()} == {"A dog that is awake"}
    (row,) = {row["reason"] for row in rows(corpus, "rejects")}
    assert row == "removed"


def test_keys_of_texts() -> None:
    assert text_key("A  cat!") == text_key("ａ ＣＡＴ") != text_key("a cat 2")
    assert text_key("猫が 寝ている。") == text_key("猫が寝ている")
    assert len({text_key("!!"), text_key("?"), text_key("")}) == 3


def table(*given: tuple[str | None, str | None, str | None]) -> pa.Table:
    images, pages, captions = zip(*given, strict=True)
    ids = [sample_id(image, caption or None) for image, _, caption in given]
    return pa.table({
        "id": ids, "image_url": pa.array(images, pa.string()), "page_url": pa.array(pages, pa.string()),
        "caption": pa.array(captions, pa.string()), "extra": pa.nulls(len(given), pa.string()),
    })  # fmt: skip


def test_places_are_barred_for_images_and_pages() -> None:
    found = [
        {"what": "url", "value": f"{url_hash('http://a.test/x'):016x}"},
        {"what": "domain", "value": "b.test"},
        {"what": "text", "value": text_key("Hello there")},
    ]
    barred = Barred.of(REMOVED_LIST.empty_table(), pa.Table.from_pylist(found, BARRED_LIST))
    given = table(
        ("http://a.test/x", None, "a"), ("http://c.test/", "http://a.test/x", "a"),
        ("http://IMG.b.test:80/1", None, "a"), ("http://c.test/", "https://u@b.test./", "a"),
        (None, None, "HELLO, there"), ("http://c.test/", None, "hello there"),
        ("http://notb.test/", "http://c.test/b.test", "a"), (None, None, "hello you there"),
    )  # fmt: skip
    assert barred.samples(given).to_pylist() == [True] * 5 + [False] * 3
    assert barred.samples(given.slice(0, 0)).to_pylist() == []
    assert not any(
        Barred.of(REMOVED_LIST.empty_table(), BARRED_LIST.empty_table()).samples(given).to_pylist()
    )


def test_lists_grow_and_are_never_changed(tmp_path: Path) -> None:
    def listed(*values: str) -> pa.Table:
        return pa.Table.from_pylist([{"what": "domain", "value": v} for v in values], BARRED_LIST)

    corpus, seen = str(tmp_path), []
    for values in (("b", "b"), ("a", "b"), ("c",), ("d",)):
        assert bar(corpus, listed(*values))
        seen.append(newest_barred(corpus))
        assert not bar(corpus, listed(*values))
    found = read_barred_list(newest_barred(corpus))
    assert found["value"].to_pylist() == ["a", "b", "c", "d"] and len(set(seen)) == 4
    left = sorted(path.name for path in (tmp_path / "removed").iterdir())
    assert left == ["barred-0003.parquet", "barred-0004.parquet"]
    (tmp_path / "removed/barred-0005.parquet").write_bytes(b"no list")
    with pytest.raises(ManifestError, match="says what must not come back"):
        read_barred_list(newest_barred(corpus))


def test_commands_that_need_a_corpus_say_so_of_a_view(tmp_path: Path) -> None:
    archive(
        tmp_path / "a.warc.gz",
        {f"http://a.test/{n}.jpg": random_image(n) for n in range(4)},
        {"http://a.test/": [f"http://a.test/{n}.jpg" for n in range(4)]},
    )
    corpus = tmp_path / "corpus"
    run_build(recipe_of(tmp_path), corpus)
    septet.curate(corpus, "some", keep=['url == "http://a.test/2.jpg"'])
    view, ids = f"{corpus}@some", corpus / "views/some/ids.npy"
    with pytest.raises(ValueError, match=rf"is a view: .*`septet remove {corpus} --ids {ids}`"):
        septet.remove(view, domain="a.test")
    with pytest.raises(ValueError, match=rf"is a view: .*`septet remove {corpus} --compact`"):
        septet.remove(view, compact=True)
    for remove in (False, True):
        with pytest.raises(ValueError, match=rf"is a view: .*`septet clean {corpus}`"):
            septet.clean(view, remove=remove)
    assert taken_down(corpus, ids=ids).removed == 1
    assert len(Corpus(view)) == 0 and len(Corpus(str(corpus))) == 3
    assert np.load(ids).size == 1
