import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BartTokenizer

from septet.preprocess.boxes.tokens import Ofa as Bins
from septet.preprocess.synthetic.scenes import captions, make_scene
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.ofa.settings import OfaSettings
from septet.trainers.ofa.tokens import Vocabulary, instructions, vocabulary

DEBUG = PRESETS["debug"].model
TEXTS = [
    " a picture of a small red circle", " naïve café 窗外 的 🙂!", "  two  spaces", "",
    *(f" {text}" for i in range(40) for text in captions(make_scene(3, i))),
]  # fmt: skip


@pytest.fixture(scope="module")
def pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A small BPE of GPT-2's form: pieces by its own ids, and merges."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(TEXTS, trainer)
    found = json.loads(bpe.to_str())["model"]
    return found["vocab"], [tuple(m) for m in found["merges"]]


@pytest.fixture(scope="module")
def folders(pieces, tmp_path_factory):
    """The same vocabulary as fairseq's files, and as a port's."""
    ids, merges = pieces
    fairseq, port = (tmp_path_factory.mktemp(name) for name in ("fairseq", "port"))
    order = np.random.default_rng(0).permutation(len(ids)).tolist()
    lines = [f"{i} {len(ids) - n}" for n, i in enumerate(order)]
    lines.insert(100, "madeupword0000 0")  # A filler takes an id, too.
    (fairseq / "dict.txt").write_text("\n".join(lines) + "\n")
    (fairseq / "encoder.json").write_text(json.dumps(ids))
    text = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    (fairseq / "vocab.bpe").write_text(text)
    by_id = {i: piece for piece, i in ids.items()}
    numbered = ["<s>", "<pad>", "</s>", "<unk>"]
    numbered += [by_id.get(int(line.split()[0]), line) if line[0] != "m" else "madeupword0000"
                 for line in lines]  # fmt: skip
    names = {piece: i for i, piece in enumerate([*numbered, "<mask>"])}
    (port / "vocab.json").write_text(json.dumps(names))
    (port / "merges.txt").write_text(text)
    return fairseq, port, len(names)


def test_both_forms_of_a_vocabulary_are_barts_tokens(folders):
    fairseq, port, words = folders
    theirs = BartTokenizer(str(port / "vocab.json"), str(port / "merges.txt"))
    for folder in (fairseq, port):
        s = OfaSettings(vocabulary=str(folder), words=words)
        mine = vocabulary(s)
        assert s.mask == theirs.mask_token_id == words - 1
        for text in TEXTS:
            ids = mine.encode(text).tolist()
            assert ids == theirs(text, add_special_tokens=False)["input_ids"], text
            assert mine.decode([*ids, 2, 5]) == text.strip()
        assert mine.decode([0, *mine.encode(" a red star").tolist(), s.mask, 1]) == "a red star"


@pytest.mark.parametrize("languages", [(), ("en", "zh")])
@pytest.mark.parametrize("text,words", [
    (" a small red star", ["a", "small", "red", "star"]),
    (" 窗外 的🙂 star", ["窗", "外", "的🙂", "star"]),
    ("\u4e00", ["\u4e00"]),
    (" naïve-ish café", ["naïve-ish", "café"]),
])  # fmt: skip
def test_words_begin_behind_spaces_and_at_letters_of_scripts_without(languages, text, words):
    """Whether letters are whole pieces or their bytes; the second vocabulary has Chinese pieces."""
    mine = vocabulary(DEBUG.model_copy(update={"languages": languages, "words": 1024}))
    ids, begins = mine.encode_words(text)
    assert ids.tolist() == mine.encode(text).tolist() and begins[0]
    parts = np.split(ids, np.flatnonzero(begins)[1:])
    assert [mine.decode(part) for part in parts] == words


def test_a_piece_of_several_chinese_letters_begins_one_word():
    mine = vocabulary(DEBUG.model_copy(update={"languages": ("en", "zh"), "words": 1024}))
    ids, begins = mine.encode_words(" 一个小的红色圆形在一个大的白色十字形的左边")
    assert begins.all() and 3 <= len(ids) < 12 and mine.decode(ids[:1]).startswith("一")


def test_what_is_wrong_with_a_vocabulary_is_told(folders, tmp_path):
    fairseq, _, words = folders
    s = OfaSettings(vocabulary=str(tmp_path), words=words)
    with pytest.raises(ValueError, match=r"neither encoder\.json and vocab\.bpe nor vocab\.json"):
        vocabulary(s)
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / name).write_bytes((fairseq / name).read_bytes())
    with pytest.raises(ValueError, match=r"dict\.txt is missing: it says in which order"):
        vocabulary(s)
    lines = (fairseq / "dict.txt").read_text().splitlines()
    (tmp_path / "dict.txt").write_text("\n".join(lines[3:]))
    with pytest.raises(ValueError, match=r"has no line for 3 of \d+ pieces"):
        vocabulary(s)
    with pytest.raises(ValueError, match=r"pieces have ids from 4 to 298, as model\.words is 300"):
        vocabulary(s.model_copy(update={"words": 300, "vocabulary": str(fairseq)}))
    with pytest.raises(ValueError, match=r"--set model\.vocabulary=FOLDER with OFA's dict\.txt"):
        vocabulary(OfaSettings())


@pytest.fixture(scope="module")
def published(pieces) -> Vocabulary:
    """The published layout; of the words only some."""
    ids, merges = pieces
    return Vocabulary({piece: 4 + i for piece, i in ids.items()}, merges, OfaSettings())


def test_layout_of_the_published_vocabulary(published):
    s = OfaSettings()
    assert s.mask == 50_264 and s.vocabulary_size == 59_457
    assert published.codes([0, 8191]).tolist() == [50_265, 58_456]
    assert published.image_codes([0, 50_264, 50_265, 58_456, 58_457]).tolist() == [0, 8191]
    whole = published.boxes([[0, 0, 1, 1]], 512)
    assert whole.tolist() == [[58_457, 58_457, 59_456, 59_456]]
    for side, most in ((384, 749), (480, 937), (256, 500)):
        assert published.boxes([[0, 0, 1, 1]], side).max() - 58_457 == most
    with pytest.raises(ValueError, match=r"codes are below model\.codes=8192"):
        published.codes([8192])


@pytest.mark.parametrize("side", [256, 384, 480, 512])
def test_boxes_come_back_within_half_a_bin(published, side):
    draw = np.random.default_rng(side)
    corners = np.sort(draw.random((500, 2, 2)), 1).reshape(-1, 4)
    ids = published.boxes(corners, side)
    assert np.array_equal(ids - 58_457, np.rint(corners * side / 512 * 999))
    back = published.corners(ids, side)
    assert abs(back - corners).max() <= Bins(size=side).max_error + 1e-12
    assert np.array_equal(published.boxes(back, side), ids)


def test_lists_of_objects_come_back(published):
    corners = np.array([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0]])
    told = ["small red circle", "star"]
    bins = published.boxes(corners, 256)
    ids = [i for box, label in zip(bins, told, strict=True)
           for i in [*box, *published.encode(f" {label}")]]  # fmt: skip
    found = published.objects([0, *ids, 2, 1, 1], 256)
    assert [label for _, label in found] == told
    assert abs(np.stack([box for box, _ in found]) - corners).max() <= Bins(size=256).max_error
    # What is no whole box, or has nothing behind it, is nothing that was found.
    assert [label for _, label in published.objects([*ids[1:], 2], 256)] == ["star"]
    assert [label for _, label in published.objects([*ids, *bins[0][:3]], 256)] == told
    assert published.objects([2, *ids], 256) == []


def test_instructions_are_the_published_ones_to_the_letter():
    told = instructions()
    assert told.fill("caption", "en") == " what does the image describe?"
    assert told.fill("match_caption", caption="a dog") == ' does the image describe " a dog "?'
    asked = told.fill("match_answer", question="what is it?", answer="a dog")
    assert asked == ' what is the answer to question " what is it? ". is " a dog "?'
    assert told.fill("vqa", question="what is it?") == " what is it?"
    asked = told.fill("ground", phrase="a dog")
    assert asked == ' which region does the text " a dog " describe?'
    assert told.fill("describe", "en") == "  what does the region describe? region:"  # Two spaces.
    assert told.fill("detect") == " what are the objects in the image?"
    assert told.fill("infill") == " what is the image in the middle part?"
    assert told.fill("infill_text", text="") == ' what is the complete text of " "?'
    assert told.fill("generate", caption="a dog") == " what is the complete image? caption: a dog"


def test_pieces_of_scenes_are_learnt_alike_each_time():
    mine = vocabulary(DEBUG)
    vocabulary.cache_clear()
    again = vocabulary(DEBUG)
    for text in TEXTS:
        assert np.array_equal(mine.encode(text), again.encode(text))
        assert mine.decode(mine.encode(text)) == text.strip()
    assert len(mine.encode(instructions().fill("caption", "en"))) < 10
