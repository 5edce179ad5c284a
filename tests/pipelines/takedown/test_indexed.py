"""Takedown in folders of shards that another tool wrote."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import septet
from septet.preprocess.shards.reader import Corpus
from tests.corpora import random_image
from tests.pipelines.takedown.corpora import by_webdataset, taken_down


def foreign(folder: Path) -> Path:
    """Two tars of four samples as img2dataset leaves them, the last of each with the same URL."""
    folder.mkdir()
    for number in range(2):
        keys = [f"{number:05d}{i:04d}" for i in range(4)]
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for i, key in enumerate(keys):
                for ext, data in (("jpg", random_image(10 * number + i)), ("txt", key.encode())):
                    info = tarfile.TarInfo(f"{key}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        urls = [f"https://a.test/{number}/{i}.jpg" for i in range(3)] + ["https://b.test/x.jpg"]
        table = pa.table({"key": keys, "url": urls, "status": ["success"] * 4})
        pq.write_table(table, folder / f"{number:05d}.parquet")
    septet.index(folder)
    return folder


def keys(folder: Path) -> list[str]:
    corpus = Corpus(str(folder))
    return [corpus.key(i) for i in range(len(corpus))]


@pytest.mark.parametrize("compact", [False, True])
def test_indexing_again_brings_nothing_back(tmp_path: Path, compact: bool) -> None:
    folder = foreign(tmp_path / "tars")
    everything = keys(folder)
    (tmp_path / "ids.txt").write_text("000000003\n")
    # By its URL the last sample of the other tar goes, too.
    assert taken_down(folder, ids=tmp_path / "ids.txt").removed == 2
    left = [key for key in everything if not key.endswith("3")]
    if compact:
        _, done = septet.remove(folder, compact=True)
        assert done and (done.shards, done.samples) == (2, 2)
        assert {path.name for path in folder.glob("*.tar")} == {"00000-r1.tar", "00001-r1.tar"}
        assert by_webdataset(folder, "") == set(left)
    assert keys(folder) == left
    septet.index(folder)
    corpus = Corpus(str(folder))
    urls = [url for n in range(2) for url in corpus.metadata(n)["url"].to_pylist() if url]
    assert urls == [f"https://a.test/{number}/{i}.jpg" for number in range(2) for i in range(3)]
    assert keys(folder) == left and septet.check(folder) == []
    assert taken_down(folder, ids=tmp_path / "ids.txt").before == 1
