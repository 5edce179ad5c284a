import math

import numpy as np
import pytest
import torch

from septet.preprocess.columns.members import pack_arrays, pack_json, unpack_arrays
from septet.schemas.columns import ArrayFormat, ColumnManifest, MemberFormat
from septet.schemas.manifest import ListFile
from septet.trainers.engine.metrics import sample_flops
from septet.trainers.ernie_vil.masks import NONE, OBJECT, RELATION, WORD
from septet.trainers.ernie_vil.model import KINDS
from septet.trainers.ernie_vil.presets import PRESETS
from septet.trainers.ernie_vil.samples import nodes
from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.loader.source import stack
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch, SampleError
from tests.trainers.ernie_vil.small import (
    CAPTION,
    SMALL,
    batch,
    draw,
    graph,
    module,
    regions,
    sample,
    task,
)


def changed(**update):
    return SMALL.model_copy(update=update)


def test_rows_are_a_pure_function_of_their_draw():
    t = task()
    one, two = t.read("pairs", sample(), draw("k")), t.read("pairs", sample(), draw("k"))
    assert one.keys() == two.keys() and all(np.array_equal(one[n], two[n]) for n in one)
    later = [t.read("pairs", sample(), draw("k", e)) for e in range(1, 6)]
    for name in ("kinds", "ids_masked", "region_places"):
        assert any(not np.array_equal(one[name], row[name]) for row in later), name
    for row in later:
        assert {n: (x.shape, x.dtype) for n, x in row.items()} == {
            n: (x.shape, x.dtype) for n, x in one.items()
        }
    expected = t.example("pairs", 1).data
    data = batch(t).data
    assert {n: (x.shape[1:], x.dtype) for n, x in data.items()} == {
        n: (x.shape[1:], x.dtype) for n, x in expected.items()
    }


def test_texts_are_cut_and_padded():
    words = tokenizer("scenes", 256)
    row = task().read("pairs", sample(), draw("k"))
    ids = words.encode(CAPTION).ids
    kept = SMALL.text_tokens - 2
    assert len(ids) > kept  # Cut: [SEP] is last, all the same.
    assert row["ids"].tolist() == [words.start, *ids[:kept], words.end]
    short = task().read(
        "pairs", {**sample(), "txt": b"a red circle", "scene-graphs": b""}, draw("k")
    )
    assert short["ids"][:5].tolist() == [words.start, *words.encode("a red circle").ids, words.end]
    assert not short["ids"][5:].any() and (short["kinds"][4:] == NONE).all()
    for epoch in range(100):
        row = task().read("pairs", sample(), draw("k", epoch))
        assert row["kinds"][0] == row["kinds"][-1] == NONE  # [CLS] and [SEP]
        same = row["kinds"] == NONE
        assert np.array_equal(row["ids"][same], row["ids_masked"][same])


def test_hidden_regions_tell_nothing_by_their_mean():
    t = task(changed(masked_regions=0.5))
    arrays = unpack_arrays(regions(0))
    gone = kept = 0
    for epoch in range(50):
        row = t.read("pairs", sample(), draw("k", epoch))
        features, places = row["features"][1:], row["region_places"]
        assert row["region_mask"].tolist() == [True] * 5 + [False]
        assert not places[4] and not features[4].any() and not row["locations"][5].any()
        for i in range(4):
            zero = not features[i].any()
            assert zero <= places[i]
            gone, kept = gone + zero, kept + (places[i] and not zero)
            if not zero:
                assert np.array_equal(features[i], arrays["features"][i])
        # Over all four boxes, after hiding: a sum cannot be solved for what is hidden.
        expected = features[:4].astype(np.float32).sum(0) / 4
        assert np.allclose(row["features"][0], expected, atol=2e-3)
        assert row["locations"][0].tolist() == [0, 0, 1, 1, 1]
        assert np.array_equal(row["locations"][1:5], arrays["locations"])
        assert np.array_equal(row["probs"][:4], arrays["probs"])
    assert gone / (gone + kept) == pytest.approx(0.9, abs=0.07)


def test_many_regions_are_cut_and_other_sizes_refused():
    row = task().read("pairs", {**sample(), "regions": regions(1, 9)}, draw("k"))
    assert row["region_mask"].all() and row["features"].shape == (6, 16)
    with pytest.raises(ValueError, match=r"regions with 16 features, but model\.features is 32"):
        task(changed(features=32)).read("pairs", sample(), draw("k"))
    with pytest.raises(
        ValueError, match=r"with 12 classes, but model\.classes is 9.*masked_regions=0"
    ):
        task(changed(classes=9)).read("pairs", sample(), draw("k"))


def rows(t: ErnieVilTask, count: int, epoch: int) -> Batch:
    found = stack([t.read("pairs", sample(i, 1 + i % 5), draw(i, epoch)) for i in range(count)])
    return Batch("pairs", {n: torch.from_numpy(x) for n, x in found.items()})


@pytest.mark.parametrize("replace", ["regions", "caption"])
def test_negatives_have_their_neighbours_image_and_nothing_to_predict(replace):
    t = task(changed(replace=replace, masked_regions=0.5))
    taken = ("features", "locations", "region_mask")
    if replace == "caption":
        taken = ("ids", "ids_masked")
    matches, kinds = [], []
    for epoch in range(30):
        plain = rows(t, 8, epoch)
        after = t.exchange(plain)
        assert "swap" not in after.data
        match = after.data["match"]
        assert torch.equal(match, ~plain.data["swap"])
        for i in range(8):
            source = i if match[i] else i ^ 1
            for name in ("ids", "ids_masked", "features", "locations", "region_mask", "probs"):
                expected = plain.data[name][source if name in taken else i]
                assert torch.equal(after.data[name][i], expected), name
            if match[i]:
                assert torch.equal(after.data["kinds"][i], plain.data["kinds"][i])
                assert torch.equal(after.data["region_places"][i], plain.data["region_places"][i])
        assert (after.data["kinds"][~match] == NONE).all()
        assert not after.data["region_places"][~match].any()
        counts = t.counts(after)
        for number, name in enumerate(KINDS):
            assert int(counts[name]) == int((plain.data["kinds"][match] == number).sum())
        assert int(counts["region"]) == int(plain.data["region_places"][match].sum())
        assert int(counts["match"]) == 8
        matches.append(match)
        kinds.append(plain.data["kinds"])
    assert float(torch.cat(matches).float().mean()) == pytest.approx(0.5, abs=0.1)
    # However the batch is cut.
    halves = [Batch("pairs", {n: x[i : i + 4] for n, x in plain.data.items()}) for i in (0, 4)]
    both = [t.exchange(half).data for half in halves]
    for name, x in after.data.items():
        assert torch.equal(torch.cat([part[name] for part in both]), x)
    with pytest.raises(ValueError, match="must be even; found 3 rows"):
        t.exchange(Batch("pairs", {n: x[:3] for n, x in plain.data.items()}))


def test_equal_captions_match_all_the_same():
    found = stack([task().read("pairs", sample(0, 4), draw("a", e)) for e in range(8)])
    data = {n: torch.from_numpy(x) for n, x in found.items()}
    assert data["swap"].any()
    assert task().exchange(Batch("pairs", data)).data["match"].all()


def test_losses_are_what_they_are_said_to_be():
    t, mine = task(changed(masked_regions=0.5, text_tokens=40)), module()
    data = batch(t, 16)
    outputs, counts = t.forward(mine, data), t.counts(data)
    sums = t.losses(outputs, data)
    assert sums.keys() == counts.keys() == t.loss_weights.keys()
    assert all(int(n) > 0 for n in counts.values())
    x = data.data
    every = {
        n: torch.arange(x[of].numel()) for n, of in (("mlm", "ids"), ("region", "region_places"))
    }
    inputs = {n: x[n] for n in ("features", "locations", "region_mask")}
    whole = mine(x["ids_masked"], x["ids"] != 0, **inputs, places=every)
    words = whole["mlm"].view(16, 40, -1).log_softmax(-1)
    scores = whole["region"].view(16, 5, -1).log_softmax(-1)
    odds = whole["match"].log_softmax(-1)
    expected = dict.fromkeys(t.loss_weights, 0.0)
    for b in range(16):
        expected["match"] -= float(odds[b, 0 if x["match"][b] else 1])
        for place, kind in enumerate(x["kinds"][b].tolist()):
            if kind != NONE:
                expected[KINDS[kind]] -= float(words[b, place, x["ids"][b, place]])
        for r in range(5):
            if x["region_places"][b, r]:
                for p, q in zip(x["probs"][b, r].tolist(), scores[b, r].tolist(), strict=True):
                    expected["region"] += p * (math.log(p) - q) if p > 0 else 0.0
    for name, value in expected.items():
        assert float(sums[name]) == pytest.approx(value, rel=1e-4), name
    assert torch.allclose(whole["match"], outputs["match"], atol=1e-5)


def test_nothing_masked_counts_nothing_and_is_no_nan():
    t, mine = task(), module()
    data = batch(t)
    x = data.data
    none = {**x, "kinds": torch.full_like(x["kinds"], NONE), "match": torch.zeros_like(x["match"]),
            "region_places": torch.zeros_like(x["region_places"])}  # fmt: skip
    empty = Batch("pairs", none)
    sums, counts = t.losses(t.forward(mine, empty), empty), t.counts(empty)
    for name in (*KINDS, "region"):
        assert float(sums[name].detach()) == 0 == int(counts[name])
    sum(sums.values()).backward()
    # Every parameter has a gradient, were it zero, so that ranks agree on what is reduced.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mine.parameters())


def test_gradients_reach_every_parameter():
    t, mine = task(changed(masked_regions=0.5, text_tokens=40)), module()
    data = batch(t, 16)
    sums, counts = t.losses(t.forward(mine, data), data), t.counts(data)
    sum(sums[name] / counts[name] for name in sums).backward()
    for name, p in mine.named_parameters():
        # A key's bias adds the same to all scores of a query: softmax does not see it.
        if not name.endswith("attention.k.bias"):
            assert p.grad.abs().max() > 1e-7, name


def test_without_masks_there_is_matching_alone():
    t, mine = task(), module().eval()
    found = stack([t.read("pairs", sample(i), None) for i in range(4)])
    assert found.keys() == {"ids", "features", "locations", "region_mask"}
    outputs = t.forward(mine, Batch("pairs", {n: torch.from_numpy(x) for n, x in found.items()}))
    assert outputs.keys() == {"match"} and outputs["match"].shape == (4, 2)


def test_pads_do_not_matter():
    t, mine = task(), module().eval()
    data = batch(t).data
    outputs = t.forward(mine, Batch("pairs", data))
    spoilt = {**data, "features": data["features"].clone(), "locations": data["locations"].clone()}
    spoilt["features"][~data["region_mask"]] = 9.0
    spoilt["locations"][~data["region_mask"]] = -3.0
    assert not data["region_mask"].all()
    for name, x in t.forward(mine, Batch("pairs", spoilt)).items():
        assert torch.allclose(x, outputs[name], atol=1e-6), name


# What can be wrong with a sample or a column, and what then happens.


def test_a_caption_without_a_graph_is_kept():
    t = task()
    assert t.streams["pairs"].columns == ("regions",) and t.streams["pairs"].optional == (
        "scene-graphs",
    )
    seen = set()
    for epoch in range(50):
        row = t.read("pairs", {**sample(), "scene-graphs": b""}, draw("k", epoch))
        seen |= set(row["kinds"].tolist())
    assert seen == {NONE, WORD}
    without = task(changed(graphs=None))
    assert without.streams["pairs"].optional == ()
    members = {n: x for n, x in sample().items() if n != "scene-graphs"}
    assert set(without.read("pairs", members, draw("k"))["kinds"].tolist()) <= {NONE, WORD}


def test_a_node_cut_off_by_the_length_limit_is_left_out():
    words = tokenizer("scenes", 256)
    last = max(i for p in nodes(sample(), changed(text_tokens=40)).relations for i in p.pieces)
    short = changed(text_tokens=last + 2)  # [CLS], [SEP], and the relation but for its last piece.
    assert nodes(sample(), short).cut and not nodes(sample(), short).relations
    kinds = np.stack(
        [task(short).read("pairs", sample(), draw("k", e))["kinds"] for e in range(200)]
    )
    assert not (kinds == RELATION).any() and (kinds == OBJECT).any()
    assert len(words.encode(CAPTION).ids) > last


def test_broken_values_are_sample_errors():
    t = task()
    circular = graph().to_json() | {
        "relations": [{"lemma": "on", "spans": [[0, 1]], "subject": 9, "object": 0}]
    }
    for change, message in (
        ({"txt": b"\xff\xfe"}, "UTF-8"),
        ({"regions": b"no arrays"}, "column regions: no safetensors"),
        ({"regions": pack_arrays({"boxes": np.zeros((1, 4), np.float32)})}, "column regions"),
        ({"regions": regions(0, 0)}, "no region"),
        ({"scene-graphs": b"{"}, "column scene-graphs"),
        ({"scene-graphs": pack_json(circular)}, "points outside of 3 objects"),
    ):
        with pytest.raises(SampleError, match=message):
            t.read("pairs", {**sample(), **change}, draw("0"))


def column(name, notes=None, **arrays):
    member = MemberFormat(ext="x", kind="json", arrays=arrays, notes=notes or {})
    return ColumnManifest(
        name=name, kind=name, version=1, septet="0", fingerprint="", settings={}, member=member,
        bytes=0, shard_list=ListFile(path="x", rows=0, sha256=""), counts={"samples": 1, "values": 1},
    )  # fmt: skip


def test_a_graph_made_with_another_tokenizer_is_refused(tmp_path):
    t = task()
    t.check_column("scene-graphs", column("scene-graphs", {"tokenizer": None}))  # Characters alone.
    t.check_column("scene-graphs", column("scene-graphs", {"tokenizer": "scenes"}))
    with pytest.raises(ValueError, match=r"made with the tokenizer clip, the model reads scenes"):
        t.check_column("scene-graphs", column("scene-graphs", {"tokenizer": "clip"}))
    (tmp_path / "vocab.txt").write_text("\n".join(tokenizer("scenes", 256).pieces) + "\n")
    own = task(changed(vocabulary=str(tmp_path / "vocab.txt")))
    with pytest.raises(ValueError, match=r"made with the tokenizer scenes, .* wordpiece:"):
        own.check_column("scene-graphs", column("scene-graphs", {"tokenizer": "scenes"}))


def test_regions_that_do_not_fit_are_refused():
    features = ArrayFormat(dtype="float16", shape=("n", 16))
    probs = ArrayFormat(dtype="float16", shape=("n", "classes"))
    task().check_column("regions", column("regions", features=features, probs=probs))
    task(changed(masked_regions=0)).check_column("regions", column("regions", features=features))
    with pytest.raises(ValueError, match=r"regions with no classes.*model\.masked_regions=0"):
        task().check_column("regions", column("regions", features=features))
    with pytest.raises(ValueError, match=r"with 16 features, but model\.features is 2048"):
        task(changed(features=2048)).check_column("regions", column("regions", features=features))


def test_without_masked_regions_no_distributions_are_needed():
    t, mine = task(changed(masked_regions=0)), module()
    arrays = unpack_arrays(regions(0))
    del arrays["probs"]
    rows = stack(
        [t.read("pairs", {**sample(i), "regions": pack_arrays(arrays)}, draw(i)) for i in range(4)]
    )
    data = t.exchange(Batch("pairs", {n: torch.from_numpy(x) for n, x in rows.items()}))
    assert "probs" not in data.data and not data.data["region_places"].any()
    sums = t.losses(t.forward(mine, data), data)
    assert float(sums["region"].detach()) == 0 == int(t.counts(data)["region"])
    sum(sums.values()).backward()
    assert all(p.grad is not None for p in mine.parameters())


@pytest.mark.parametrize("change,message", [
    ({"text_places": (1, 3)}, "must rise within the stream's 3 layers"),
    ({"image_places": (1, 0)}, "must rise"), ({"image_places": (0,)}, "one number for each"),
    ({"co_heads": 3}, "no multiple of co_heads"), ({"text_tokens": 41}, "above positions 40"),
    ({"text": {"width": 50, "heads": 4, "layers": 3, "inner": 8}}, "no multiple of heads"),
])  # fmt: skip
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        ErnieVilSettings.model_validate({**SMALL.model_dump(), **change})


def test_presets():
    with pytest.raises(ValueError, match=r"train\.micro_batch must be even"):
        override(PRESETS["debug"], ["train.micro_batch=1"]).task()
    assert PRESETS["base"].train.steps * PRESETS["base"].train.global_batch == 358_400_000


@pytest.mark.parametrize("name,giga", [("base", 15.4), ("large", 38.7)])
def test_flops_of_the_published_sizes(name, giga):
    """The sheet's count without heads, plus what heads take of the tokens that are masked."""
    preset = PRESETS[name]
    s = preset.model
    found = sample_flops(preset.task())["pairs"].forward
    words = math.ceil(0.15 * 36) + 3 * math.ceil(0.05 * 36)
    regions = math.ceil(0.15 * 36)
    heads = words * 2 * s.text.width * (s.text.width + s.words)
    heads += regions * 2 * s.image.width * (s.image.width + s.classes)
    assert (found - heads) / 1e9 == pytest.approx(giga, rel=0.01)
