"""Words of a caption, as PaLI counts them where it splits one (paper, appendix A.2)."""

from functools import lru_cache

import regex

from septet.preprocess.synthetic.languages import WORDINGS, caption, questions
from septet.preprocess.synthetic.scenes import COLOURS, SHAPES, SIGN_WORDS, SIZES, make_scene
from septet.preprocess.text.words import UNSPACED
from septet.preprocess.tokenizers.mt5 import Mt5Tokenizer

SCENES = "scenes"

_WORD = regex.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def word_starts(text: str) -> list[int]:
    """Where words begin: what stands between white space, and each character of a script that
    writes none between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese)."""
    return [match.start() for match in _WORD.finditer(text)]


@lru_cache(4)
def tokenizer(vocabulary: str | None, words: int) -> Mt5Tokenizer:
    """The tokenizer of mT5's SentencePiece model, or a small one of what is said of scenes.

    Raises:
        ValueError: there is none, or it has more than `words` pieces.
    """
    if vocabulary is None:
        raise ValueError(
            "texts need a vocabulary: --set model.vocabulary=PATH of mT5's spiece.model"
        )
    found = _of_scenes(words) if vocabulary == SCENES else Mt5Tokenizer.load(vocabulary)
    if len(found) > words:
        raise ValueError(
            f"vocabulary {vocabulary} has {len(found)} pieces: expected at most "
            f"model.language.words={words}"
        )
    return found


def _of_scenes(words: int) -> Mt5Tokenizer:
    texts = [*SIGN_WORDS] * 200  # So often that each is one piece, as common words are of mT5's.
    for language in WORDINGS:
        for i in range(120):
            scene = make_scene(0, i)
            texts.append(caption(scene, language))
            texts += [pair.question for pair in questions(scene, language)[:3]]
        texts += [f"Generate the alt_text in {language.upper()} at 0:"] * 10
        texts += [f"Generate a question in {language.upper()} for red:"] * 10
        texts += [f"Generate the ocr_text in {language.upper()}:"] * 10
    named = [f"{size} {colour} {shape}" for size in SIZES for colour in COLOURS for shape in SHAPES]
    texts += [
        f"Answer in EN: Which of {name}, are in the image? detect {name} and" for name in named
    ]
    texts += ["Answer in EN: Is small in the image? List the objects present: Yes No"] * 20
    # So that a coordinate is two pieces, not four: the first says where to 1 % of the side.
    texts += [str(i) for i in range(100)] * 200
    return Mt5Tokenizer.learn(texts, words, SCENES)
