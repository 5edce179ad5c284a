import io

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from septet.preprocess.annotators.codes import Codes, CodesSettings, false_colours
from septet.preprocess.codes.augment import RECIPES, fixed_view
from septet.preprocess.codes.load import load_tokenizer
from septet.preprocess.codes.views import code_pixels, look, unpack_view
from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.columns.images import read_image
from septet.preprocess.columns.members import check_member, pack_arrays, unpack_arrays
from septet.preprocess.synthetic.scenes import make_scene, render
from tests.preprocess.codes.oracles import FOLDER, Oracle

GUMBEL = str(FOLDER / "vqgan_gumbel_f8.safetensors")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Small tokenizers as files, by name."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    torch.save({"state_dict": Oracle("vqgan_gumbel_f8").weights}, folder / "vqgan.ckpt")
    from septet.preprocess.codes.dvae import Dvae, DvaeSettings
    from septet.preprocess.codes.vqkd import Vqkd, VqkdSettings

    torch.manual_seed(0)
    dvae = Dvae(DvaeSettings(width=16, blocks=1, codes=64))
    vqkd = Vqkd(VqkdSettings(width=64, depth=2, heads=1, mlp=128, codes=64, code_width=8))
    for name, module in (("dvae", dvae), ("vqkd", vqkd)):
        for x in module.parameters():
            x.data.add_(torch.randn(x.shape) * 0.05)
        torch.save(module.state_dict(), folder / f"{name}.ckpt")
    for name in ("vqgan", "dvae", "vqkd"):
        found[name] = str(folder / f"{name}.ckpt")
    return found


def file(index, form="jpeg", size=80):
    out = io.BytesIO()
    Image.fromarray(render(make_scene(0, index), size)).save(out, form)
    return out.getvalue()


def items(count):
    return [Item(f"{i:032x}", {"jpg": file(i), "txt": b"a scene"}, {}) for i in range(count)]


def column(weights, **settings):
    settings.setdefault("tokenizer", "vqgan")
    settings.setdefault("size", 64)
    made = Codes(CodesSettings(weights=weights[settings["tokenizer"]], **settings))
    made.setup()
    return made


CASES = [
    {"tokenizer": "vqgan", "augmentation": "resize"},
    {"tokenizer": "vqgan", "augmentation": "center"},
    {"tokenizer": "vqgan", "augmentation": "ofa"},
    {"tokenizer": "dvae", "augmentation": "flava", "views": 3, "size": 112},
    {"tokenizer": "vqkd", "augmentation": "beit", "views": 4, "jitter": 0.4, "size": 224},
    {"tokenizer": "vqkd", "augmentation": "beit", "views": 2, "evaluation_view": True},
    {"tokenizer": "vqkd", "augmentation": "beit", "scale": (0.08, 0.3), "size": 256},
]


@pytest.mark.parametrize("settings", CASES, ids=lambda s: f"{s['tokenizer']}-{s['augmentation']}")
def test_a_trainer_gets_the_same_codes_online(weights, settings):
    """From the file and the stored view, with the same tokenizer."""
    made = column(weights, **settings)
    tokenizer = load_tokenizer(settings["tokenizer"], weights[settings["tokenizer"]])
    notes = made.member.notes
    middle = RECIPES[settings["augmentation"]].middle
    for item, value in zip(items(3), made.annotate(items(3)), strict=True):
        check_member(value.data, made.member)
        made.check(value.data)
        arrays = unpack_arrays(value.data)
        image = Image.fromarray(read_image(item.image))
        for number in range(settings.get("views", 1)):
            view = unpack_view(arrays, number)
            seen = code_pixels(image, view, notes["view_pixels"], notes["resample"], middle)
            pixels = torch.from_numpy(seen).permute(2, 0, 1)[None] / 255
            codes = tokenizer.codes(pixels)[0].numpy()
            assert np.array_equal(codes, arrays["codes"][number])
        assert value.facts == {"distinct_codes": len(np.unique(arrays["codes"][0]))}
        assert list(arrays["codes"].shape[1:]) == notes["grid"]


@pytest.mark.parametrize("settings", CASES[2:5], ids=lambda s: s["tokenizer"])
def test_bytes_do_not_depend_on_batch_or_process(weights, settings):
    made = column(weights, **settings)
    whole = [value.data for value in made.annotate(items(8))]
    alone = [column(weights, **settings).annotate([item])[0].data for item in items(8)]
    assert alone == whole
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert [value.data for value in made.annotate(items(8))] == whole
    finally:
        torch.set_num_threads(threads)
    assert len(set(whole)) == 8


def test_one_broken_image_spoils_no_other(weights):
    made = column(weights)
    good = made.annotate(items(8))
    bad = {
        1: (b"", "image"),
        3: (file(3)[:300], "image"),
        4: (b"GIF89a" + bytes(40), "image"),
        6: (None, "no_image"),
    }
    mixed = items(8)
    for i, (data, _) in bad.items():
        mixed[i] = Item(mixed[i].key, {} if data is None else {"jpg": data}, {})
    found = made.annotate(mixed)
    for i, value in enumerate(found):
        if i in bad:
            assert isinstance(value, NoValue) and value.reason == bad[i][1]
        else:
            assert value == good[i]
    assert made.annotate([mixed[6], mixed[1]]) == [found[6], found[1]]


def test_giant_and_thin_images(weights):
    made = column(weights)
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "png")
    thin = io.BytesIO()
    Image.new("RGB", (9_000, 1), "red").save(thin, "png")
    giant, line = made.annotate(
        [Item("a", {"png": out.getvalue()}, {}), Item("b", {"png": thin.getvalue()}, {})]
    )
    assert giant == NoValue("image", "too_many_pixels: 20000x20000")
    check_member(line.data, made.member)


def test_damaged_files_are_values_or_reasons(weights):
    """Bytes changed at random: never an exception."""
    made = column(weights)
    draw = np.random.default_rng(0)
    damaged = []
    for i in range(60):
        data = bytearray(file(i % 4, ("jpeg", "png", "webp")[i % 3]))
        for _ in range(int(draw.integers(1, 20))):
            data[int(draw.integers(len(data)))] = int(draw.integers(256))
        damaged.append(Item(str(i), {"jpg": bytes(data)}, {}))
    prepared = [made._open(item) for item in damaged]
    assert {x.reason for x in prepared if isinstance(x, NoValue)} == {"image"}


def test_views_are_drawn_by_key_and_seed(weights):
    first = column(weights, augmentation="beit", views=2).annotate(items(2))
    again = column(weights, augmentation="beit", views=2).annotate(items(2)[::-1])[::-1]
    assert first == again
    other = column(weights, augmentation="beit", views=2, seed=1).annotate(items(2))
    boxes = [unpack_arrays(v.data)["boxes"].tolist() for v in (*first, *other)]
    assert len({str(box) for pair in boxes for box in pair}) == 8
    more = column(weights, augmentation="beit", views=5).annotate(items(2))
    longer = unpack_arrays(more[0].data)
    assert np.array_equal(longer["boxes"][:2], boxes[0])
    assert np.array_equal(longer["codes"][:2], unpack_arrays(first[0].data)["codes"])


def test_view_0_may_be_the_evaluation_view(weights):
    made = column(weights, augmentation="beit", views=3, evaluation_view=True)
    plain = column(weights, augmentation="beit", views=3)
    with_it, without = (unpack_arrays(m.annotate(items(1))[0].data) for m in (made, plain))
    assert unpack_view(with_it, 0) == fixed_view((80, 80), RECIPES["beit"])
    assert np.array_equal(with_it["boxes"][1:], without["boxes"][1:])
    squashed = column(weights).annotate(items(1))[0]
    assert np.array_equal(unpack_arrays(squashed.data)["codes"][0], with_it["codes"][0])


def test_a_trainers_own_pixels_are_those_of_the_view(weights):
    made = column(weights, augmentation="beit", jitter=0.4)
    item = items(1)[0]
    image = Image.fromarray(read_image(item.image))
    prepared = made.prepare(item, image)
    view = unpack_view(unpack_arrays(made.annotate([item])[0].data), 0)
    assert np.array_equal(look(image, view, 64, "lanczos"), prepared.pixels[0])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"augmentation": "resize", "views": 2}, "is not random"),
        ({"augmentation": "ofa", "jitter": 0.4}, "take flava or beit"),
        ({"augmentation": "beit", "scale": (0.5, 0.2)}, r"range within \(0, 1\]"),
        ({"tokenizer": "vae"}, "tokenizer"),
        ({"views": 0}, "views"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValidationError, match=message):
        CodesSettings(**settings)


def test_weights_and_sizes_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="no such file ''; set it with --set weights=PATH"):
        Codes(CodesSettings()).models()
    digest = Codes(CodesSettings(weights=GUMBEL)).models()
    assert digest.keys() == {"tokenizer"} and digest["tokenizer"].startswith("blake2b:")
    made = Codes(CodesSettings(weights=weights["vqgan"], size=100))
    with pytest.raises(ValueError, match="100 x 100 pixels would be encoded"):
        _ = made.member
    made = Codes(CodesSettings(weights=weights["vqgan"], size=72, augmentation="ofa"))
    with pytest.raises(ValueError, match="36 x 36"):
        _ = made.member
    made = Codes(CodesSettings(weights=weights["dvae"], tokenizer="vqkd"))
    with pytest.raises(ValueError, match="no VQ-KD tokenizer's"):
        made.setup()
    if not torch.cuda.is_available():
        made = Codes(CodesSettings(weights=weights["vqgan"], device="cuda"))
        with pytest.raises(ValueError, match="set device=cpu"):
            made.setup()


@pytest.mark.parametrize(
    "settings, grid",
    [
        ({"tokenizer": "vqgan"}, 32),
        ({"tokenizer": "vqgan", "augmentation": "ofa"}, 16),
        ({"tokenizer": "dvae", "augmentation": "flava"}, 14),
        ({"tokenizer": "vqkd", "augmentation": "beit"}, 14),
        ({"tokenizer": "vqkd", "augmentation": "beit", "size": 256}, 16),
    ],
)
def test_published_grids(weights, settings, grid):
    made = Codes(CodesSettings(weights=weights[settings["tokenizer"]], **settings))
    assert made.member.arrays["codes"].shape == (1, grid, grid)
    assert made.member.notes["grid"] == [grid, grid]


def test_boxes_outside_are_found(weights):
    made = column(weights)
    arrays = unpack_arrays(made.annotate(items(1))[0].data)
    arrays["boxes"] = arrays["boxes"] + np.int32(1)
    with pytest.raises(ValueError, match="outside 80 x 80"):
        made.check(pack_arrays(arrays))


def test_drawings(weights):
    made = column(weights, augmentation="beit", views=2)
    data = made.annotate(items(1))[0].data
    drawing = made.drawing(data)
    with Image.open(io.BytesIO(drawing.image)) as decoded:
        assert decoded.size == (64, 64)
        codes = torch.from_numpy(unpack_arrays(data)["codes"][:1].astype(np.int64))
        vqgan = load_tokenizer("vqgan", weights["vqgan"], decoder=True)
        expected = vqgan.decode(codes)[0].clamp(0, 1).permute(1, 2, 0).detach().numpy() * 255
        assert abs(np.asarray(decoded) - expected).max() <= 0.51
    assert [mark.label[:6] for mark in drawing.marks] == ["view 0", "view 1"]
    assert all(0 <= edge <= 1 for mark in drawing.marks for edge in mark.box)
    unloaded = Codes(CodesSettings(augmentation="beit", views=2))
    with Image.open(io.BytesIO(unloaded.drawing(data).image)) as colours:
        assert colours.size == (224, 224)
    assert "8 x 8 codes" in drawing.lines[0]


def test_equal_codes_have_equal_colours():
    codes = np.array([[1, 2], [2, 8191]], np.uint16)
    image = false_colours(codes, 4)
    assert image.shape == (4, 4, 3)
    assert (image[0, 2] == image[2, 0]).all()
    assert len({tuple(image[y, x]) for y in (0, 2) for x in (0, 2)}) == 3
