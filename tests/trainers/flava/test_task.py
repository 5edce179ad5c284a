from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from septet.preprocess.codes.dvae import Dvae, DvaeSettings
from septet.preprocess.codes.views import View, code_pixels, look, pack_views
from septet.preprocess.columns.members import pack_arrays
from septet.preprocess.synthetic.scenes import captions, make_scene, render
from septet.trainers.draws import generator
from septet.trainers.engine.metrics import sample_flops
from septet.trainers.flava.presets import PRESETS
from septet.trainers.flava.settings import FlavaSettings, Shares
from septet.trainers.flava.task import FlavaTask
from septet.trainers.inputs.codes import MeanColours
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.loader.source import stack
from septet.trainers.task import Batch, SampleError
from tests.trainers.flava.small import SMALL, batch, module, task


def sample(i: int) -> dict[str, bytes]:
    scene = make_scene(3, i)
    png = cv2.imencode(".png", render(scene, 48)[:, :, ::-1])[1].tobytes()
    return {"png": png, "txt": captions(scene)[0].encode()}


def draw(key: str, epoch: int = 0):
    return lambda: generator("draw", 0, "pairs", key, epoch)


def rows(t: FlavaTask, stream: str, count: int = 8, epoch: int = 0) -> Batch:
    found = stack([t.read(stream, sample(i), draw(str(i), epoch)) for i in range(count)])
    return t.exchange(Batch(stream, {n: torch.from_numpy(x) for n, x in found.items()}))


def test_kinds_are_drawn_by_their_shares_alike_everywhere():
    t = FlavaTask(PRESETS["base"].model, 8192)
    plans = [t.plan(5, step) for step in range(4000)]
    assert plans == [FlavaTask(PRESETS["base"].model, 8192).plan(5, step) for step in range(4000)]
    assert all(len(plan) == 1 and plan[0].total == 8192 for plan in plans)
    counts = Counter(plan[0].kind for plan in plans)
    for kind, share in (("pairs", 0.70), ("images", 0.15), ("texts", 0.15)):
        assert counts[kind] / 4000 == pytest.approx(share, abs=0.02)
    assert plans != [t.plan(6, step) for step in range(4000)]


def test_a_kind_without_a_share_is_not_read():
    t = FlavaTask(SMALL.model_copy(update={"shares": Shares(pairs=0, images=0, texts=2)}), 8)
    assert list(t.streams) == ["texts"] and t.plan(0, 3)[0].kind == "texts"
    assert PRESETS["text"].task().streams.keys() == {"texts"}


@pytest.mark.parametrize("stream", ["pairs", "images", "texts"])
def test_rows_are_a_function_of_seed_key_and_epoch(stream):
    t = task()
    one, two = t.read(stream, sample(0), draw("0")), t.read(stream, sample(0), draw("0"))
    assert one.keys() == two.keys() and all(np.array_equal(one[n], two[n]) for n in one)
    later = t.read(stream, sample(0), draw("0", 1))
    name = "ids_masked" if stream == "texts" else "patch_mask"
    assert any(not np.array_equal(one[name], t.read(stream, sample(0), draw("0", e))[name])
               for e in range(1, 5))  # fmt: skip
    assert {n: (x.shape, x.dtype) for n, x in one.items()} == {
        n: (x.shape, x.dtype) for n, x in later.items()
    }


def test_pairs_mask_whole_words_and_texts_tokens():
    s = SMALL.model_copy(update={"pair_tokens": 32, "text_tokens": 32})
    words = tokenizer(s.vocabulary, s.words)
    odd = {**sample(0), "txt": b"zq wvxk jjq a red circle"}  # Words of several pieces.
    starts = words.encode("zq wvxk jjq a red circle").starts
    word = np.cumsum(starts)
    parted = False
    for epoch in range(60):
        pair = task(s).read("pairs", odd, draw("k", epoch))["word_places"][1 : len(starts) + 1]
        alone = task(s).read("texts", odd, draw("k", epoch))["word_places"][1 : len(starts) + 1]
        for w in np.unique(word[pair]):
            assert pair[word == w].all()
        parted |= any(0 < alone[word == w].sum() < (word == w).sum() for w in np.unique(word))
        assert alone.sum() == round(0.15 * len(starts))
    assert parted


def test_neighbours_exchange_texts():
    t = task(SMALL.model_copy(update={"mismatched": 0.3}))
    matched, before_all = [], []
    for epoch in range(20):
        found = stack([t.read("pairs", sample(i), draw(str(i), epoch)) for i in range(16)])
        plain = Batch("pairs", {n: torch.from_numpy(x) for n, x in found.items()})
        after = t.exchange(plain)
        assert "swap" not in after.data and "patch_places" in after.data
        swap = plain.data["swap"][::2].repeat_interleave(2)
        assert torch.equal(after.data["match"] == 0, swap)
        for i in range(16):
            source = i ^ 1 if swap[i] else i
            for name in ("ids", "ids_masked"):
                assert torch.equal(after.data[name][i], plain.data[name][source])
            assert bool(after.data["word_places"][i].any()) == (not swap[i])
            assert torch.equal(after.data["patch_mask"][i], plain.data["patch_mask"][i])
        # Every text stays in the batch once.
        order = [sorted(map(tuple, b.data["ids"].tolist())) for b in (plain, after)]
        assert order[0] == order[1]
        matched.append(after.data["match"])
        before_all.append(plain)
    assert float(torch.cat(matched).float().mean()) == pytest.approx(0.7, abs=0.1)
    # However the batch is cut.
    plain = before_all[0]
    halves = [Batch("pairs", {n: x[i : i + 8] for n, x in plain.data.items()}) for i in (0, 8)]
    both = [t.exchange(half).data for half in halves]
    for name, x in t.exchange(plain).data.items():
        assert torch.equal(torch.cat([part[name] for part in both]), x)
    odd = Batch("pairs", {n: x[:7] for n, x in plain.data.items()})
    with pytest.raises(ValueError, match=r"must be even; found 7 rows"):
        t.exchange(odd)


def test_equal_texts_match_all_the_same():
    data = batch("pairs").data
    same = {n: data[n] for n in ("pixels", "codes", "patch_mask", "ids_masked")}
    same |= {"ids": data["ids"][:1].expand(8, -1), "swap": torch.ones(8, dtype=torch.bool),
             "word_places": data["ids"] > 9}  # fmt: skip
    assert task().exchange(Batch("pairs", same)).data["match"].all()


def stored(i: int, views: list[View], size: tuple[int, int] = (48, 48), image=None) -> bytes:
    draw_codes = np.random.default_rng(i).integers(0, 512, (len(views), 4, 4)).astype(np.uint16)
    return pack_arrays({"codes": draw_codes, **pack_views(views, size, image)})


def test_codes_and_pixels_come_from_the_same_stored_view():
    s = SMALL.model_copy(update={"column": "dvae", "tokenizer": None})
    t = task(s)
    assert t.streams["pairs"].columns == ("dvae",) == t.streams["images"].columns
    assert t.streams["texts"].columns == ()
    views = [View((0, 0, 48, 48)), View((4, 6, 40, 44), True, drawn=True),
             View((1, 0, 47, 48), drawn=True)]  # fmt: skip
    members = {**sample(2), "dvae": stored(2, views)}
    codes = np.random.default_rng(2).integers(0, 512, (3, 4, 4))
    image = render(make_scene(3, 2), 48)
    seen = set()
    for epoch in range(12):
        row = t.read("images", members, draw("2", epoch))
        (number,) = [i for i in range(3) if np.array_equal(codes[i].reshape(-1), row["codes"])]
        assert np.array_equal(row["pixels"], look(image, views[number], 32))
        assert row["codes"].dtype == np.int64
        seen.add(number)
    assert seen == {1, 2}  # The first is for evaluation.
    assert np.array_equal(t.read("images", members, None)["pixels"], look(image, views[0], 32))
    right = {**members, "dvae": stored(2, views, image=members["png"])}
    assert t.read("images", right, draw("2"))["codes"].shape == (16,)
    other = {**members, "dvae": stored(2, views, image=sample(3)["png"])}
    with pytest.raises(SampleError, match="codes were made of another image file"):
        t.read("images", other, draw("2"))
    outside = {**members, "dvae": stored(2, [View((0, 0, 60, 48))])}
    with pytest.raises(SampleError, match="does not lie within 48 x 48"):
        t.read("images", outside, draw("2"))
    wrong = task(s.model_copy(update={"patch": 16, "masked_patches": 2}))
    with pytest.raises(
        ValueError, match=r"needs 2 x 2 below model.codes=512: annotate with tokenizer=dvae size=16"
    ):
        wrong.read("images", members, draw("2"))


def test_codes_are_made_while_training(tmp_path):
    torch.manual_seed(0)
    dvae = Dvae(DvaeSettings(width=8, blocks=1, codes=512))
    torch.save(dvae.state_dict(), tmp_path / "dvae.pt")
    t = task(SMALL.model_copy(update={"tokenizer": str(tmp_path / "dvae.pt")}))
    data = rows(t, "images")
    assert data.data["code_pixels"].shape == (8, 32, 32, 3) and "codes" not in data.data
    labels = t.labels(data)["mim"]
    pixels = data.data["code_pixels"].permute(0, 3, 1, 2).float() / 255
    expected = dvae.eval().codes(pixels).flatten(1)
    assert torch.equal(labels, expected[data.data["patch_mask"]])
    assert not any("tokenizer" in name for name, _ in t.build().named_parameters())
    # The same view for both: what the model sees at 32 pixels, by another filter.
    row = t.read("images", sample(1), draw("1"))
    assert abs(row["pixels"].astype(int) - row["code_pixels"]).mean() < 12
    small = SMALL.model_copy(update={"codes": 100})
    with pytest.raises(ValueError, match=r"512 codes, but model\.codes is 100"):
        small.code_grid.tokenizer("colours", torch.device("cpu"))


def test_mean_colours():
    image = torch.zeros(1, 3, 16, 16)
    image[0, 0, :8, :8] = 1.0
    image[0, :, 8:, 8:] = 0.5
    assert MeanColours(8).codes(image).tolist() == [[[7 * 64, 0], [0, 4 * 64 + 4 * 8 + 4]]]
    row = {"box": (0, 0, 16, 16)}
    assert code_pixels(np.zeros((16, 16, 3), np.uint8), View(row["box"]), 16, "lanczos").any() == 0


def test_without_masks_there_are_vectors():
    t, mine = task(), module()
    found = stack([t.read("pairs", sample(i), None) for i in range(3)])
    assert found.keys() == {"pixels", "ids"}
    data = Batch("pairs", {n: torch.from_numpy(x) for n, x in found.items()})
    outputs = t.forward(mine, data)
    assert outputs["image"].shape == outputs["text"].shape == (3, SMALL.embed)
    texts = t.texts("pairs", [captions(make_scene(3, i))[0] for i in range(3)])
    assert torch.equal(texts.data["ids"], data.data["ids"])
    assert torch.allclose(t.forward(mine, texts)["text"], outputs["text"], atol=1e-6)


def test_nothing_masked_counts_nothing():
    t, mine = task(), module()
    data = batch("texts")
    none = Batch("texts", {**data.data, "word_places": torch.zeros_like(data.data["word_places"])})
    sums = t.losses(t.forward(mine, none), none)
    assert float(sums["mlm"]) == 0 == int(t.counts(none)["mlm"])
    sums["mlm"].backward()
    assert not mine.mlm_head.decoder.weight.grad.any()


def test_bad_samples_are_sample_errors():
    t = task()
    for stream, members, message in (
        ("pairs", {"png": b"no picture", "txt": b"a"}, "cannot be used"),
        ("pairs", {**sample(0), "txt": b"\xff\xfe"}, "UTF-8"),
        ("texts", {"txt": b" \n "}, "empty"),
    ):
        with pytest.raises(SampleError, match=message):
            t.read(stream, members, draw("0"))
    assert t.read("pairs", {**sample(0), "txt": b""}, draw("0"))["ids"][:3].tolist() == [2, 3, 0]


def test_temperature_stays_within_its_bounds():
    t, mine = task(), module()
    for value, expected in ((7.0, 100.0), (-1.0, 1.0)):
        with torch.no_grad():
            mine.logit_scale.fill_(value)
            t.after_step(mine)
        assert float(mine.logit_scale.exp()) == pytest.approx(expected)


@pytest.mark.parametrize("change,message", [
    ({"patch": 9}, "no multiple of patch"), ({"masked_patches": 16}, "less than all 16 patches"),
    ({"positions": 11}, "at most positions 11"), ({"column": "codes"}, "set one of column and"),
    ({"shares": {"pairs": 0, "images": 0, "texts": 0}}, "at least one of shares"),
    ({"text": {"width": 50, "heads": 4}}, "no multiple of heads"),
])  # fmt: skip
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        FlavaSettings.model_validate({**SMALL.model_dump(), **change})


def test_a_vocabulary_is_needed_and_must_fit(tmp_path):
    with pytest.raises(ValueError, match=r"--set model\.vocabulary=PATH"):
        task(SMALL.model_copy(update={"vocabulary": None})).texts("pairs", ["a"])
    with pytest.raises(ValueError, match=r"at most model\.words=3"):
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
        tokenizer(str(tmp_path / "vocab.txt"), 3)


def test_flops_of_the_published_size():
    """Two for each multiply-add: a ViT-B/16 twice, a BERT-base twice, six more layers once."""
    counted = sample_flops(FlavaTask(PRESETS["base"].model, 8192))
    found = {kind: one.forward for kind, one in counted.items()}
    layer = 2 * (12 * 768**2)
    image = 197 * 12 * layer + 12 * 4 * 197**2 * 768 + 196 * 2 * 768**2
    text = 77 * 12 * layer + 12 * 4 * 77**2 * 768
    fusion = 275 * 6 * layer + 6 * 4 * 275**2 * 768
    heads = 75 * 2 * 768 * 8192 + 12 * 2 * 768 * 30522
    assert found["images"] == pytest.approx(image + 75 * 2 * 768 * 8192, rel=0.01)
    pairs = 2 * image - 196 * 2 * 768**2 + 2 * text + fusion + heads
    assert found["pairs"] == pytest.approx(pairs, rel=0.01)
