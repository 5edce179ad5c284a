"""Takedown in a corpus on an object store."""

from pathlib import Path

import fsspec
import pytest

import septet
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.shards.reader import Corpus
from tests.corpora import random_image
from tests.object_store import object_store, upload
from tests.pipelines.takedown.corpora import built, same_image


def _records(corpus: str) -> dict[str, dict]:
    import json

    return {one["key"]: one for one in (json.loads(s["json"]) for s in Corpus(corpus))}


def test_samples_leave_a_corpus_on_an_object_store(tmp_path: Path) -> None:
    local = built(tmp_path)
    septet.curate(local, "all")
    with object_store() as bucket:
        corpus = upload(local, f"{bucket}/corpus")
        fs, plain = fsspec.url_to_fs(corpus)

        def tars() -> dict[str, str]:
            found = fs.find(plain, detail=True)
            return {path.removeprefix(plain): entry["ETag"] for path, entry in found.items()
                    if path.endswith(".tar")}  # fmt: skip

        before, first = _records(corpus), tars()
        key = sorted(before)[9]
        gone = same_image(before, key)
        listed = f"{bucket}/keys.txt"
        with fsspec.open(listed, "wb") as file:
            file.write(f"{key}\n".encode())
        taken, _ = septet.remove(corpus, ids=listed)
        assert taken and taken.removed == len(gone)
        (tmp_path / "photo.jpg").write_bytes(random_image(5, 305, 280))
        alike, _ = septet.remove(corpus, phash=tmp_path / "photo.jpg")
        assert alike and alike.removed > 0
        after = _records(corpus)
        assert not gone & set(after) and len(after) == len(before) - taken.removed - alike.removed
        assert set(_records(f"{corpus}@all")) == set(after) and tars() == first
        assert septet.stats(corpus).samples == len(after)

        _, done = septet.remove(corpus, compact=True)
        assert done and done.samples == taken.removed + alike.removed
        assert _records(corpus) == after and set(_records(f"{corpus}@all")) == set(after)
        last = tars()
        kept = {name for name in first if last.get(name) == first[name]}
        assert (
            kept
            and len(last) == len(first)
            and set(first) - kept
            and not set(last) & (set(first) - kept)
        )
        opened = Corpus(corpus)
        for number in range(len(opened.shards)):
            with ColumnShardReader(opened, "words", number) as reader:
                assert all(reader.exts(int(row)) for row in opened.rows(number))
        assert septet.check(corpus) == []
        again, done = septet.remove(corpus, ids=listed, compact=True)
        assert again and done and (again.removed, again.before, done.shards) == (0, 1, 0)


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    local = built(tmp_path, parts=1, pages=2, images=4)
    with object_store() as bucket, pytest.raises(ValueError, match="there is no such file"):
        septet.remove(local, ids=f"{bucket}/none.txt")
