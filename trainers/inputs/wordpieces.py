"""The word pieces of models that read BERT's."""

from collections.abc import Iterator
from functools import lru_cache

from septet.preprocess.synthetic import languages
from septet.preprocess.synthetic.scenes import captions, make_scene
from septet.preprocess.tokenizers.wordpiece import UNUSED, WordPiece, build_vocabulary

SCENES = "scenes"
CHINESE_SCENES = "scenes-zh"
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).lower()


@lru_cache(4)
def tokenizer(vocabulary: str | None, words: int) -> WordPiece:
    """The WordPiece of a vocab.txt, or of what is said of scenes: `scenes` of English captions,
    `scenes-zh` of Chinese captions and questions, with special pieces where BERT's lists have them.

    Raises:
        ValueError: there is none, or it has more than `words` pieces, or no [PAD] at 0.
    """
    if vocabulary is None:
        raise ValueError("texts need a vocabulary: --set model.vocabulary=PATH of BERT's vocab.txt")
    if vocabulary == SCENES:
        texts = (text for i in range(300) for text in captions(make_scene(0, i)))
        found = WordPiece(build_vocabulary(texts, words, _PRINTABLE), SCENES)
    elif vocabulary == CHINESE_SCENES:
        pieces = build_vocabulary(_chinese(), words, _PRINTABLE, UNUSED)
        found = WordPiece(pieces, CHINESE_SCENES)
    else:
        found = WordPiece.load(vocabulary)
    if len(found) > words or found.pad != 0:
        raise ValueError(
            f"vocabulary {vocabulary} has {len(found)} pieces, [PAD] is {found.pad}: expected at "
            f"most model.words={words}, and [PAD] first"
        )
    return found


def _chinese() -> Iterator[str]:
    for scene in (make_scene(0, i) for i in range(300)):
        yield languages.caption(scene, "zh")
        for pair in languages.questions(scene, "zh"):
            yield pair.question
