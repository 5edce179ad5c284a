import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from safetensors.torch import save_file  # noqa: E402

from septet.preprocess.annotators.boxes import Boxes  # noqa: E402
from septet.preprocess.annotators.objects import Objects  # noqa: E402
from septet.preprocess.annotators.regions import Regions  # noqa: E402
from septet.preprocess.columns.base import Item, NoValue, Value  # noqa: E402
from septet.preprocess.columns.members import check_member, pack_arrays, unpack_arrays  # noqa: E402
from septet.preprocess.regions.detections import locations  # noqa: E402
from septet.preprocess.regions.select import keep  # noqa: E402
from septet.preprocess.regions.settings import READERS, RegionsSettings  # noqa: E402
from tests.preprocess.regions import reference as plain  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "c4.safetensors"
    save_file(plain.random_state(), path)
    return str(path)


def column(weights: str = "", **settings: Any) -> Regions:
    detector = {"shortest": 96, "longest": 160, "proposals": 12, "anchor_sizes": plain.SIZES,
                "min_regions": 4, "max_regions": 8, "weights": weights}  # fmt: skip
    made = Regions(Regions.Settings(**({**detector, **settings} if weights else settings)))
    made.setup()
    return made


@pytest.fixture(scope="module")
def c4(weights: str) -> Regions:
    return column(weights)


def item(seed: int, width: int = 130, height: int = 97, **columns: bytes) -> Item:
    out = io.BytesIO()
    Image.fromarray(plain.random_image(seed, width, height)).save(out, "PNG")
    return Item(f"{seed:032x}", {"png": out.getvalue()}, {}, columns)


def value(made: Regions, one: Item) -> dict[str, np.ndarray]:
    (found,) = made.annotate([one])
    assert isinstance(found, Value), found
    check_member(found.data, made.member)
    made.check(found.data)
    arrays = unpack_arrays(found.data)
    assert found.facts["regions"] == len(arrays["boxes"])
    return arrays


def reason(made: Regions, one: Item) -> str:
    (found,) = made.annotate([one])
    assert isinstance(found, NoValue)
    return found.reason


def test_a_value_is_what_the_rule_keeps_of_the_plain_network(c4: Regions) -> None:
    state, one = plain.random_state(), item(2)
    arrays = value(c4, one)
    x = plain.prepared(plain.random_image(2, 130, 97), 96, 160)
    features = plain.feature_map(state, x)
    boxes = plain.proposals(state, features, *x.shape[2:], most=12)
    told = [plain.described(state, features, box) for box in boxes]
    probs = np.stack([p.numpy() for _, p, _ in told])
    sides = np.array([x.shape[3], x.shape[2]] * 2)
    shares = np.array(boxes) / sides
    rows, confidences = keep(shares, probs, 0.2, 4, 8)
    assert 4 <= len(rows) <= 8
    assert np.allclose(arrays["boxes"], shares[rows], atol=1e-4)
    assert np.allclose(arrays["scores"], confidences, atol=1e-4)
    assert np.allclose(arrays["probs"], probs[rows], atol=1e-3)
    vectors = np.stack([v.numpy() for v, _, _ in told])[rows]
    assert np.allclose(arrays["features"], vectors, rtol=2e-3, atol=1e-3 * vectors.max())
    assert np.array_equal(arrays["labels"], probs[rows][:, 1:].argmax(axis=1))
    assert np.array_equal(arrays["locations"], locations(arrays["boxes"]))
    assert (np.diff(arrays["scores"]) <= 0).all()


def test_bytes_do_not_depend_on_the_batch_the_instance_or_the_threads(
    c4: Regions, weights: str
) -> None:
    items = [item(1), item(2, 97, 130), item(3, 130, 97), item(4, 60, 61)]
    together = c4.annotate(items)
    assert [c4.annotate([one])[0] for one in items] == together
    assert c4.annotate(items[::-1])[::-1] == together
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert column(weights).annotate(items[:2]) == together[:2]
    finally:
        torch.set_num_threads(before)


def test_fixed_numbers_and_nothing_kept(weights: str) -> None:
    assert len(value(column(weights, min_regions=5, max_regions=5), item(1))["boxes"]) == 5
    none = column(weights, min_regions=0, threshold=1.0)
    assert reason(none, item(1)) == "no_region"


def test_hostile_images(c4: Regions) -> None:
    good = item(1)
    broken = Item("b", {"jpg": b"\xff\xd8\xff no picture"}, {})
    cut = Item("c", {"png": good.members["png"][:200]}, {})
    found = c4.annotate([broken, good, Item("d", {"txt": b"x"}, {}), cut])
    reasons = [f.reason if isinstance(f, NoValue) else "value" for f in found]
    assert reasons == ["image", "value", "no_image", "image"]
    for width, height in [(1, 1), (1, 900), (900, 1), (3000, 2000)]:
        value(c4, item(5, width, height))


def test_given_boxes(weights: str) -> None:
    made = column(weights, backend="given")
    assert made.columns() == ("boxes",)
    boxes = [[0.5, 0.25, 1.0, 0.75], [0.0, 0.0, 0.25, 0.5]]
    source = Boxes(Boxes.Settings())
    (told,) = source.annotate([Item("k", {}, {"extra": {"boxes": boxes, "labels": ["a", "b"]}})])
    assert isinstance(told, Value)
    arrays = value(made, item(7, boxes=told.data))
    assert arrays["boxes"].tolist() == boxes
    state, x = plain.random_state(), plain.prepared(plain.random_image(7, 130, 97), 96, 160)
    features = plain.feature_map(state, x)
    for row, box in enumerate(boxes):
        pixels = (np.array(box) * np.array([x.shape[3], x.shape[2]] * 2)).tolist()
        vector, probs, _ = plain.described(state, features, pixels)
        assert np.allclose(arrays["features"][row], vector, rtol=2e-3, atol=0.01)
        assert np.allclose(arrays["probs"][row], probs, atol=1e-3)
    assert reason(made, item(7)) == "no_boxes"
    many = json.dumps({"boxes": [[0, 0, 1, 1]] * 13}).encode()
    assert reason(made, item(7, boxes=many)) == "too_many_boxes"


def test_regions_feed_boxes_and_objects(c4: Regions, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(plain.CLASSES)))
    (found,) = c4.annotate([item(1)])
    assert isinstance(found, Value)
    one = Item("k", {}, {}, {"regions": found.data})
    arrays = unpack_arrays(found.data)
    labelled = Boxes(Boxes.Settings(source="regions", labels=str(names)))
    labelled.setup()
    (told,) = labelled.annotate([one])
    assert isinstance(told, Value)
    labelled.check(told.data)
    assert np.allclose(json.loads(told.data)["boxes"], arrays["boxes"])
    words = Objects(Objects.Settings(labels=str(names), min_score=0))
    words.setup()
    (spoken,) = words.annotate([one])
    assert isinstance(spoken, Value)
    expected = dict.fromkeys(f"thing {i}" for i in arrays["labels"])
    assert json.loads(spoken.data)["objects"] == list(expected)


def test_drawings_name_classes(weights: str, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(plain.CLASSES)))
    made = column(weights, labels=str(names))
    assert set(made.models()) == {"weights"}
    made.notes = made.member.notes  # as a plan does, and the manifest has them
    names.unlink()
    (found,) = made.annotate([item(1)])
    assert isinstance(found, Value)
    marks, arrays = made.drawing(found.data).marks, unpack_arrays(found.data)
    assert len(marks) == len(arrays["boxes"]) and np.allclose(marks[0].box, arrays["boxes"][0])
    assert marks[0].label == f"thing {arrays['labels'][0]} {arrays['scores'][0]:.2f}"


def test_a_check_finds_what_is_wrong(c4: Regions) -> None:
    arrays = value(c4, item(1))
    for change, told in [
        ({"boxes": arrays["boxes"][:, ::-1]}, "corners"),
        ({"locations": arrays["locations"] * 0.5}, "locations"),
        ({"probs": arrays["probs"] * np.float16(0.5)}, "sum to 1"),
        ({"labels": arrays["labels"] + 100}, "beyond"),
        ({name: array[:0] for name, array in arrays.items()}, "without regions"),
    ]:
        with pytest.raises(ValueError, match=told):
            c4.check(pack_arrays({**arrays, **change}))


def lxmert_row(key: str, n: int = 3) -> str:
    rng = np.random.default_rng(len(key))
    boxes = np.sort(rng.uniform(0, 400, (n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32)
    arrays = (rng.integers(0, 1600, n), rng.random(n, np.float32), rng.integers(0, 400, n),
              rng.random(n, np.float32))  # fmt: skip
    coded = [base64.b64encode(a).decode() for a in arrays]
    features = rng.random((n, 2048), np.float32)
    tail = [str(n), base64.b64encode(boxes).decode(), base64.b64encode(features).decode()]
    return "\t".join([key, "480", "640", *coded, *tail])


def test_features_that_exist_are_joined_by_key(tmp_path: Path) -> None:
    path = tmp_path / "obj36.tsv"
    rows = [lxmert_row("COCO_1"), lxmert_row("COCO_22"), lxmert_row("bad") + "\tmore"]
    path.write_text("\n".join(rows) + "\n")
    made = column(backend="tsv", source=str(path), attributes=True)
    assert made.members == () and Regions.members and set(made.models()) == {"source"}

    def of(name: str, **metadata: Any) -> Item:
        return Item("k", {}, {"url": f"https://images.org/{name}.jpg", **metadata})

    arrays = value(made, of("COCO_22", width=640, height=480))
    assert set(arrays) == {"features", "boxes", "locations", "labels", "scores", "attributes",
                           "attribute_scores"}  # fmt: skip
    assert made.member.notes["probs"].startswith("absent")
    assert reason(made, of("COCO_3")) == "no_region_for_key"
    assert reason(made, of("bad")) == "record_malformed"
    assert reason(made, of("COCO_22", width=256, height=256)) == "size_disagrees"
    assert reason(made, Item("k", {}, {})) == "no_key"
    by_extra = column(backend="tsv", source=str(path), key="extra.coco")
    value(by_extra, Item("k", {}, {"extra": '{"coco": "COCO_1"}'}))


def test_what_a_file_lacks_is_a_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.random((2, 2048), np.float32),
             bbox=np.float32([[0, 0, 10, 10], [5, 5, 20, 20]]), num_bbox=2, image_h=48, image_w=64,
             info={"objects_id": np.array([1, 2]), "objects_conf": np.float32([0.5, 0.4])})  # fmt: skip
    one = Item("a", {}, {})
    arrays = value(column(backend="npz", source=str(tmp_path), key="key"), one)
    assert np.allclose(arrays["boxes"][1], [5 / 64, 5 / 48, 20 / 64, 20 / 48])
    lacking = column(backend="npz", source=str(tmp_path), key="key", attributes=True)
    assert reason(lacking, one) == "record_lacks"
    bare = column(backend="npz", source=str(tmp_path), key="key", source_labels=False)
    assert set(value(bare, one)) == {"features", "boxes", "locations"}
    np.savez(tmp_path / "b.npz", bbox=np.float32([[0, 0, 10, 10]]), image_h=48, image_w=64)
    for made in (bare, lacking):
        assert made.annotate([Item("b", {}, {})]) == [NoValue("record_lacks", "x")]


def test_vilbert_records_have_distributions(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    import pickle

    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(1601, 0.01), 3).astype(np.float32)
    boxes = np.float32([[0, 0, 10, 10], [5, 5, 20, 20], [0, 0, 64, 48]])
    row = {"image_id": 5, "image_h": 48, "image_w": 64, "num_boxes": 3, "cls_prob": probs,
           "boxes": base64.b64encode(boxes),
           "features": base64.b64encode(rng.random((3, 2048), np.float32))}  # fmt: skip
    path = tmp_path / "f.lmdb"
    with lmdb.open(str(path), map_size=2**24) as env, env.begin(write=True) as put:
        put.put(b"5", pickle.dumps(row))
    one = Item("5", {}, {})
    made = column(backend="lmdb", source=str(path), key="key", source_probs=True)
    arrays = value(made, one)
    assert arrays["probs"].shape == (3, 1601) and np.allclose(arrays["probs"], probs, atol=1e-3)
    bare = column(backend="lmdb", source=str(path), key="key")
    assert set(value(bare, one)) == {"features", "boxes", "locations"}
    assert [mark.label for mark in bare.drawing(bare.annotate([one])[0].data).marks] == list("012")  # type: ignore[union-attr]


def test_settings_that_contradict_each_other() -> None:
    for wrong, told in [
        ({"min_regions": 50}, "min_regions 50"),
        ({"shortest": 2000}, "shortest"),
        ({"attributes": True, "backend": "lmdb"}, "attributes come from"),
    ]:
        with pytest.raises(ValueError, match=told):
            Regions.Settings(**wrong)
    with pytest.raises(ValueError, match="no such file"):
        Regions(Regions.Settings()).models()
    with pytest.raises(ValueError, match="no such file"):
        Regions(Regions.Settings(backend="tsv", source="none.tsv")).models()


def test_what_computes_nothing_decides_nothing() -> None:
    def deciding(**settings: Any) -> dict[str, Any]:
        return RegionsSettings(**settings).deciding()

    assert deciding(device="cuda:1") == deciding(device="cuda") != deciding(device="cpu")
    assert deciding(threads=2) != deciding(threads=1)
    assert "source_labels" not in deciding(backend="npz")
    assert deciding(backend="npz", source_labels=False)["source_labels"] is False
    for backend in READERS:
        assert deciding(backend=backend, device="cuda", threads=2) == deciding(backend=backend)
