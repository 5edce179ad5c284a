"""`septet index` of folders as people have them: what is not taken is named and counted."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.index import Indexed, index_folder
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess.shards.reader import Corpus

QUIET = Console(quiet=True)


def write_tar(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"words"))


def samples(first: int, count: int) -> list[str]:
    return [f"{i:04d}.{ext}" for i in range(first, first + count) for ext in ("jpg", "txt")]


def index(folder: Path) -> Indexed:
    return index_folder(str(folder), None, QUIET)


def test_a_half_written_tar_is_left_out_and_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", samples(0, 4))
    write_tar(tmp_path / "00001.tar", samples(4, 4))
    (tmp_path / "00002.tar").write_bytes((tmp_path / "00001.tar").read_bytes()[:1538])
    found = index(tmp_path)
    assert [line.partition(":")[0] for line in found.left_out] == ["00002.tar"]
    assert len(Corpus(str(tmp_path))) == 8 and found.manifest.counts["tars_left_out"] == 1
    assert check_corpus(str(tmp_path), False, QUIET) == []


def test_samples_that_no_reader_can_use_are_named_and_counted(tmp_path: Path) -> None:
    names = [*samples(0, 2), "0002.JPG", "0003.v1.jpg", "0004.npy", "0005.json", "notes", ".hidden"]
    write_tar(tmp_path / "00000.tar", names)
    found = index(tmp_path)
    assert found.manifest.samples == 6
    assert found.manifest.counts["samples_without_image_and_text"] == 4
    text = "\n".join(found.notes)
    for line in (
        "1 samples have no image and no text that is found, dot in the key: 0003.v1.jpg",
        "1 samples have no image and no text that is found, extension in upper case: 0002.JPG",
        "2 samples have no image and no text that is found, neither image nor text: 0004.npy",
        "1 members of tars belong to no sample, hidden: 00000.tar",
        "1 members of tars belong to no sample, without_extension: 00000.tar",
    ):
        assert line in text


def test_packed_tars_and_subfolders_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", samples(0, 2))
    (tmp_path / "00001.tar.gz").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    write_tar(tmp_path / "more/00000.tar", samples(2, 2))
    text = "\n".join(index(tmp_path).notes)
    assert "1 packed tars are left out, unpack them first: 00001.tar.gz" in text
    assert "1 subfolders hold tars of their own, index each: more" in text
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(ValueError, match="packed: unpack it first"):
        index(tmp_path)


def test_rows_without_a_sample_are_counted_by_status(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", samples(0, 3))
    status = ["success", "failed_to_download", "success", "success", "success"]
    table = {"key": [f"{i:04d}" for i in (0, 9, 1, 2, 7)], "status": status, "TEXT": list("abcde")}
    pq.write_table(pa.table(table), tmp_path / "00000.parquet")
    found = index(tmp_path)
    assert found.manifest.counts["rows_without_sample"] == 2
    assert any("failed_to_download 1, success 1" in note for note in found.notes)
    assert Corpus(str(tmp_path)).metadata(0, ["caption"])["caption"].to_pylist() == ["a", "c", "d"]
    assert corpus_statistics(str(tmp_path)).measures["caption_chars"].count == 3


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_key_in_two_tars_is_refused_whatever_their_order(
    tmp_path: Path, order: list[int]
) -> None:
    parts = [samples(0, 3), samples(2, 3)]
    for number, part in enumerate(order):
        write_tar(tmp_path / f"{number:05d}.tar", parts[part])
    with pytest.raises(ValueError, match=r"key '0002' stands in 00000\.tar and in 00001\.tar"):
        index(tmp_path)
    assert not (tmp_path / "corpus.json").exists()


def test_a_tar_of_any_name_keeps_it(tmp_path: Path) -> None:
    names = ["shards.tar", "a [1] b.tar", "c#d%20.tar"]
    for number, name in enumerate(names):
        write_tar(tmp_path / name, samples(10 * number, 2))
    index(tmp_path)
    assert sorted(shard.tar for shard in Corpus(str(tmp_path)).shards) == sorted(names)
    assert check_corpus(str(tmp_path), False, QUIET) == []
    assert index(tmp_path).manifest.shards == 3
