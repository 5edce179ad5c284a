"""Files as the projects that made them write them."""

import base64
import csv
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septet.preprocess import files
from septet.preprocess.regions.sources import tsv
from septet.preprocess.regions.sources.npz import NpzSource, read_npz
from septet.preprocess.regions.sources.records import (
    LackError,
    Record,
    RecordError,
    record,
    record_key,
    source_digest,
)
from septet.preprocess.regions.sources.tsv import FIELDS, TsvSource

W, H = 640, 480


def made(seed: int, n: int = 7) -> dict:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 200, (n, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 200, (n, 2))], axis=1)
    logits = np.exp(rng.normal(0, 2, (n, 11)))
    return {
        "boxes": boxes.astype(np.float32), "features": rng.random((n, 2048), np.float32),
        "labels": rng.integers(0, 1600, n), "scores": rng.random(n, np.float32),
        "attributes": rng.integers(0, 400, n), "attribute_scores": rng.random(n, np.float32),
        "probs": (logits / logits.sum(axis=1, keepdims=True)).astype(np.float32),
    }  # fmt: skip


def b64(array: np.ndarray) -> str:
    return base64.b64encode(array).decode()


def same(found: Record | None, wanted: dict, *names: str) -> None:
    assert found is not None and (found.width, found.height) == (W, H)
    shares = wanted["boxes"] / np.array([W, H, W, H], np.float32)
    assert np.array_equal(found.detections.boxes, shares)
    for name in ("features", *names):
        assert np.array_equal(getattr(found.detections, name), wanted[name]), name
    for name in {"labels", "scores", "attributes", "attribute_scores", "probs"} - set(names):
        assert getattr(found.detections, name) is None, name


def write_lxmert(path: Path, rows: dict[str, dict]) -> None:
    with path.open("a") as file:
        writer = csv.DictWriter(file, delimiter="\t", fieldnames=FIELDS["lxmert"])
        for key, row in rows.items():
            writer.writerow({
                "img_id": key, "img_h": H, "img_w": W,
                "objects_id": b64(row["labels"]), "objects_conf": b64(row["scores"]),
                "attrs_id": b64(row["attributes"]), "attrs_conf": b64(row["attribute_scores"]),
                "num_boxes": len(row["boxes"]), "boxes": b64(row["boxes"]),
                "features": b64(row["features"]),
            })  # fmt: skip


ALL = ("labels", "scores", "attributes", "attribute_scores")


def test_lxmert(tmp_path: Path) -> None:
    rows = {f"COCO_train2014_{i:012d}": made(i, 3 + i) for i in range(5)}
    path = tmp_path / "train2014_obj36.tsv"
    write_lxmert(path, rows)
    source = TsvSource(str(path))
    assert len(source) == 5
    for key in reversed(rows):
        same(source.get(key), rows[key], *ALL)
    assert source.get("COCO_train2014_999") is None


def test_the_index_is_written_once_and_again_when_the_file_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tsv"
    write_lxmert(path, {"one": made(1)})
    calls = []
    real = tsv.write_keyed
    monkeypatch.setattr(tsv, "write_keyed", lambda *a: calls.append(a) or real(*a))
    for _ in range(2):
        assert len(TsvSource(str(path))) == 1
    assert len(calls) == 1 and files.exists(f"{path}.index.sqlite")
    write_lxmert(path, {"two": made(2), "one": made(3)})
    source = TsvSource(str(path))
    assert len(calls) == 2 and len(source) == 2
    same(source.get("one"), made(3), *ALL)  # the last row of a key counts
    elsewhere = str(tmp_path / "there" / "i.sqlite")
    same(TsvSource(str(path), index=elsewhere).get("two"), made(2), *ALL)
    assert files.exists(elsewhere)


def test_a_file_on_another_store_has_its_index_beside_it(tmp_path: Path) -> None:
    rows = {f"COCO_{i}": made(i) for i in range(3)}
    write_lxmert(tmp_path / "a.tsv", rows)
    path = "memory://regions/a.tsv"
    files.write_bytes(path, (tmp_path / "a.tsv").read_bytes())
    for _ in range(2):
        source = TsvSource(path)
        assert len(source) == 3 and source.rows == {"source": {"given": 3, "used": 3}}
        same(source.get("COCO_2"), rows["COCO_2"], *ALL)
    assert files.exists(f"{path}.index.sqlite")


def test_bottom_up(tmp_path: Path) -> None:
    row, path = made(4), tmp_path / "b.tsv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, delimiter="\t", fieldnames=FIELDS["bottom-up"])
        writer.writerow({"image_id": 285, "image_w": W, "image_h": H, "num_boxes": 7,
                         "boxes": b64(row["boxes"]), "features": b64(row["features"])})  # fmt: skip
    same(TsvSource(str(path), "bottom-up").get("285"), row)
    with pytest.raises(ValueError, match="set layout=bottom-up"):
        TsvSource(str(path))
    path.write_text(
        "7\tcut off\n" + path.read_text()
    )  # a malformed row costs itself, the first too
    source = TsvSource(str(path), "bottom-up")
    same(source.get("285"), row)
    with pytest.raises(RecordError, match="2 fields"):
        source.get("7")
    with pytest.raises(ValueError, match="set layout=bottom-up"):
        TsvSource(str(path))
    path.write_text("a\tb\n")
    with pytest.raises(ValueError, match="no known layout"):
        TsvSource(str(path))
    with pytest.raises(ValueError, match="no such file"):
        TsvSource(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"features": b"!!"}, "base64"),
        ({"features": base64.b64encode(bytes(100))}, "base64"),
        ({"num_boxes": b"8"}, "7 boxes"),
        ({"img_w": b"x"}, "could not convert"),
        ({"img_w": b"0"}, "pixels"),
        ({"img_w": b"100"}, "outside of an image of 100 x 480"),
        ({"boxes": base64.b64encode(np.full((7, 4), np.nan, np.float32))}, "finite"),
        ({"boxes": base64.b64encode(np.tile(np.float32([9, 9, 1, 1]), (7, 1)))}, "corners"),
        ({"objects_id": base64.b64encode(bytes(8))}, "labels"),
        ({"boxes": base64.b64encode(bytes(16))}, r"features are \[7, 2048\]"),
    ],
)
def test_malformed_rows(tmp_path: Path, change: dict, told: str) -> None:
    path = tmp_path / "m.tsv"
    write_lxmert(path, {"a": made(1), "b": made(2)})
    lines = path.read_bytes().split(b"\r\n")
    values = dict(zip(FIELDS["lxmert"], lines[1].split(b"\t"), strict=True)) | change
    lines[1] = b"\t".join(values.values())
    path.write_bytes(b"\n".join(lines))
    source = TsvSource(str(path))
    same(source.get("a"), made(1), *ALL)
    with pytest.raises(RecordError, match=told):
        source.get("b")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("boxes", np.nan, "boxes hold values that are not finite"),
        ("features", np.inf, "features hold values that are not finite"),
        ("scores", np.nan, "scores hold values that are not finite"),
        ("boxes", [9, 9, 1, 1], "boxes are no corners"),
        ("probs", 0.5, "class probabilities do not sum to 1"),
    ],
)
def test_a_malformed_region_costs_itself(name: str, change: Any, told: str) -> None:
    row = {key: np.array(value) for key, value in made(1).items()}
    row[name][2] = change
    found = record(row["features"], row["boxes"], W, H, row["probs"], row["labels"], row["scores"])
    (fault,) = found.faults
    assert fault.startswith(f"region 2: {told}")
    kept = [0, 1, 3, 4, 5, 6]
    for key in ("features", "labels", "scores", "probs"):
        assert np.array_equal(getattr(found.detections, key), row[key][kept])
    assert np.isfinite(found.detections.boxes).all()


def write_npz(path: Path, row: dict, attributes: bool = True, info: object = None) -> None:
    told = {"image_id": path.stem, "objects_id": row["labels"], "objects_conf": row["scores"]}
    if attributes:
        told |= {"attrs_id": row["attributes"], "attrs_conf": row["attribute_scores"]}
    np.savez_compressed(
        path, x=row["features"], bbox=row["boxes"], num_bbox=len(row["boxes"]), image_h=H,
        image_w=W, info=info or told,
    )  # fmt: skip


def test_npz(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", made(1))
    write_npz(tmp_path / "b.npz", made(2), attributes=False)
    source = NpzSource(str(tmp_path))
    same(source.get("a"), made(1), *ALL)
    same(source.get("b"), made(2), "labels", "scores")
    assert source.get("c") is None and source.get("../a") is None and source.get("") is None
    with pytest.raises(ValueError, match="no such folder"):
        NpzSource(str(tmp_path / "none"))


def test_npz_of_mcan_vqa_and_files_with_a_part_of_the_arrays(tmp_path: Path) -> None:
    row = made(3)
    size = {"image_h": H, "image_w": W}
    np.savez(tmp_path / "COCO_train2014_9.jpg.npz", x=row["features"].T, bbox=row["boxes"],
             num_bbox=7, **size)  # fmt: skip
    np.savez(tmp_path / "boxes.npz", bbox=row["boxes"], num_bbox=7, **size)
    np.savez(tmp_path / "features.npz", x=row["features"])
    np.savez(tmp_path / "sizeless.npz", x=row["features"], bbox=row["boxes"])
    np.savez(tmp_path / "odd.npz", x=row["features"][:, :9], bbox=row["boxes"], **size)
    np.savez(tmp_path / "told.npz", x=row["features"], bbox=row["boxes"], info="none", **size)
    source = NpzSource(str(tmp_path))
    same(source.get("COCO_train2014_9"), row)
    same(source.get("told"), row)
    for key, lacks in (("boxes", "x"), ("features", "bbox"), ("sizeless", "image_w")):
        with pytest.raises(LackError, match=f"^{lacks}$"):
            source.get(key)
    with pytest.raises(RecordError, match=r"features are \[7, 9\]"):
        source.get("odd")


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch evil",)


def test_npz_that_would_run_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "a.npz", made(1), info={"objects_id": Evil()})
    with pytest.raises(RecordError, match="system"):
        NpzSource(str(tmp_path)).get("a")
    assert not Path("evil").exists()
    for data in (b"", b"PK\x03\x04", (tmp_path / "a.npz").read_bytes()[:900]):
        with pytest.raises(ValueError, match="no npz"):
            read_npz(data)


def test_vilbert_lmdb(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    from septet.preprocess.regions.sources.lmdb import LmdbSource

    rows = {f"{i}": made(i) for i in range(4)}
    path = tmp_path / "features.lmdb"
    with lmdb.open(str(path), map_size=2**26) as env, env.begin(write=True) as put:
        for key, row in rows.items():
            value = {"image_id": int(key), "image_h": H, "image_w": W, "num_boxes": 7,
                     "boxes": b64(row["boxes"]), "features": b64(row["features"]),
                     "cls_prob": row["probs"] if key != "2" else b64(row["probs"])}  # fmt: skip
            put.put(key.encode(), pickle.dumps(value))
        put.put(b"keys", pickle.dumps([key.encode() for key in rows]))
        put.put(b"evil", pickle.dumps({"boxes": Evil()}))
        bare = {"image_h": H, "image_w": W, "boxes": b64(made(9)["boxes"]),
                "features": b64(made(9)["features"])}  # fmt: skip
        put.put(b"bare", pickle.dumps(bare))
    source = LmdbSource(str(path))
    for key, row in rows.items():
        same(source.get(key), row)
    same(source.get("bare"), made(9))
    full = LmdbSource(str(path), probs=True)
    for key, row in rows.items():
        found = full.get(key)
        assert found and found.detections.probs is not None
        assert np.array_equal(found.detections.probs, row["probs"])
        assert np.array_equal(found.detections.labels, row["probs"][:, 1:].argmax(axis=1))
        assert np.array_equal(found.detections.scores, row["probs"][:, 1:].max(axis=1))
    with pytest.raises(LackError, match=r"^cls_prob$"):
        full.get("bare")
    for key in ("evil", "keys"):
        with pytest.raises(RecordError):
            source.get(key)
    assert source.get("nobody") is None and source.get("x" * 600) is None and not source.get("")
    with pytest.raises(ValueError, match="no LMDB"):
        LmdbSource(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no lmdb")
    with pytest.raises(ValueError, match="is no LMDB"):
        LmdbSource(str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("key", "0f"),
        ("url_stem", "COCO_train2014_000000000009"),
        ("extra.image_id", "17"),
        ("image_id", "17"),
        ("extra.coco.id", "abc"),
        ("extra.none", None),
        ("extra.coco", None),
    ],
)
def test_keys(how: str, wanted: str | None) -> None:
    metadata = {
        "url": "https://x.org/a/COCO_train2014_000000000009.jpg?size=2",
        "extra": '{"image_id": 17, "coco": {"id": "abc"}}',
    }
    assert record_key("0f", metadata, how) == wanted
    assert record_key("0f", {}, "url_stem") is None


def test_lmdbs_of_others_and_records_with_a_part_of_the_fields(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    from septet.preprocess.regions.sources.lmdb import LmdbSource

    row = made(5)
    padded = {"features": np.zeros((10, 2048), np.float32), "bbox": np.zeros((10, 4), np.float32),
              "cls_prob": np.zeros((10, 11), np.float32)}  # fmt: skip
    for name, array in (
        ("features", row["features"]),
        ("bbox", row["boxes"]),
        ("cls_prob", row["probs"]),
    ):
        padded[name][:7] = array
    size = {"image_height": H, "image_width": W}
    rows = {
        "train2014/COCO_1": {"feature_path": "x", **padded, **size, "num_boxes": 7,
                             "objects": row["labels"]},  # MMF's
        "2": {"image_id": 2, "image_h": H, "image_w": W, "num_boxes": 7, "boxes": row["boxes"],
              "features": row["features"]},  # of vilbert-multi-task
        "3": {"image_id": 3, "image_h": H, "image_w": None, "num_boxes": 7, "boxes": row["boxes"],
              "features": row["features"]},
        "4": {"feature_path": "4", "features": row["features"]},  # MMF's without its boxes
        "5": {**padded, **size, "num_boxes": 11}, "6": [row["features"]],
    }  # fmt: skip
    path = tmp_path / "others.lmdb"
    with lmdb.open(str(path), map_size=2**26) as env, env.begin(write=True) as put:
        for key, value in rows.items():
            put.put(key.encode(), pickle.dumps(value))
    source, full = LmdbSource(str(path)), LmdbSource(str(path), probs=True)
    same(source.get("train2014/COCO_1"), row)
    same(source.get("2"), row)
    found = full.get("train2014/COCO_1")
    assert found and np.array_equal(found.detections.probs, row["probs"])
    for key, of, lacks in (("2", full, "cls_prob"), ("3", source, "image_w or image_width"),
                           ("4", source, "boxes or bbox")):  # fmt: skip
        with pytest.raises(LackError, match=f"^{lacks}$"):
            of.get(key)
    with pytest.raises(RecordError, match="10 boxes, but the record says 11"):
        source.get("5")
    with pytest.raises(RecordError, match="a list, expected a dict"):
        source.get("6")


def test_a_folders_digest_changes_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"1")
    one = source_digest(str(tmp_path))
    (tmp_path / "lock.mdb").write_bytes(b"1")
    assert source_digest(str(tmp_path)) == one
    (tmp_path / "b.npz").write_bytes(b"1")
    assert source_digest(str(tmp_path)) != one
    with pytest.raises(ValueError, match="no such file"):
        source_digest(str(tmp_path / "none"))
