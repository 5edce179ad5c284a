import io
import pickle
import tarfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
import webdataset as wds
from hypothesis import assume, given
from hypothesis import strategies as st

from septet.preprocess import files
from septet.preprocess.shards import sidecar
from septet.preprocess.shards.heads import write_corpus
from septet.preprocess.shards.reader import Corpus, DamagedError, ShardReader
from septet.preprocess.shards.tar import ShardWriter, TarError, index_tar, split_name
from septet.schemas import tables
from septet.schemas.manifest import Manifest, Shard
from septet.schemas.versioned import ManifestError

SAMPLES = {f"{i:04x}": {"jpg": bytes([i]) * (i * 37 % 700), "txt": f"caption {i}".encode(),
                        "json": b"{}"} for i in range(50)}  # fmt: skip


def write_shard(folder: Path, samples: dict[str, dict[str, bytes]], name: str = "00000") -> Shard:
    tar, index = str(folder / f"{name}.tar"), str(folder / f"{name}.parquet")
    with files.open_atomic(tar) as out:
        writer = ShardWriter(out)
        rows = [{"key": k, "members": writer.add(k, members)} for k, members in samples.items()]
        size, digest = writer.close()
    files.write_table(index, pa.Table.from_pylist(rows, tables.SHARD_INDEX))
    return Shard(
        tar=f"{name}.tar", sidecar=f"{name}.parquet", samples=len(samples), bytes=size,
        tar_sha256=digest, sidecar_sha256=files.sha256(index),
        first_key=min(samples), last_key=max(samples),
    )  # fmt: skip


def test_every_sample_comes_back_in_any_order(tmp_path: Path) -> None:
    write_shard(tmp_path, SAMPLES)
    with ShardReader(str(tmp_path / "00000.tar"), str(tmp_path / "00000.parquet")) as shard:
        assert shard.keys.to_pylist() == list(SAMPLES)
        for row in reversed(range(len(shard))):
            assert shard.read(row) == list(SAMPLES.values())[row]
            assert shard.exts(row) == ["jpg", "txt", "json"]


def test_a_sidecar_may_hold_as_much_as_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path, SAMPLES)
    path = str(tmp_path / "00000.parquet")
    monkeypatch.setattr(sidecar, "MAX_BYTES", sidecar.read_sidecar(path, ["key"]).nbytes)
    assert sidecar.read_sidecar(path, ["key"])["key"].to_pylist() == list(SAMPLES)
    monkeypatch.setattr(sidecar, "MAX_BYTES", sidecar.MAX_BYTES - 1)
    with pytest.raises(sidecar.SidecarError, match="bytes in key"):
        sidecar.read_sidecar(path, ["key"])


MEMBER = {"ext": "txt", "offset": 512, "size": 3, "crc32": 1}


@pytest.mark.parametrize(("rows", "message"), [
    ([{"key": None, "members": [MEMBER]}], "a row has no key"),
    ([{"key": "a", "members": None}], "a row has no list of members"),
    ([{"key": "a", "members": [None]}], "a row has no list of members"),
    ([{"key": "a", "members": [MEMBER | {"ext": None}]}], "no extension, place or checksum"),
    ([{"key": "a", "members": [MEMBER | {"crc32": None}]}], "no extension, place or checksum"),
    ([{"key": "a", "members": [MEMBER | {"offset": -1}]}], "negative offset or size"),
    ([{"key": "a", "members": [MEMBER | {"size": -1}]}], "negative offset or size"),
    ([{"key": "a", "members": [MEMBER, MEMBER | {"offset": 514}]}], "reaches into the next one"),
    ([{"key": "a", "members": [MEMBER, MEMBER | {"offset": 515}]}], None),
    ([{"key": "a", "members": [MEMBER | {"offset": 0, "size": 0}]}], None),
    ([{"key": "a", "members": []}], None),
])  # fmt: skip
def test_sidecars_that_mean_nothing_are_refused(
    tmp_path: Path, rows: list[dict[str, object]], message: str | None
) -> None:
    path = write_rows(tmp_path, rows)
    if message is None:
        assert len(ShardReader("a.tar", path)) == 1
    else:
        with pytest.raises(sidecar.SidecarError, match=message):
            ShardReader("a.tar", path)


def write_rows(folder: Path, rows: list[dict[str, object]]) -> str:
    """Rows as a sidecar, whatever they lack."""
    parts = [pa.field(part.name, part.type) for part in tables.MEMBERS.value_type]
    loose = pa.schema([("key", pa.string()), ("members", pa.list_(pa.struct(parts)))])
    files.write_table(str(folder / "a.parquet"), pa.Table.from_pylist(rows, loose))
    return str(folder / "a.parquet")


def test_rows_of_different_members_are_found(tmp_path: Path) -> None:
    content = b"0123456789"
    lists = ["jpg txt", "txt", "", "png txt json", "jpg txt", "webp jpg"]
    rows, wanted, at = list[dict[str, object]](), [], 0
    for number, exts in enumerate(map(str.split, lists)):
        row = {ext: bytes([number, i]) + content for i, ext in enumerate(exts)}
        members = []
        for ext, data in row.items():
            crc32 = zlib.crc32(data)
            members.append({"ext": ext, "offset": at, "size": len(data), "crc32": crc32})
            at += 512
        rows.append({"key": str(number), "members": members})
        wanted.append(row)
    tar = b"".join(data.ljust(512, b"-") for row in wanted for data in row.values())
    (tmp_path / "a.tar").write_bytes(tar)
    with ShardReader(str(tmp_path / "a.tar"), write_rows(tmp_path, rows)) as shard:
        assert [shard.exts(row) for row in range(6)] == [*map(str.split, lists)]
        for only in (None, frozenset({"txt"}), frozenset({"jpg", "json"})):
            for number, row in enumerate(wanted):
                found = shard.read(number, only, zlib.crc32)
                assert found == {e: d for e, d in row.items() if only is None or e in only}
        with pytest.raises(IndexError):
            shard.read(6)


def test_members_that_do_not_follow_each_other_are_damage(tmp_path: Path) -> None:
    members = [MEMBER | {"ext": "jpg", "offset": 1024}, MEMBER]
    (tmp_path / "a.tar").write_bytes(bytes(4096))
    with (
        ShardReader(
            str(tmp_path / "a.tar"), write_rows(tmp_path, [{"key": "a", "members": members}])
        ) as shard,
        pytest.raises(DamagedError, match="the sidecar is damaged"),
    ):
        shard.read(0)


def test_the_digest_and_size_are_the_files(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, SAMPLES)
    path = tmp_path / "00000.tar"
    assert (shard.bytes, shard.tar_sha256) == (path.stat().st_size, files.sha256(str(path)))
    assert shard.bytes % (20 * 512) == 0  # whole records, as POSIX has them


def test_other_readers_read_the_tar(tmp_path: Path) -> None:
    write_shard(tmp_path, SAMPLES)
    seen = {
        s["__key__"]: s for s in wds.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False)
    }
    assert {k: {e: s[e] for e in ("jpg", "txt", "json")} for k, s in seen.items()} == SAMPLES
    with tarfile.open(tmp_path / "00000.tar") as tar:
        assert [m.name for m in tar][:3] == ["0000.jpg", "0000.txt", "0000.json"]


def test_the_indexer_finds_what_the_writer_wrote(tmp_path: Path) -> None:
    write_shard(tmp_path, SAMPLES)
    with (tmp_path / "00000.tar").open("rb") as file:
        rows = [{"key": key, "members": members} for key, members in index_tar(file, "x")]
    assert rows == files.read_table(str(tmp_path / "00000.parquet")).to_pylist()


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_foreign_tars_with_long_names_and_folders(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "f.tar"
    long = "a/" + "k" * 150
    with tarfile.open(path, "w", format=kind) as tar:
        for name in ("a/1.jpg", "a/1.txt", f"{long}.jpg", ".hidden", "README", "2.seg.png"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    with path.open("rb") as file:
        found = {key: [m["ext"] for m in members] for key, members in index_tar(file, "f")}
    assert found == {"a/1": ["jpg", "txt"], long: ["jpg"], "2": ["seg.png"]}


def raw_tar(names: list[str]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 600
            tar.addfile(info, io.BytesIO(b"x" * 600))
    out.seek(0)
    return out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.jpg", "2.jpg", "1.txt"], "not adjacent"),
        (["1.jpg", "1.jpg"], "is there twice"),
    ],
)
def test_tars_that_are_no_datasets(names: list[str], message: str) -> None:
    with pytest.raises(TarError, match=message):
        list(index_tar(raw_tar(names), "bad tar"))


def test_truncated_tars_are_errors() -> None:
    data = raw_tar(["1.jpg", "2.jpg"]).getvalue()
    for cut in (700, 1024 + 512 + 300, 100):
        with pytest.raises(TarError, match="bad tar"):
            list(index_tar(io.BytesIO(data[:cut]), "bad tar"))


@pytest.mark.parametrize("key", ["a.b", "k" * 1021, "x/"])
def test_keys_that_webdataset_would_misread_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"KEY\.EXT"):
        ShardWriter(io.BytesIO()).add(key, {"jpg": b""})


@given(st.text(alphabet="ab./", min_size=1, max_size=12))
def test_names_split_as_webdataset_splits_them(name: str) -> None:
    from webdataset.tariterators import base_plus_ext

    assume(name.rpartition("/")[2].partition(".")[0])  # others are hidden files or folders
    theirs = base_plus_ext(name)
    if theirs[0] is not None:
        assert split_name(name) == theirs


def corpus(folder: Path) -> Corpus:
    keys = list(SAMPLES)
    shards = [
        write_shard(folder, {k: SAMPLES[k] for k in keys[a:b]}, f"{n:05d}")
        for n, (a, b) in enumerate([(0, 20), (20, 21), (21, 50)])
    ]
    write_corpus(str(folder), shards, name="t", septet="0", sorted_keys=True)
    return Corpus(str(folder), open_shards=2)


def test_a_corpus_is_a_sequence(tmp_path: Path) -> None:
    whole = corpus(tmp_path)
    assert len(whole) == 50
    assert [whole[i] for i in range(50)] == list(SAMPLES.values()) == list(whole)
    assert [whole.key(i) for i in (0, 20, 21, 49)] == ["0000", "0014", "0015", "0031"]
    assert [whole.find(key) for key in SAMPLES] == list(range(50))
    with pytest.raises(IndexError, match="sample 50 of a corpus of 50"):
        whole[50]
    with pytest.raises(KeyError):
        whole.find("nope")


def test_a_short_tar_is_noticed(tmp_path: Path) -> None:
    whole = corpus(tmp_path)
    with (tmp_path / "00002.tar").open("rb+") as file:
        file.truncate(40_000)
    with pytest.raises(OSError, match="ends before sample"):
        whole[49]


def test_large_members_are_read_one_by_one_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar, "_READ_WHOLE", 100)  # nor its sidecar
    samples = {f"{i}": {"a.bin": bytes([i]) * 40_000, "b.bin": bytes([99 - i]) * 30_000, "c": b""}
               for i in range(3)}  # fmt: skip
    write_corpus(str(tmp_path), [write_shard(tmp_path, samples, "00000")], name="t", septet="0",
                 sorted_keys=True)  # fmt: skip
    shard = Corpus(str(tmp_path)).shard(0)
    for _ in range(2):  # The first read opens the tar.
        assert [shard.read(row, checksum=zlib.crc32) for row in range(3)] == list(samples.values())
    assert shard.read(1, frozenset(["b.bin", "c"])) == {"b.bin": bytes([98]) * 30_000, "c": b""}
    with (tmp_path / "00000.tar").open("rb+") as file:
        begin = file.read().index(bytes([98]) * 30_000)
        file.seek(begin + 7)
        file.write(b"x")
        file.truncate(begin + 73_000)
    with pytest.raises(DamagedError, match=r"member b\.bin does not have its checksum"):
        shard.read(1, checksum=zlib.crc32)
    with pytest.raises(DamagedError, match="ends before sample 2"):
        shard.read(2)


def test_object_stores(tmp_path: Path) -> None:
    import fsspec

    corpus(tmp_path)
    fs = fsspec.filesystem("memory")
    fs.put(str(tmp_path), "/corpora/t", recursive=True)
    assert list(Corpus("memory://corpora/t")) == list(SAMPLES.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "is not JSON"),
        ("{}", "no format_version"),
        ('{"format_version": 99}', "upgrade Septet"),
        ('{"format_version": 2}', "does not have a manifest's form"),
    ],
)
def test_manifests_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(text)


def test_no_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="septet index"):
        Corpus(str(tmp_path))


def test_readers_close_their_files_and_can_be_shipped(tmp_path: Path) -> None:
    whole = corpus(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert len(list(whole)) == 50  # three shards, two may stay open
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    shard = pickle.loads(pickle.dumps(whole.shard(0)))
    assert shard.read(3) == whole[3]
