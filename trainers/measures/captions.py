"""CIDEr-D and BLEU-4 of captions, as COCO's caption evaluation counts them.

Both are over words between spaces. Published figures are of captions that the Penn Treebank
tokenizer (Java) has cut; `words` cuts much like it and for more languages, so figures come close to
published ones, and equal them on strings that are cut already.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import regex

from septet.preprocess.text.words import UNSPACED

Grams = Counter[tuple[str, ...]]

LONGEST = 4
"""Words of the longest n-grams."""
SIGMA = 6.0
"""Of the Gaussian on the difference of lengths, in words."""
_WORD = rf"[\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]]"
_TOKEN = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|{_WORD}+(?:['’.,-]{_WORD}+)*")


def words(text: str) -> str:
    """A caption as words between single spaces: lower case, no punctuation but inside of words;
    each letter of a script without spaces (Chinese, Japanese, Thai) is a word."""
    return " ".join(_TOKEN.findall(text.lower()))


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption, in [0, 10]; the figure of a model is their mean, often told times
    100 (Vedantam et al., arXiv 1411.5726, section 4 and equation 5, clipped and with the penalty).

    How rare an n-gram is, is counted over these images' references alone: figures of different
    sets cannot be compared, and of a single image all are 0.

    Args:
        captions: One of each image, words between spaces.
        references: Of each image, at least one.
    """
    _check(captions, references)
    cut = [[_grams(text) for text in each] for each in references]
    images: Grams = Counter()
    for each in cut:
        images.update(set().union(*each))
    everything = math.log(len(captions)) if captions else 0.0
    rarity = {gram: everything - math.log(count) for gram, count in images.items()}

    def weighted(grams: Grams) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        """tf-idf by length of n-gram, its norms, and how many pairs of words there are."""
        found: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
        for gram, count in grams.items():
            found[len(gram) - 1][gram] = count * rarity.get(gram, everything)
        norms = [math.sqrt(sum(x * x for x in vector.values())) for vector in found]
        return found, norms, sum(n for gram, n in grams.items() if len(gram) == 2)

    scores = []
    for caption, each in zip(captions, cut, strict=True):
        mine, norms, length = weighted(_grams(caption))
        score = 0.0
        for reference in each:
            theirs, others, other = weighted(reference)
            likeness = 0.0
            for n in range(LONGEST):
                if norms[n] and others[n]:
                    shared = sum(
                        min(x, theirs[n][gram]) * theirs[n][gram]
                        for gram, x in mine[n].items()
                        if gram in theirs[n]
                    )
                    likeness += shared / (norms[n] * others[n])
            score += likeness * math.exp(-((length - other) ** 2) / (2 * SIGMA**2))
        scores.append(10 * score / LONGEST / len(each))
    return scores


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-1 to BLEU-4 of the whole set, in [0, 1] (Papineni et al., ACL 2002), with the closest
    reference's length for the brevity penalty, as in COCO's evaluation."""
    _check(captions, references)
    right, told = [0] * LONGEST, [0] * LONGEST
    length = reference_length = 0
    for caption, each in zip(captions, references, strict=True):
        most: Grams = Counter()
        for text in each:
            most |= _grams(text)
        for gram, count in _grams(caption).items():
            told[len(gram) - 1] += count
            right[len(gram) - 1] += min(count, most[gram])
        mine = len(caption.split())
        length += mine
        reference_length += min((abs(n - mine), n) for n in (len(x.split()) for x in each))[1]
    # COCO's small numbers, in place of special cases where nothing is told or right.
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    brevity = math.exp(min(0.0, 1 - 1 / ratio))
    found, product = [], 1.0
    for n in range(LONGEST):
        product *= (right[n] + 1e-15) / (told[n] + 1e-9)
        found.append(brevity * product ** (1 / (n + 1)))
    return found


def captions(written: Sequence[str], expected: Sequence[Sequence[str]]) -> dict[str, float]:
    """`cider` (the mean of CIDEr-D) and `bleu4` of captions cut by `words`; for `Generation`."""
    cut = [words(text) for text in written]
    references = [[words(text) for text in each] for each in expected]
    scores = cider_d(cut, references)
    return {"cider": sum(scores) / len(scores), "bleu4": bleu(cut, references)[-1]}


def _grams(text: str) -> Grams:
    """How often each run of 1 to 4 words is in a text."""
    parts = text.split()
    return Counter(
        tuple(parts[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(parts) - n + 1)
    )


def _check(captions: Sequence[str], references: Sequence[Iterable[str]]) -> None:
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions and references of {len(references)} images")
    for number, each in enumerate(references):
        if isinstance(each, str) or not list(each):
            raise ValueError(f"references of image {number} are {each!r}; expected a list of texts")
