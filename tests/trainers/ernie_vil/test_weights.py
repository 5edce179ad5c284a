import struct

import numpy as np
import pytest
import torch
import transformers
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from septet.trainers.commands.weights import weights
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.paddle import parse_variable, write_variable
from septet.trainers.ernie_vil.presets import PRESETS
from septet.trainers.ernie_vil.weights import (
    FORMS,
    IDLE,
    shapes,
    theirs,
    to_form,
)
from tests.preprocess.codes.oracles import Oracle
from tests.trainers.ernie_vil.small import SMALL, batch, module, task
from tests.trainers.ernie_vil.vilbert import settings
from tests.trainers.test_clip import close, randomised

NAMES = [  # Written down from the released code and its dumps.
    ("text.word.weight", "word_embedding"),
    ("text.position.weight", "pos_embedding"),
    ("text.segment.weight", "sent_embedding"),
    ("text.norm.weight", "pre_encoder_layer_norm_scale"),
    ("image.norm.bias", "vl_pre_encoder_layer_norm_bias"),
    ("image.feature.weight", "image_emb.w_0"),
    ("image.location.bias", "image_loc.b_0"),
    ("text.layers.11.attention.q.weight", "encoder_layer_11_multi_head_att_query_fc.w_0"),
    ("text.layers.0.attention.o.bias", "encoder_layer_0_multi_head_att_output_fc.b_0"),
    ("text.layers.3.norm1.weight", "encoder_layer_3_post_att_layer_norm_scale"),
    ("text.layers.3.fc2.weight", "encoder_layer_3_ffn_fc_1.w_0"),
    ("image.layers.5.norm2.bias", "encoder_vlayer_5_post_ffn_layer_norm_bias"),
    ("image.layers.5.attention.k.weight", "encoder_vlayer_5_multi_head_att_key_fc.w_0"),
    ("co.2.text.attention.v.weight", "encoder_colayer_2_multi_head_att_value_fc.w_0"),
    ("co.2.image.attention.v.weight", "encoder_colayer_2_vl_multi_head_att_value_fc.w_0"),
    ("co.0.image.norm1.weight", "encoder_colayer_0_vl_post_att_layer_norm_scale"),
    ("co.0.text.norm2.weight", "encoder_colayer_0_post_ffn_layer_norm_scale"),
    ("co.5.image.fc1.bias", "encoder_colayer_5_vl_ffn_fc_0.b_0"),
    ("co.5.text.fc1.weight", "encoder_colayer_5_ffn_fc_0.w_0"),
    ("text_pool.weight", "pooled_fc_text.w_0"),
    ("image_pool.bias", "pooled_fc_image.b_0"),
    ("word_head.dense.weight", "mask_lm_trans_fc.w_0"),
    ("word_head.norm.bias", "mask_lm_trans_layer_norm_bias"),
    ("word_head.bias", "mask_lm_out_fc.b_0"),
]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_paddles_names_and_shapes():
    wanted = shapes(PRESETS["base"].model)
    for ours, other in NAMES:
        assert ours in wanted and theirs(ours, "paddle") == other
    with torch.device("meta"):
        state = to_form(ErnieVil(PRESETS["base"].model).state_dict(), "paddle")
    assert len(state) == len(wanted) == len({theirs(n, "vilbert") for n in wanted})
    assert state["image_emb.w_0"].shape == (2048, 1024) and state["image_loc.w_0"].shape == (
        5,
        1024,
    )
    assert state["pooled_fc_text.w_0"].shape == (768, 1024)
    assert state["encoder_colayer_0_multi_head_att_query_fc.w_0"].shape == (768, 1024)
    assert state["encoder_colayer_0_vl_multi_head_att_key_fc.w_0"].shape == (768, 1024)
    assert state["encoder_colayer_0_vl_ffn_fc_0.w_0"].shape == (1024, 1024)
    assert state["word_embedding"].shape == (30_522, 768)


@pytest.mark.parametrize("form", ["paddle", "vilbert"])
def test_exported_weights_come_back(form, tmp_path):
    state = module().state_dict()
    written = FORMS.write(state, SMALL, tmp_path, form)
    assert len(written) == (len(state) if form == "paddle" else 1)
    found = FORMS.read(tmp_path if form == "paddle" else written[0], SMALL)
    assert equal(found.weights, state) and not found.lacking and not found.unread
    with pytest.raises(ValueError, match="paddle or vilbert; found 'hf'"):
        FORMS.write(state, SMALL, tmp_path, "hf")


def test_a_released_archive_lacks_heads_and_has_others(tmp_path):
    """As the released ones are thought to be: no pretraining heads but perhaps the words', those
    of fine-tuning, an optimizer's leftovers."""
    state = module().state_dict()
    FORMS.write({n: x for n, x in state.items() if "_head" not in n}, SMALL, tmp_path, "paddle")
    for name in ("vqa_fc_0.w_0", "match_fc.w_0", "cls_seq_label_vl_out_w", "learning_rate_0"):
        write_variable(tmp_path / "params" / name, np.ones((2, 3), np.float32))
    found = FORMS.read(tmp_path / "params", SMALL)
    assert set(found.lacking) == {n for n in state if "_head" in n} and len(found.unread) == 4
    assert equal(found.weights, {n: x for n, x in state.items() if "_head" not in n})
    write_variable(tmp_path / "params" / "encoder_layer_7_ffn_fc_0.b_0", np.ones(96, np.float32))
    with pytest.raises(ValueError, match=r"1 weights have no place .*encoder_layer_7"):
        FORMS.read(tmp_path, SMALL)


def test_variables_are_read_as_paddle_writes_them():
    """A file put together by the description of Fluid's format, with levels of detail and packed
    sizes, which later releases write."""
    values = np.arange(600, dtype=np.float32).reshape(300, 2)
    levels = struct.pack("<QQ", 16, 0) + struct.pack("<Q", 300)
    for sizes in (b"\x10\xac\x02\x10\x02", b"\x12\x03\xac\x02\x02"):
        description = b"\x08\x05" + sizes
        data = struct.pack("<IQ", 0, 1) + levels
        data += struct.pack("<Ii", 0, len(description)) + description + values.tobytes()
        assert np.array_equal(parse_variable(data), values)
    for spoilt in (data[:-4], data[:20], b"\x01" + data[1:], b""):
        with pytest.raises(ValueError, match="no variable of Paddle"):
            parse_variable(spoilt)


def test_files_are_those_that_paddle_itself_writes(tmp_path):
    """The beginning of a parameter [7, 300] that paddlepaddle 3.3.1 saved."""
    theirs = bytes.fromhex("000000000000000000000000000000000700000008051007" + "10ac02")
    write_variable(tmp_path / "x", np.zeros((7, 300), np.float32))
    assert (tmp_path / "x").read_bytes() == theirs + bytes(4 * 2100)


def test_dumped_variables(tmp_path):
    state = module().state_dict()
    np.savez(tmp_path / "dump.npz", **{n: x.numpy() for n, x in to_form(state, "paddle").items()})
    assert equal(FORMS.read(tmp_path / "dump.npz", SMALL).weights, state)
    np.savez(tmp_path / "bad.npz", word_embedding=np.array([{}]))
    with pytest.raises(ValueError, match="no npz of plain arrays"):
        FORMS.read(tmp_path / "bad.npz", SMALL)


def test_vilberts_checkpoint_round_trips():
    oracle = Oracle("vilbert_two_stream")
    s = settings(oracle.description["config"])
    found = FORMS.convert(oracle.weights, s)
    assert not found.lacking and all(IDLE.search(n) for n in found.unread)
    again = to_form(found.weights, "vilbert")
    assert all(torch.equal(again[n], oracle.weights[n]) for n in again)
    # What is left are two unused linears of each connection layer, and the tied decoder.
    idle = {n for n in oracle.weights if ".q_dense" in n} | {"cls.predictions.decoder.weight"}
    assert oracle.weights.keys() - again.keys() == idle == set(found.unread)


def bert(kind: str, **changes):
    config = getattr(transformers, kind).config_class(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
        vocab_size=256, max_position_embeddings=40, layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes,
    )  # fmt: skip
    return randomised(getattr(transformers, kind)(config), 3).eval()


@pytest.mark.parametrize("kind,changes", [
    ("BertForMaskedLM", {}), ("BertForPreTraining", {}), ("BertModel", {}),
    ("ErnieForMaskedLM", {"type_vocab_size": 4, "use_task_id": True}),
])  # fmt: skip
def test_text_stream_from_a_bert_or_an_ernie(kind, changes, tmp_path):
    peer = bert(kind, **changes)
    torch.save(peer.state_dict(), tmp_path / "text.bin")
    found = FORMS.read(tmp_path / "text.bin", SMALL)
    head = ["word_head"] if "For" in kind else []
    assert {n.split(".")[0] for n in found.weights} == {"text", *head}
    assert all(not n.startswith("text.") for n in found.lacking)
    assert any(n.startswith("co.") for n in found.lacking)
    mine = module()
    mine.load_state_dict(found.weights, strict=False)
    ids = batch().data["ids"]
    mask = ids != 0
    x = mine.text.embed(ids, None)
    for layer in mine.text.layers:
        x = layer(x, x, mask[:, None, None])
    body = peer if kind == "BertModel" else getattr(peer, "bert", None) or peer.ernie
    given = {"input_ids": ids, "attention_mask": mask.long()}
    if kind.startswith("Ernie"):
        # No task is told of here: the model has no place for it.
        body.embeddings.task_type_embeddings.weight.data.zero_()
    assert close(x[mask], body(**given).last_hidden_state[mask])
    if head:
        scores = mine.word_head.scores(x, mine.text.word.weight)
        logits = peer(**given)
        expected = logits.logits if kind.endswith("LM") else logits.prediction_logits
        assert close(scores[mask], expected[mask])
    rows = 4 if kind.startswith("Ernie") else 2
    assert not found.weights["text.segment.weight"][rows:].any()


def test_text_stream_from_paddles_ernie_and_old_names_of_bert(tmp_path):
    state = {n: x for n, x in module().state_dict().items()
             if n.startswith(("text.", "word_head."))}  # fmt: skip
    FORMS.write(state, SMALL, tmp_path, "paddle")
    for name in ("task_embedding", "pooled_fc.w_0", "next_sent_3class_fc.b_0"):
        write_variable(tmp_path / "params" / name, np.ones(3, np.float32))
    found = FORMS.read(tmp_path, SMALL)
    assert found.form == "paddle" and equal(found.weights, state)
    now = bert("BertForMaskedLM").state_dict()
    old = {
        n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x
        for n, x in now.items()
    }
    assert any("gamma" in n for n in old)
    assert equal(FORMS.convert(old, SMALL).weights, FORMS.convert(now, SMALL).weights)


def test_other_sizes_and_other_files_are_refused(tmp_path):
    state = to_form(module().state_dict(), "vilbert")
    wider = SMALL.model_copy(update={"co_width": 32})
    with pytest.raises(ValueError, match=r"does not fit: .* is \[64, 48\], the model's \[32, 48\]"):
        FORMS.convert(state, wider)
    with pytest.raises(
        ValueError, match=r"no ERNIE-ViL of a form that is known .*begins with conv1"
    ):
        FORMS.convert({"conv1.weight": torch.ones(1)}, SMALL)
    with pytest.raises(ValueError, match="holds no variables"):
        FORMS.read(tmp_path, SMALL)
    with pytest.raises(ValueError, match="no such file"):
        FORMS.read(tmp_path / "nothing.bin", SMALL)


def test_own_weights_and_the_task(tmp_path):
    state = module().state_dict()
    save_file(state, tmp_path / "own.safetensors")
    assert equal(task().initial(tmp_path / "own.safetensors").weights, state)


def test_the_converter_says_what_it_found(tmp_path):
    app = typer.Typer()
    app.command()(weights)
    nothing = CliRunner().invoke(app, ["ernie_vil", str(tmp_path), "--preset", "debug"])
    assert nothing.exit_code == 1 and "holds no variables of Paddle" in nothing.stderr
    preset = PRESETS["debug"].model
    torch.manual_seed(0)
    state = {n: x for n, x in ErnieVil(preset).state_dict().items() if not n.startswith("co.0")}
    FORMS.write(state, SMALL, tmp_path, "paddle")
    out = tmp_path / "model.safetensors"
    done = CliRunner().invoke(
        app, ["ernie_vil", str(tmp_path), "--preset", "debug", "--out", str(out)]
    )
    assert done.exit_code == 0 and f"{len(state)} of {len(state) + 32} weights" in done.output
    assert (
        "it lacks: 32; they start at random" in done.output
        and "  co.*.text.fc1.weight" in done.output
    )
    assert equal(load_file(out), state)
