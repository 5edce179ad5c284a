"""Named sets of rules: the values of each, where they come from, and what of it is missing.

A set gives values to settings of the recipe's `filter`, `dedup`, `balance` and `curate`. A setting
that the recipe states itself, even as `null`, takes precedence; one that neither states has its
default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RuleSetName = Literal[
    "default", "none", "datacomp-basic", "cc3m", "cc12m", "align", "laion400m", "coyo700m",
    "flava-pmd", "metaclip", "m6-zh", "webli",
]  # fmt: skip
Values = Mapping[str, Mapping[str, Any]]
"""Values by section and setting."""


@dataclass(frozen=True)
class RuleSet:
    """A named set of rules."""

    text: str
    """What it is."""
    source: str
    """Where its thresholds stand."""
    values: Values
    """Its values, by section and setting."""
    verified: bool = True
    """Whether the thresholds were compared with the source when the set was written."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Lists that the source uses and does not publish with its thresholds: the setting that names
    such a file, and what is to be in it. The rule does not run without."""
    missing: tuple[str, ...] = ()
    """What of the source is not done, or not in the same way."""


def _lengths(
    chars: int | None = None, words: int | None = None, most_words: int | None = None
) -> dict[str, Any]:
    """Bounds of length that hold for all scripts alike."""
    least = ("min_chars", "min_chars_compact", "min_chars_unspaced")
    return {
        **dict.fromkeys(least, chars or 0),
        **dict.fromkeys(("min_words", "min_words_compact"), words or 0),
        "max_words": most_words,
    }


_NO_FILTER = {
    **_lengths(), "max_chars": None, "drop_filenames": False, "drop_urls": False,
}  # fmt: skip
_NO_DEDUP = {"images_per_caption": None}
_NO_CURATE = {"min_bytes": 0, "min_side": 0, "max_aspect_ratio": None}
_ENGLISH = {"languages": ["en"], "undetermined": "drop"}


def _values(
    filter: Mapping[str, Any] | None = None,
    curate: Mapping[str, Any] | None = None,
    dedup: Mapping[str, Any] | None = None,
    balance: Mapping[str, Any] | None = None,
) -> Values:
    """These values, and what of the defaults the source does not have switched off."""
    return {
        "filter": {**_NO_FILTER, **(filter or {})},
        "dedup": {**_NO_DEDUP, **(dedup or {})},
        "curate": {**_NO_CURATE, **(curate or {})},
        **({"balance": balance} if balance else {}),
    }


_CROPPED = ["click to enlarge picture", "stock photo"]
_TEMPLATES = ["embedded image permalink", "profile photo"]
_CONCEPTUAL = {
    **_ENGLISH, "crop": _CROPPED, "templates": _TEMPLATES,
}  # fmt: skip
_CONCEPTUAL_MISSING = (
    "images and texts that a detector of pornography or profanity hits: no detector; a list of "
    "words can be given as filter.stop_list",
    "cut-offs for the share of nouns, polarity and the repetition of tokens that the paper calls "
    "high and does not publish",
    "all boiler-plate but the phrases that the paper quotes",
    "a token of the text must match one of the image's labels: no classifier",
)

RULE_SETS: dict[RuleSetName, RuleSet] = {
    "default": RuleSet(
        "The rules of datacomp-basic for all languages, with lengths by script, and ALIGN's two "
        "rules of frequency.",
        "DataComp (Gadre et al. 2023), baselines/apply_filter.py; ALIGN (Jia et al. 2021), §3",
        {},
        missing=(
            "differs from datacomp-basic: all languages; two words and five characters where "
            "DataComp has three and six, fewer in compact and unspaced scripts; images of any size",
            "differs from ALIGN: of an image with more than 1,000 captions the longest 1,000 stay, "
            "where ALIGN drops the image",
        ),
    ),
    "none": RuleSet(
        "No rule: every setting that drops samples switched off; exact duplicates go all the same.",
        "–",
        _values(),
    ),
    "datacomp-basic": RuleSet(
        "DataComp's basic filtering.",
        "DataComp (Gadre et al. 2023), baselines/apply_filter.py",
        _values(
            {**_ENGLISH, "language_score": 0.0, **_lengths(6, 3)},
            {"min_side": 200, "max_aspect_ratio": 3.0},
        ),
        missing=(
            "words are runs between spaces with a letter or digit; DataComp's split() counts marks "
            "that stand alone as words too",
            "the filters of DataComp's pool (NSFW, Detoxify, near-duplicates of evaluation sets) "
            "came before",
        ),
    ),
    "cc3m": RuleSet(
        "Conceptual Captions 3M.",
        "Sharma et al. 2018, §3",
        _values(
            {
                **_CONCEPTUAL,
                "first_capital": True,
                "parts_of_speech": ["noun", "determiner", "preposition"],
            },
            {"formats": ["jpeg"], "min_side": 401, "max_aspect_ratio": 2.0},
        ),
        needs={"filter.frequent": "words seen five times or more in English Wikipedia"},
        missing=(
            *_CONCEPTUAL_MISSING,
            "the cut-off for the share of capitalised words is not published; a value of your own: "
            "filter.max_capitalised",
            "hypernyms in place of names",
        ),
    ),
    "cc12m": RuleSet(
        "Conceptual 12M: CC3M's rules, relaxed.",
        "Changpinyo et al. 2021, and the data card",
        _values(
            {
                **_CONCEPTUAL,
                **_lengths(words=3, most_words=256),
                "max_word_repetition": 0.2,
                "parts_of_speech": ["noun", "determiner"],
            },
            {"formats": ["jpeg"], "min_side": 401, "max_aspect_ratio": 2.5},
        ),
        needs={"filter.frequent": "words seen twenty times or more in English Wikipedia"},
        missing=(*_CONCEPTUAL_MISSING, "<PERSON> in place of names of persons"),
    ),
    "align": RuleSet(
        "ALIGN's filters by size and frequency.",
        "Jia et al. 2021, §3",
        _values(
            _lengths(words=3, most_words=20),
            {"min_side": 201, "max_aspect_ratio": 3.0},
            {"images_per_caption": 10, "captions_per_image": 1000},
        ),
        needs={
            "filter.frequent": "the 100 million most frequent words and pairs of words of the raw "
            "texts (fewer are faster)"
        },
        missing=(
            "an image with more than 1,000 distinct captions keeps the longest 1,000; ALIGN drops "
            "it",
            "an image of exactly 3 to 1 is kept",
            "pornographic images: no detector",
            "near-duplicates of ILSVRC-2012, Flickr30K and MSCOCO test images",
        ),
    ),
    "laion400m": RuleSet(
        "LAION-400M before its CLIP threshold.",
        "LAION-400M, blog post",
        _values(_lengths(chars=5), {"min_bytes": 5120}),
        missing=(
            "similarity of CLIP ViT-B/32 of 0.30 or more; the column `clip` gives embeddings",
            "tags of NSFW content by CLIP, and the drops that follow from them",
            "duplicates are found exactly, not by Bloom filters",
        ),
    ),
    "coyo700m": RuleSet(
        "COYO-700M.",
        "COYO-700M, dataset card",
        _values(
            {
                **_ENGLISH,
                **_lengths(chars=6, words=3, most_words=256),
                "max_chars": 1000,
                "parts_of_speech": ["noun"],
            },
            {"min_bytes": 5120, "min_side": 200, "max_aspect_ratio": 3.0},
            {"images_per_caption": 10},
        ),
        needs={"filter.stop_list": "the three lists of profanity that the card names"},
        missing=(
            "the language is fastText's lid.176, where COYO has cld3",
            "texts seen more than ten times: counted by distinct images",
            "NSFW images: no detector",
            "duplicates of (pHash, text), and images of ImageNet, Flickr30k, COCO, CC3M and CC12M",
        ),
    ),
    "flava-pmd": RuleSet(
        "The YFCC100M part of FLAVA's PMD.",
        "Singh et al. 2022, §3.5",
        _values({**_ENGLISH, **_lengths(words=3)}),
        missing=(
            "a list has to give the description where there is one, else the title, as its "
            "caption column",
        ),
    ),
    "metaclip": RuleSet(
        "MetaCLIP's balancing: texts that hold an entry of the metadata, few of each entry.",
        "Xu et al. 2024, and the code; t = 20,000 is that of the set of 400 million",
        _values(_ENGLISH, balance={"most_of_an_entry": 20_000}),
        needs={
            "balance.entries": "the metadata: WordNet synsets, unigrams, bigrams and titles of "
            "English Wikipedia, 500,000 entries"
        },
        missing=(
            "draws depend on the sample's id and the seed, not on a random generator's order",
            "several spaces in a row count as one",
        ),
    ),
    "m6-zh": RuleSet(
        "The kinds of cleaning that M6 names, for Chinese captions.",
        "Lin et al. 2021 (M6), §2, from memory: no threshold could be verified; half of the "
        "letters Chinese and an aspect of 4 are Septet's own choice",
        _values(
            {
                "languages": ["zh"],
                "undetermined": "drop",
                "strip_markup": True,
                "fold_punctuation": True,
                "keep_scripts": ["Han", "Latin"],
                "min_ideographs": 5,
                "scripts": ["Han"],
                "min_script": 0.5,
            },
            {"min_pixels": 5000, "max_aspect_ratio": 4.0},
        ),
        verified=False,
        needs={"filter.stop_list": "forbidden words and the vocabulary of spam"},
        missing=(
            "perplexity of a language model",
            "five characters is the bound for titles; texts of encyclopaedias had one of fifteen",
            "detection of spam, other than by a list of words",
        ),
    ),
    "webli": RuleSet(
        "What of WebLI's rules needs no model.",
        "Chen et al. 2023 (PaLI), data card: no threshold is published",
        _values({"drop_contacts": True}),
        missing=(
            "the score of image and text, whose best tenth was kept (the share is from memory, "
            "unverified)",
            "near-duplicates of 68 evaluation sets",
            "bounds for odd shapes and over-captioned images are not published; values of your "
            "own: curate.max_aspect_ratio, dedup.captions_per_image",
            "adult images: no detector",
            "the 109 languages are not listed; your own: filter.languages",
            "personal data other than e-mail addresses and telephone numbers",
        ),
    ),
}
"""All sets by name. `default` states nothing: its values are the defaults of the settings."""


def with_set(recipe: Any) -> Any:
    """A recipe's data with the values of its rule set where it states none of its own; as it is
    where it names no known set (what is wrong with it is found later)."""
    if not isinstance(recipe, dict) or not isinstance(recipe.get("filter"), dict):
        return recipe
    asked = recipe["filter"].get("rules", "default")  # anything that YAML can hold
    chosen = next((one for name, one in RULE_SETS.items() if name == asked), None)
    filled = dict(recipe)
    for section, values in (chosen.values if chosen else {}).items():
        stated = recipe.get(section, {})
        if isinstance(stated, dict):
            filled[section] = {**values, **stated}
    return filled
