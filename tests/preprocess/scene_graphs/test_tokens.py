import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess.scene_graphs.graph import Attribute, Object, SceneGraph
from septet.preprocess.scene_graphs.parsers import SeptetParser
from septet.preprocess.scene_graphs.tokens import (
    ClipPieces,
    load_tokenizer,
    token_spans,
    with_tokens,
)
from septet.preprocess.tokenizers.clip import clip_tokenizer
from septet.preprocess.tokenizers.wordpiece import WordPiece

transformers = pytest.importorskip("transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789'-.,!?&"
PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "狗"),
    *(f"##{letter}" for letter in LETTERS if letter.isalnum() and letter not in "qz"),
    *("the", "dog", "stand", "##ing", "##s", "red", "fire", "hydra", "##nt", "in", "front", "cafe"),
]
CAPTIONS = [
    "A red fire hydrant standing in front of the café.",
    "Two dogs, the white-haired one isn't  standing;\tthe other's 12.5 m away!",
    "NAÏVE Café ÅNGSTRÖM and 狗狗 in 2019",
    "quiz zzz",
    "",
]
TEXTS = st.text(
    st.characters(
        max_codepoint=0x24F,
        categories=("Lu", "Ll", "Nd", "Po", "Pd", "Zs", "Sc"),
    ), max_size=40,
) | st.text("abDOG .,'-é狗—’“”€İß \t0\u0301", max_size=60)  # fmt: skip


@pytest.fixture(scope="module")
def word_piece(tmp_path_factory: pytest.TempPathFactory) -> WordPiece:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(piece + "\n" for piece in PIECES))
    tokenizer = load_tokenizer(str(path))
    assert isinstance(tokenizer, WordPiece) and tokenizer.name.startswith("wordpiece:")
    return tokenizer


@pytest.fixture(scope="module")
def bert():  # type: ignore[no-untyped-def]
    return transformers.BertTokenizerFast(vocab={piece: i for i, piece in enumerate(PIECES)})


@pytest.fixture(scope="module")
def clip():  # type: ignore[no-untyped-def]
    ours = clip_tokenizer()
    vocabulary = dict(ours._ids) | {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    return transformers.CLIPTokenizerFast(vocab=vocabulary, merges=list(ours._rank))


def theirs(tokenizer, text: str) -> tuple[list[str], list[tuple[int, int]]]:  # type: ignore[no-untyped-def]
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return tokenizer.convert_ids_to_tokens(found["input_ids"]), found["offset_mapping"]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_clip_pieces_are_those_of_transformers(clip, caption: str) -> None:  # type: ignore[no-untyped-def]
    _, offsets = theirs(clip, caption)
    assert ClipPieces().offsets(caption) == offsets


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_clip_pieces_of_any_text(text: str) -> None:
    """As many as the tokenizer gives, each within the text, in order."""
    offsets = ClipPieces().offsets(text)
    assert len(offsets) == len(clip_tokenizer().encode(text))
    assert all(0 <= a <= b <= len(text) for a, b in offsets)
    assert sorted(offsets) == offsets


def test_clip_pieces_where_the_text_is_cleaned() -> None:
    caption = "Tom &amp; a dog at the cafÃ©,\n  two   cats"
    said = [caption[a:b] for a, b in ClipPieces().offsets(caption)]
    assert said == ["Tom", "&", "a", "dog", "at", "the", "cafÃ©", ",", "two", "cats"]


def test_hostile_text_costs_little() -> None:
    text = "a &amp; " * 600
    start = time.process_time()
    assert len(ClipPieces().offsets(text)) == 1200
    assert time.process_time() - start < 2


def test_nodes_select_exactly_their_tokens(
    septet: SeptetParser, word_piece: WordPiece, bert, clip  # type: ignore[no-untyped-def]
) -> None:  # fmt: skip
    """Every node's tokens, by transformers' own offsets, are those that share letters with it."""
    for caption in CAPTIONS[:2]:
        (graph,) = septet.graphs([caption])
        for ours, peer in ((word_piece, bert), (ClipPieces(), clip)):
            _, offsets = theirs(peer, caption)
            for node in with_tokens(graph, ours.offsets(caption)).nodes():
                letters = {i for start, end in node.spans for i in range(start, end)}
                wanted = [i for i, (a, b) in enumerate(offsets) if letters & set(range(a, b))]
                assert [i for start, end in node.tokens for i in range(start, end)] == wanted
                assert wanted


def test_a_discontiguous_relation(septet: SeptetParser, word_piece: WordPiece) -> None:
    caption = "A dog holds the cup up."
    (graph,) = septet.graphs([caption])
    pieces = [word_piece.pieces[i] for i in word_piece.encode(caption).ids]
    (relation,) = with_tokens(graph, word_piece.offsets(caption)).relations
    assert relation.lemma == "hold up" and len(relation.tokens) == 2
    assert ["".join(pieces[a:b]).replace("##", "") for a, b in relation.tokens] == ["holds", "up"]


def test_token_spans() -> None:
    offsets = [(0, 3), (3, 5), (6, 9), (10, 11)]
    assert token_spans([(0, 5)], offsets) == ((0, 2),)
    assert token_spans([(0, 4), (6, 7)], offsets) == ((0, 3),)
    assert token_spans([(1, 2), (10, 11)], offsets) == ((0, 1), (3, 4))
    assert token_spans([(5, 6)], offsets) == ()
    assert token_spans([(0, 3)], []) == ()


def test_graphs_check_themselves() -> None:
    dog = Object("dog", ((2, 5),), text="dog")
    SceneGraph((dog,), (Attribute("big", ((0, 1),), 0),)).check()
    for attribute in (
        Attribute("big", ((0, 1),), 1),
        Attribute("big", ((1, 1),), 0),
        Attribute("big", ((2, 4), (3, 5)), 0),
        Attribute("big", ((2, 4), (0, 1)), 0),
        Attribute("big", ((0, 1),), 0, tokens=((3, 2),)),
    ):
        with pytest.raises(ValueError, match="big"):
            SceneGraph((dog,), (attribute,)).check()
    for wrong in ({}, {"objects": 3}, {"objects": [{"lemma": "a"}]}):
        with pytest.raises(ValueError, match="no scene graph"):
            SceneGraph.from_json(wrong)


def test_vocabularies_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no vocabulary '/none': give the path of a BERT"):
        load_tokenizer("/none")
    (tmp_path / "words.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"\[UNK\].*: expected a WordPiece"):
        load_tokenizer(str(tmp_path / "words.txt"))
