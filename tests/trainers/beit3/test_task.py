from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import sentencepiece
import torch

from septet.preprocess.codes.views import View, look, pack_views
from septet.preprocess.columns.members import pack_arrays
from septet.preprocess.synthetic.scenes import captions, make_scene, render
from septet.preprocess.tokenizers.xlmr import END, PAD, START
from septet.schemas.columns import ArrayFormat
from septet.trainers.beit3.presets import PRESETS
from septet.trainers.beit3.samples import tokenizer
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.beit3.task import Beit3Task
from septet.trainers.draws import generator
from septet.trainers.engine.config import OptimizerSettings
from septet.trainers.engine.metrics import sample_flops
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.inputs.codes import MeanColours
from septet.trainers.loader.source import stack
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch, SampleError, SubBatch
from tests.trainers.beit3.small import PAPER, SMALL, batch, module, task, vqkd
from tests.trainers.test_cli import call

CONTRASTIVE = SMALL.model_copy(update={"stage": "contrastive"})


def sample(i: int) -> dict[str, bytes]:
    scene = make_scene(3, i)
    png = cv2.imencode(".png", render(scene, 80)[:, :, ::-1])[1].tobytes()
    return {"png": png, "txt": captions(scene)[0].encode()}


def draw(key: str, epoch: int = 0):
    return lambda: generator("draw", 0, "pairs", key, epoch)


def rows(t: Beit3Task, stream: str, count: int = 6, epoch: int = 0) -> Batch:
    found = stack([t.read(stream, sample(i), draw(str(i), epoch)) for i in range(count)])
    return Batch(stream, {n: torch.from_numpy(x) for n, x in found.items()})


def test_every_step_has_all_kinds_in_equal_shares():
    t = PRESETS["giant"].task()
    plan = [SubBatch.of(kind, 2048) for kind in ("images", "texts", "pairs")]
    assert all(t.plan(seed, step) == plan for seed in range(3) for step in range(5))
    assert t.streams["images"].columns == t.streams["pairs"].columns == ("codes",)
    assert t.streams["texts"].members == ("txt",) and t.streams["texts"].columns == ()
    with pytest.raises(ValueError, match=r"global_batch must be a multiple of 3; found 100"):
        override(PRESETS["giant"], ["train.global_batch=100"]).task()


def test_the_contrastive_stage_reads_pairs_and_no_codes():
    t = PRESETS["base-itc"].task()
    assert t.plan(0, 9) == [SubBatch.of("pairs", 16_384)] and t.streams["pairs"].columns == ()
    assert t.streams.keys() == {"pairs"} and t.streams["pairs"].distinct == 16_384
    assert t.loss_weights == {"contrastive": 1.0} and not t.unused_parameters


@pytest.mark.parametrize("stream", ["images", "texts", "pairs"])
def test_rows_are_a_function_of_seed_key_and_epoch(stream):
    t = task()
    one, two = t.read(stream, sample(0), draw("0")), t.read(stream, sample(0), draw("0"))
    assert one.keys() == two.keys() and all(np.array_equal(one[n], two[n]) for n in one)
    later = [t.read(stream, sample(0), draw("0", epoch)) for epoch in range(1, 6)]
    other = [t.read(stream, sample(0), draw("1"))]
    for name in one.keys() - {"ids"}:
        assert any(not np.array_equal(one[name], row[name]) for row in later + other), name
    like = {n: (x.shape, x.dtype) for n, x in t.example(stream, 1).data.items()}
    assert {n: (1, *x.shape) for n, x in one.items()} == {n: s for n, (s, _) in like.items()}


def test_shares_that_are_masked():
    t = task()
    pairs, images, texts = (rows(t, kind) for kind in ("pairs", "images", "texts"))
    for data in (pairs.data, images.data):
        assert bool((data["patch_mask"].sum(1) == SMALL.masked_patches).all())
    for data, share in ((pairs.data, 0.5), (texts.data, 0.15)):
        pieces = (data["ids"] > END).sum(1)
        expected = [max(1, round(share * int(n))) for n in pieces]
        assert data["word_places"].sum(1).tolist() == expected
    counts = {n: int(c) for b in (images, texts, pairs) for n, c in t.counts(b).items()}
    assert counts == {
        "mim": 36, "mvlm_image": 36, "mlm": int(texts.data["word_places"].sum()),
        "mvlm_text": int(pairs.data["word_places"].sum()),
    }  # fmt: skip


def test_published_shares():
    for name, grid in (("base", 14), ("large", 14), ("giant", 16)):
        s = PRESETS[name].model
        assert s.grid == grid and s.masked_patches == int(0.4 * grid**2)
        assert (s.masked_words, s.masked_pair_words) == (0.15, 0.5)


def test_long_texts_are_cut_and_still_end():
    t, words = task(), tokenizer("scenes", 256)
    long = {**sample(0), "txt": b"a red circle above a blue star and " * 9}
    for stream, length in (("pairs", SMALL.pair_tokens), ("texts", SMALL.text_tokens)):
        ids = t.read(stream, long, draw("0"))["ids"]
        assert ids.shape == (length,) and ids[0] == START and ids[-1] == END and PAD not in ids
        assert ids[1:-1].tolist() == words.encode(long["txt"].decode())[: length - 2]
    short = t.read("pairs", {**sample(0), "txt": b"a star"}, draw("0"))
    assert short["ids"].tolist() == [START, *words.encode("a star"), END] + [PAD] * 12
    assert not short["word_places"][[0, 3]].any()


def stored(i: int, views: list[View], grid: int = 4) -> bytes:
    codes = np.random.default_rng(i).integers(0, 512, (len(views), grid, grid))
    return pack_arrays({"codes": codes.astype(np.uint16), **pack_views(views, (80, 80))})


COLUMN = SMALL.model_copy(update={"column": "vqkd", "tokenizer": None})


def test_codes_and_pixels_come_from_the_same_stored_view():
    t = task(COLUMN)
    views = [View((0, 0, 80, 80)), View((4, 6, 70, 74), True, (0.75, 1.25, 1.0), drawn=True),
             View((1, 0, 79, 80), drawn=True)]  # fmt: skip
    members = {**sample(2), "vqkd": stored(2, views)}
    codes = np.random.default_rng(2).integers(0, 512, (3, 4, 4))
    image, seen = render(make_scene(3, 2), 80), set()
    for epoch in range(12):
        row = t.read("pairs", members, draw("2", epoch))
        (number,) = [i for i in range(3) if np.array_equal(codes[i].reshape(-1), row["codes"])]
        assert np.array_equal(row["pixels"], look(image, views[number], 64))
        assert row["codes"].dtype == np.int64 and "code_pixels" not in row
        seen.add(number)
    assert seen == {1, 2}  # The first is for evaluation.
    assert np.array_equal(t.read("pairs", members, None)["pixels"], look(image, views[0], 64))
    data = Batch("pairs", {n: torch.from_numpy(x[None]) for n, x in row.items()})
    labels = t.labels(data)["mvlm_image"]
    assert torch.equal(labels, data.data["codes"][data.data["patch_mask"]])


def test_codes_of_another_grid_are_refused():
    """By the run as a whole: no sample of the column would fit."""
    t = task(COLUMN)
    views = [View((0, 0, 80, 80))]
    for grid in (2, 5):
        members = {**sample(2), "vqkd": stored(2, views, grid)}
        with pytest.raises(ValueError, match=r"needs 4 x 4 below.* tokenizer=vqkd size=64") as told:
            t.read("images", members, draw("2"))
        assert not isinstance(told.value, SampleError)
    giant = PRESETS["giant"].model.code_grid
    assert (giant.grid, giant.side) == (16, 256)  # Patches of 14: the tokenizer sees 256 pixels.
    # And before any is read, by what the column's manifest says.
    for grid, greatest, column in ((4, 511, "codes"), (14, 511, "codes"), (4, 8191, "codes"),
                                   (4, 511, "boxes")):  # fmt: skip
        arrays = {column: ArrayFormat(dtype="uint16", shape=(8, grid, grid), greatest=greatest)}
        manifest = SimpleNamespace(member=SimpleNamespace(arrays=arrays))
        if (grid, greatest, column) == (4, 511, "codes"):
            t.check_column("vqkd", manifest)
            continue
        with pytest.raises(ValueError, match=r"needs 4 x 4 below model\.codes=512|holds no codes"):
            t.check_column("vqkd", manifest)
    few = task(COLUMN.model_copy(update={"codes": 100}))
    with pytest.raises(ValueError, match=r"below model\.codes=100"):
        few.read("images", {**sample(2), "vqkd": stored(2, views)}, draw("2"))


def test_an_image_that_is_not_the_columns_is_dropped():
    t = task(COLUMN)
    outside = {**sample(2), "vqkd": stored(2, [View((0, 0, 90, 80))])}
    with pytest.raises(SampleError, match="does not lie within 80 x 80"):
        t.read("images", outside, draw("2"))
    with pytest.raises(SampleError, match="column vqkd has no value"):
        t.read("images", {**sample(2), "vqkd": b""}, draw("2"))


def test_codes_are_made_while_training(tmp_path):
    """By VQ-KD, of the view that the model sees; for patches of 14 pixels at 16 / 14 of its size."""
    tokenizer = vqkd()
    torch.save(tokenizer.state_dict(), tmp_path / "vqkd.pth")
    s = SMALL.model_copy(update={"tokenizer": str(tmp_path / "vqkd.pth")})
    t = task(s)
    data = rows(t, "images")
    assert not {"codes", "code_pixels"} & data.data.keys()
    pixels = data.data["pixels"].permute(0, 3, 1, 2).float() / 255
    expected = tokenizer.codes(pixels).flatten(1)
    assert len(expected.unique()) > 5
    assert torch.equal(t.labels(data)["mim"], expected[data.data["patch_mask"]])
    assert not any("encoder.blocks" in name for name, _ in t.build().named_parameters())
    fine = task(s.model_copy(update={"patch": 14, "image_size": 56}))
    data = rows(fine, "pairs")
    assert data.data["pixels"].shape[1:] == (56, 56, 3)
    assert data.data["code_pixels"].shape[1:] == (64, 64, 3)
    seen = data.data["code_pixels"].permute(0, 3, 1, 2).float() / 255
    expected = tokenizer.codes(seen).flatten(1)[data.data["patch_mask"]]
    assert torch.equal(fine.labels(data)["mvlm_image"], expected)
    torch.save(vqkd(patch=8).state_dict(), tmp_path / "fine.pth")
    other = task(s.model_copy(update={"tokenizer": str(tmp_path / "fine.pth")}))
    with pytest.raises(ValueError, match=r"a code for 8 x 8 pixels; the model needs one for 16"):
        other.labels(rows(other, "images"))
    torch.save(vqkd(codes=600).state_dict(), tmp_path / "many.pth")
    other = task(s.model_copy(update={"tokenizer": str(tmp_path / "many.pth")}))
    with pytest.raises(ValueError, match=r"600 codes, but model\.codes is 512"):
        other.labels(rows(other, "images"))


def test_views_are_cropped_flipped_and_coloured_where_none_is_stored():
    t, whole = task(), render(make_scene(3, 1), 80)
    flat = look(whole, View((0, 0, 80, 80)), 64)
    seen = [t.read("images", sample(1), draw("1", epoch))["pixels"] for epoch in range(20)]
    assert len({x.tobytes() for x in seen}) == 20
    assert np.array_equal(t.read("pairs", sample(1), None)["pixels"], flat)
    still = task(SMALL.model_copy(update={"crop": (1.0, 1.0), "jitter": 0.0}))
    views = [still.read("images", sample(1), draw("1", epoch))["pixels"] for epoch in range(40)]
    full = [x for x in views if np.array_equal(x, flat) or np.array_equal(x, flat[:, ::-1])]
    flipped = sum(np.array_equal(x, flat[:, ::-1]) for x in full)
    assert 0 < flipped < len(full)
    cells = torch.from_numpy(flat[None]).permute(0, 3, 1, 2).float() / 255
    assert MeanColours(16).codes(cells).shape == (1, 4, 4)


@pytest.mark.parametrize("s", [SMALL, CONTRASTIVE], ids=["masked", "contrastive"])
def test_bad_samples_are_dropped_and_told(s):
    t = task(s)
    for members, message in (
        ({"png": b"no picture", "txt": b"a"}, "cannot be used"), ({**sample(0), "txt": b"\xff"}, "UTF-8"),
    ):  # fmt: skip
        with pytest.raises(SampleError, match=message):
            t.read("pairs", members, draw("0"))
    if s is SMALL:
        with pytest.raises(SampleError, match="text is empty"):
            t.read("texts", {"txt": b" \n "}, draw("0"))
        empty = t.read("pairs", {**sample(0), "txt": b""}, draw("0"))
        assert empty["ids"][:3].tolist() == [START, END, PAD] and not empty["word_places"].any()


def test_nothing_masked_counts_nothing():
    t, mine = task(), module()
    data = batch("texts")
    none = Batch("texts", {**data.data, "word_places": torch.zeros_like(data.data["word_places"])})
    sums = t.losses(t.forward(mine, none), none)
    assert float(sums["mlm"].detach()) == 0 == int(t.counts(none)["mlm"])
    sums["mlm"].backward()
    assert not mine.mlm_head.weight.grad.any()


def test_contrastive_rows_and_texts_alone():
    t, mine = task(CONTRASTIVE), module(CONTRASTIVE)
    data = rows(t, "pairs")
    assert data.data.keys() == {"pixels", "ids"}
    outputs = t.forward(mine, data)
    assert outputs["image"].shape == outputs["text"].shape == (6, SMALL.width)
    texts = t.texts("pairs", [captions(make_scene(3, i))[0] for i in range(6)])
    assert torch.allclose(t.forward(mine, texts)["text"], outputs["text"], atol=1e-6)
    sums = t.pooled_losses(outputs, data, lambda x: (x, 0))
    logits = outputs["scale"] * outputs["image"] @ outputs["text"].T
    expected = -(logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()).sum() / 2
    assert float(sums["contrastive"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    sums["contrastive"].backward()
    idle = [n for n, p in mine.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == ["beit3.vision_embed.mask_token"]
    with torch.no_grad():
        mine.logit_scale.fill_(7.0)
        t.after_step(mine)
    assert mine.logit_scale.exp().item() == pytest.approx(100)


def test_what_decays_and_how_deep_it_lies():
    t = task(PAPER)
    mine = t.build()
    still = {n for n, p in mine.named_parameters() if p.ndim > 1 and not t.decays(n, p)}
    assert still == {
        "beit3.vision_embed.cls_token", "beit3.encoder.embed_positions.A.weight",
    }  # fmt: skip
    assert all(p.ndim > 1 for n, p in mine.named_parameters() if t.decays(n, p))
    depths = {n: t.depth(n) for n, _ in mine.named_parameters()}
    for name, expected in (
        ("beit3.text_embed.weight", 4), ("beit3.encoder.embed_positions.B.weight", 4),
        ("beit3.vision_embed.proj.bias", 4), ("beit3.encoder.layers.0.ffn.A.fc1.weight", 3),
        ("beit3.encoder.layers.2.ffn.VL.fc1.weight", 1), ("beit3.encoder.layer_norm.AB.bias", 0),
        ("mlm_head.weight", 0),
    ):  # fmt: skip
        assert depths[name] == expected, name
    groups = make_optimizer(mine, t, OptimizerSettings(lr=1.0, layer_decay=0.5)).param_groups
    assert {group["scale"] for group in groups} == {0.5**depth for depth in range(5)}


@pytest.mark.parametrize("change,message", [
    ({"patch": 9}, "no multiple of patch"), ({"masked_patches": 16}, "less than all 16 patches"),
    ({"text_tokens": 33}, "must be at most 32"), ({"column": "codes"}, "set one of column and"),
    ({"heads": 5}, "no multiple of heads"), ({"fusion_layers": 3}, "fusion_layers 3 of layers 2"),
    ({"crop": (0.5, 0.2)}, r"a range within \(0, 1\]"),
])  # fmt: skip
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Beit3Settings.model_validate({**SMALL.model_dump(), **change})


def test_a_vocabulary_is_needed_and_must_fit(tmp_path):
    with pytest.raises(ValueError, match=r"--set model\.vocabulary=PATH of beit3\.spm"):
        task(SMALL.model_copy(update={"vocabulary": None})).texts("pairs", ["a"])
    path = tmp_path / "m.spm"
    with path.open("wb") as out:
        texts = (text for i in range(300) for text in captions(make_scene(0, i)))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=texts, model_writer=out, model_type="bpe", vocab_size=150,
            minloglevel=2, num_threads=1,
        )  # fmt: skip
    assert len(tokenizer(str(path), 152)) == 152
    with pytest.raises(ValueError, match=r"has 152 pieces: expected at most model\.words=151"):
        tokenizer(str(path), 151)


def test_flops_of_the_released_base():
    """Two for each multiply-add; every token passes one expert, wherever it comes from."""
    counted = sample_flops(PRESETS["base"].task())
    found = {kind: one.forward for kind, one in counted.items()}
    width, words, codes = 768, 64_010, 8192

    def flops(tokens: int, patches: int, masked_words: float) -> float:
        blocks = 12 * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width)
        heads = 2 * width * (masked_words * words + (78 * codes if patches else 0))
        return blocks + 2 * patches * width**2 + heads

    assert found["images"] == pytest.approx(flops(197, 196, 0), rel=0.005)
    assert found["texts"] == pytest.approx(flops(512, 0, 77), rel=0.005)
    assert found["pairs"] == pytest.approx(flops(197 + 64, 196, 32), rel=0.005)


def test_dry_run_reckons_a_step_of_all_kinds(scenes):
    found = call("beit3", scenes, "--preset", "base", "--dry-run", "--ranks", "8",
                 "--set", "train.micro_batch=64", "--set", "train.shard=8",
                 "--set", "model.column=null", "--set", "model.tokenizer=colours")  # fmt: skip
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "276,510,730" in text
    for kind in ("images", "texts", "pairs"):
        assert f"batch of {kind} 2,048 = 8 ranks x 256, 4 micro-batches of 64" in text
    t = PRESETS["base"].task()
    flops = sample_flops(t)
    assert f"{2048 * sum(one.training for one in flops.values()) / 1e12:,.3f} TFLOP" in text
    assert {n: stream.tokens for n, stream in t.streams.items()} == {
        "images": 196, "texts": 512, "pairs": 196 + 64,
    }  # fmt: skip
