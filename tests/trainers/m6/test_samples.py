import cv2
import numpy as np
import pytest

from septet.preprocess.synthetic.languages import caption
from septet.preprocess.synthetic.scenes import make_scene, render
from septet.schemas.columns import ArrayFormat, MemberFormat
from septet.trainers.draws import generator
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.m6 import samples
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.settings import END, MASK, START, TASKS
from septet.trainers.task import ReadSample, SampleError
from tests.trainers.m6.small import ONLINE, SMALL

LONG = "图中有一个小的红色圆形，还有一个大的蓝色星形在绿色正方形的左边" * 4


def sample(text: str | None = None, scene: int = 3, **more: bytes) -> ReadSample:
    made = make_scene(1, scene)
    png = cv2.imencode(".png", render(made)[:, :, ::-1])[1].tobytes()
    told = caption(made, "zh") if text is None else text
    members = {"png": png, "txt": told.encode(), "patches": b"\0\0" * 16 * 20, **more}
    return ReadSample(members, key="k", corpus="scenes")


def read(task, given=None, s=SMALL, epoch=0):
    draw = generator("draw", 0, task, "k", epoch)
    return samples.read(task, given or sample(), s, draw)


def test_tasks_differ_in_which_segments_they_have():
    assert set(samples.SEEING) | set(samples.HIDING) < set(TASKS)
    have = {task: set(read(task)) for task in TASKS}
    assert have == {
        "denoising": {"source", "target"},
        "language_modelling": {"target"},
        "captioning": {"target", "patches"},
        "image_denoising": {"source", "target", "patches"},
        "drawing": {"source", "target"},
    }
    assert {task: set(read(task, s=ONLINE)) for task in ("captioning", "image_denoising")} == {
        "captioning": {"target", "pixels"},
        "image_denoising": {"source", "target", "pixels"},
    }
    for task in TASKS:
        for s in (SMALL, ONLINE):
            row, batch = read(task, s=s), samples.example(task, 2, s)
            assert set(row) == set(batch.data)
            longest = {n: each.buckets[-1] for n, each in samples.lengths(task, s).items()}
            for name, value in row.items():
                shape = batch.data[name].shape[1:]
                if name in longest:
                    assert shape == (longest[name],) and value.ndim == 1
                    assert len(value) <= longest[name] and value.dtype == np.int64
                else:
                    assert shape == value.shape


def test_the_whole_text_is_written_from_the_text_with_hidden_spans():
    words = samples.tokenizer(SMALL)
    told = "一个小的红色圆形，还有一个大星"
    given = sample(told)
    for task in ("captioning", "denoising", "image_denoising", "language_modelling"):
        target = read(task, given)["target"]
        assert words.decode(target) == told and target[-1] == END and START not in target
    for epoch in range(20):
        source = read("image_denoising", given, epoch=epoch)["source"]
        assert 1 <= (source == MASK).sum() <= 3 and END not in source
        assert 15 - 3 + 1 <= len(source) <= 15


def test_the_masked_part_alone_may_be_written():
    s = SMALL.model_copy(update={"target": "masked"})
    for epoch in range(20):
        row = read("denoising", s=s, epoch=epoch)
        whole = read("denoising", epoch=epoch)
        assert np.array_equal(row["source"], whole["source"]) and row["target"][-1] == END
        spans = np.split(row["target"][:-1], np.flatnonzero(row["target"] == MASK))[1:]
        told = [list(part[1:]) for part in spans]
        back = []
        for i in row["source"].tolist():
            back += told.pop(0) if i == MASK else [i]
        assert back == whole["target"][: len(back)].tolist() and not told
        assert len(row["target"]) <= samples.lengths("denoising", s)["target"].buckets[-1]


def test_masks_are_a_function_of_seed_key_and_epoch():
    first, again, later = (read("denoising", epoch=epoch)["source"] for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)


def test_long_texts_are_read_in_parts_and_long_captions_from_their_start():
    pieces = samples.tokenizer(SMALL)
    whole = pieces.encode(LONG).ids
    begins = set()
    for epoch in range(30):
        given = sample(LONG)
        target = read("language_modelling", given, epoch=epoch)["target"]
        at = next(i for i in range(len(whole)) if whole[i : i + 20] == target[:20].tolist())
        begins.add(at)
        assert given.notes == ["cut"] and (len(target) == 20 and END not in target)
    assert len(begins) > 10
    for task in samples.SEEING:
        target = read(task, sample(LONG))["target"]
        assert target.tolist() == whole[:20]  # It goes on: no [SEP].
    given = sample(LONG)
    assert read("drawing", given)["source"].tolist() == whole[:20] and given.notes == ["cut"]
    every = SMALL.model_copy(update={"languages": ()})
    for task in TASKS:
        with pytest.raises(SampleError, match="no word piece") as found:
            read(task, sample("\u200b"), every)
        assert found.value.outcome == "empty_text"
    short = "红" * 20
    exact = sample(short)
    read("drawing", exact)
    assert not exact.notes
    given = sample(short)
    assert read("captioning", given)["target"].tolist() == [*pieces.encode(short).ids, END]
    assert not given.notes
    ends = [read("denoising", sample("红" * 21), epoch=i)["target"][-1] == END for i in range(30)]
    assert 5 < sum(ends) < 25  # Of two parts one has the text's end.


@pytest.mark.parametrize("text,outcome", [
    (" ", "empty_text"), ("a red circle", "other_language"), ("赤いまる", None), ("\u200b红", None),
    ("まる", "other_language"),
])  # fmt: skip
def test_what_is_not_chinese_is_named(text, outcome):
    if outcome is None:
        assert len(read("captioning", sample(text))["target"]) > 1
        return
    with pytest.raises(SampleError) as found:
        read("captioning", sample(text))
    assert found.value.outcome == outcome
    if outcome == "other_language":
        every = SMALL.model_copy(update={"languages": ()})
        assert len(read("captioning", sample(text), every)["target"]) > 1


def test_features_come_as_they_lie_in_the_column():
    values = np.random.default_rng(0).random((16, 20)).astype("<f2")
    row = read("captioning", sample(patches=values.tobytes()))
    assert row["patches"].dtype == np.float16 and np.array_equal(row["patches"], values)
    with pytest.raises(SampleError, match="has 160 values, not 16 x 20") as found:
        read("captioning", sample(patches=values.tobytes()[:320]))
    assert found.value.outcome == "no_value"


def manifest(shape=(16, 20), size=448):
    arrays = {"patches": ArrayFormat(dtype="float16", shape=shape)}
    member = MemberFormat(ext="patches.f16", kind="raw", arrays=arrays, notes={"size": size})
    return type("Manifest", (), {"member": member})()


def test_a_column_of_other_images_is_refused():
    samples.check_column("patches", manifest(), SMALL)
    for other in (manifest(shape=(16, 2048)), manifest(size=224)):
        with pytest.raises(ValueError, match=r"patches of shape .*annotate with --column patches"):
            samples.check_column("patches", other, SMALL)


def test_images_are_drawn_in_codes_behind_the_words():
    s = PRESETS["debug"].model
    row = read("drawing", s=s)
    codes = row["target"][:-1] - s.words
    assert len(codes) == 16 and row["target"][-1] == END
    assert codes.min() >= 0 and codes.max() < 512
    pixels = render(make_scene(1, 3))
    mean = pixels[:16, 16:32].reshape(-1, 3).mean(0) / 255
    red, green, blue = (int(x * 8) for x in mean)
    assert codes[1] == (red * 8 + green) * 8 + blue
    assert samples.tokenizer(s).decode(row["source"]) == caption(make_scene(1, 3), "zh")


def test_vocabularies_have_berts_published_ids():
    with pytest.raises(ValueError, match=r"expected \(0, 101, 102, 103\), as BERT-Chinese's"):
        samples.tokenizer(SMALL.model_copy(update={"vocabulary": "scenes"}))
    pieces = tokenizer("scenes-zh", 512)
    for i in range(50):
        told = caption(make_scene(7, i), "zh")
        ids = pieces.encode(told).ids
        assert pieces.unknown not in ids and pieces.decode(ids) == told
