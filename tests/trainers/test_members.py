"""Members of a corpus's samples: how many files stay open, and how many bytes are read."""

import hashlib
import resource
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import pytest

from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import column_sidecar
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.members import SPARE_FILES, Members
from septet.trainers.task import SampleError, Stream
from tests.corpora import run_annotation
from tests.pipelines.annotate.columns_to_test import HERE
from tests.trainers.corpora import write_corpus
from tests.trainers.test_loader import Texts


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """The limits on open files, as they were again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def pairs(folder, count=40, first=0) -> Corpus:
    """Samples of a column that has no value where the caption is a multiple of three."""
    samples = [
        (f"{i:032x}", {"jpg": b"p" * 5000, "txt": f"{first + i:03}".encode()}) for i in range(count)
    ]
    write_corpus(folder, samples, 20)
    run_annotation(folder, f"{HERE}:Bytes", name="codes")
    return Corpus(str(folder))


def test_the_limit_on_open_files_is_raised_where_shards_need_it_and_never_lowered(tmp_path, limits):
    members = Members(pairs(tmp_path), Stream(("txt",), ("codes",)), Texts())
    soft, hard = 600, limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raised = 2 * 173 + SPARE_FILES  # Each shard with its column.
    for shards, expected in ((50, soft), (172, soft), (173, raised), (50, raised)):
        members.keep_open(shards)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)


def test_no_more_shards_stay_open_than_files_may(tmp_path, monkeypatch):
    corpus = pairs(tmp_path)
    members = Members(corpus, Stream(("txt",), ("codes",)), Texts())
    kept = []
    corpus.keep_open = kept.append
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (SPARE_FILES + 10, SPARE_FILES + 40))
    set_to = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_to.append(limits))
    members.keep_open(1000)
    assert kept == [20]
    assert set_to == [(SPARE_FILES + 40, SPARE_FILES + 40)]


@pytest.mark.parametrize("members,columns,expected", [
    (("txt",), (), 3), (("jpg|png",), (), 5000), (("jpg", "txt"), (), 5003),
])  # fmt: skip
def test_bytes_of_a_sample_are_those_that_a_stream_reads(tmp_path, members, columns, expected):
    found = Members(pairs(tmp_path), Stream(members, columns), Texts())
    assert found.bytes_per_sample() == expected


def test_a_value_of_another_sample_is_damage_of_its_row_alone(tmp_path):
    corpus = pairs(tmp_path)
    path = tmp_path / column_sidecar("codes", corpus.shards[1].tar)
    table = pq.read_table(path)
    keys = table["key"].to_pylist()
    keys[4] = "of another sample"
    pq.write_table(table.set_column(table.schema.get_field_index("key"), "key", [keys]), path)
    members = Members(corpus, Stream(("txt",), ("codes",)), Texts())
    with pytest.raises(SampleError, match="column codes has another key in this row") as error:
        members.read(1, 4)
    assert error.value.outcome == "damaged"
    assert members.read(0, 4).key == f"{4:032x}"
    sample = members.read(1, 5)
    assert (sample.key, sample["txt"]) == (f"{25:032x}", b"025") and sample["codes"]


def test_an_empty_corpus_has_no_bytes(tmp_path):
    empty = Corpus(str(write_corpus(tmp_path, [])))
    assert Members(empty, Stream(("txt",)), Texts()).bytes_per_sample() == 0


def test_which_samples_are_dropped_is_part_of_the_digest(tmp_path):
    """Runs are resumed by it: it is spelled out here."""
    corpora = [pairs(tmp_path / str(first), first=first) for first in (0, 1)]
    found = [Kept(corpus, ["codes"]) for corpus in corpora]
    assert [kept.dropped for kept in found] == [14, 13]
    for first, kept in enumerate(found):
        digest = hashlib.sha256(b"of the corpus")
        for shard in (0, 1):
            rows = [i for i in range(20) if (first + 20 * shard + i) % 3]
            assert kept.rows(shard).tolist() == rows
            digest.update(shard.to_bytes(8, "little") + np.array(rows, "<i8").tobytes())
        assert kept.digest("of the corpus") == digest.hexdigest()
    assert Kept(corpora[0]).digest("of the corpus") == "of the corpus"
