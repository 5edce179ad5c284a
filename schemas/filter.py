"""The section `filter` of a recipe: what is cut from captions, and which rules they must pass.

What each setting does is one rule of `septet.preprocess.rules`; `septet rules` lists them.
"""

from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from septet.schemas.languages import UNDETERMINED, require_language
from septet.schemas.rule_sets import RuleSetName
from septet.schemas.section import Section

PartOfSpeech = Literal["noun", "determiner", "preposition", "verb", "adjective"]


class OwnRule(Section):
    """A rule of another package, or of your own."""

    rule: str = Field(
        min_length=1,
        description="Its name, as `septet rules` lists it, or `module:Class` as Python would "
        "import it.",
    )
    settings: dict[str, Any] = Field(default={}, description="The rule's settings.")


class Filter(Section):
    """What is cut from captions, and the rules that they must pass. Images without a text pass.

    `rules` names a set of values for the settings here and for some of `dedup` and `curate`; what
    a recipe states itself takes precedence, setting by setting. `septet rules` lists the sets and
    the rules, `septet try RECIPE` shows what each rule would drop. Lists that may be long can be
    given as the path of a file, one entry a line, from the recipe's folder; `[]` is no list, and a
    file without entries is refused.

    Length is counted by script. *Unspaced* captions are mostly of scripts without spaces (Chinese,
    Japanese, Thai …), of syllables (Hangul, Ethiopic …) or without short vowels (Arabic, Hebrew).
    *Compact* ones are mostly of another script than Latin, or the page or list declares a language
    that says in one word what English says in several (Finnish, Hungarian, Turkish, Polish, German
    …). All others are *plain*. What that drops by language: docs/lengths.md.
    """

    rules: RuleSetName = Field(
        default="default",
        description="The set of rules whose values hold where the recipe states none.",
    )

    # -- cleaning: in this order, before any rule
    strip_markup: bool = Field(
        default=False, description="Cut tags of HTML out of captions: `<b>a cat</b>`."
    )
    strip_figure_numbers: bool = Field(
        default=False,
        description="Cut off running figure numbers, as books and manuals have them in front of "
        "captions: `Figure 3.2. The harbour` becomes `The harbour`, in any language. They are left "
        "out of account anyway where languages are told and in `curate.near_text`.",
    )
    keep_scripts: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Cut letters of all other scripts out of captions. Names of Unicode: `Han`, "
        "`Latin`, `Cyrillic`, `Arabic` …",
    )
    fold_punctuation: bool = Field(
        default=False, description="Fold a mark that is repeated into one: `wow!!!` to `wow!`."
    )
    crop: list[str] | str = Field(
        default=[],
        description="Boiler-plate to cut from the beginning and end of captions, such as `click to "
        "enlarge picture`, with the marks and spaces beside it; letters' case does not count. A "
        "caption that was cleaned by these settings keeps its first form in `extra`, as "
        "`caption_before`.",
    )

    # -- length
    min_chars: int = Field(default=5, ge=0, description="Fewest characters of a plain caption.")
    min_chars_compact: int = Field(default=3, ge=0, description="Fewest of a compact one.")
    min_chars_unspaced: int = Field(default=2, ge=0, description="Fewest of an unspaced one.")
    max_chars: int | None = Field(default=1000, gt=0, description="Most characters of a caption.")
    min_words: int = Field(
        default=2,
        ge=0,
        description="Fewest words of a plain caption: runs between spaces that hold a letter or a "
        "digit. In scripts without spaces two letters count as a word.",
    )
    min_words_compact: int = Field(
        default=1, ge=0, description="Fewest words of compact and unspaced captions."
    )
    max_words: int | None = Field(default=256, gt=0, description="Most words, of any caption.")
    min_ideographs: int = Field(default=0, ge=0, description="Fewest Chinese characters.")

    # -- characters
    min_letters: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least share of letters among all characters. What OBELICS calls special "
        "characters are the others: its bound of 0.3 is 0.7 here.",
    )
    max_digits: float | None = Field(
        default=None, ge=0, le=1, description="Largest share of digits among all characters."
    )
    scripts: list[str] = Field(
        default=[], description="Scripts that `min_script` is about, by their names in Unicode."
    )
    min_script: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least share of letters of `scripts` among all letters.",
    )

    # -- repetition
    max_word_repetition: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of words that have stood in the caption before; letters' case "
        "does not count.",
    )
    max_char_repetition: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share that the most frequent pieces of ten characters have of all "
        "such pieces; frequent are the repeated ones, at most as many as the square root of the "
        "number of distinct ones (ROOTS, OBELICS).",
    )
    max_punctuation_run: int | None = Field(
        default=None, gt=0, description="Most repetitions of one mark in a row, such as `!!!!`."
    )

    # -- capitals
    first_capital: bool = Field(
        default=False,
        description="Drop captions that begin with a small letter. Letters of scripts without case "
        "pass.",
    )
    max_capitalised: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of words that begin with a capital letter.",
    )
    max_capitals: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of capitals among letters that have case.",
    )

    # -- patterns
    drop_filenames: bool = Field(
        default=True, description="Drop captions that are a file name, such as `IMG_2041.JPG`."
    )
    drop_urls: bool = Field(
        default=True, description="Drop captions that are a URL or a host's name."
    )
    drop_contacts: bool = Field(
        default=False,
        description="Drop captions that hold an e-mail address or a telephone number. Numbers are "
        "told by a `+`, by brackets around an area code, or by a word such as tel or fax.",
    )
    templates: list[str] | str = Field(
        default=[],
        description="Drop captions that begin or end with one of these, such as `profile photo`; "
        "letters' case does not count.",
    )

    # -- words
    stop_list: list[str] | str = Field(
        default=[],
        description="Drop captions that hold one of these words or phrases; letters' case does not "
        "count.",
    )
    frequent: list[str] | str = Field(
        default=[],
        description="Drop captions with a word that is not among these; where some of them are "
        "pairs of words, each pair of neighbouring words must be among these too (ALIGN).",
    )

    # -- where from
    allow_domains: list[str] | str = Field(
        default=[],
        description="Keep only rows whose page or image is on one of these domains or below: "
        "`example.org` stands for all of its hosts, `www.example.org` for that one.",
    )
    deny_domains: list[str] | str = Field(
        default=[], description="Drop rows whose page or image is on one of these or below."
    )

    # -- language
    languages: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Languages to keep, as ISO 639 codes (`en`, `de`, `zh`, …); all when absent. "
        "Regions do not count (`en-US` is `en`).",
    )
    language_model: str | None = Field(
        default=None,
        description="A fastText model that tells languages, by its path from the recipe's folder "
        "or on any store, with labels such as `__label__en` or, as GlotLID's, `__label__eng_Latn`. "
        "When absent, lid.176, which ships with Septet. Each worker loads it.",
    )
    language_score: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least probability of a language, by what model, script and declared language "
        "say together; below it a caption's language is undetermined.",
    )
    declared_language: Literal["learnt", "usual"] = Field(
        default="learnt",
        description="What the language weighs that a page or list declares: as much as the long "
        "texts of its site bear out, which is learnt from all inputs, so another input filters "
        "those anew of whose sites it says something new; or as much as is usual.",
    )
    undetermined: Literal["keep", "drop"] = Field(
        default="keep",
        description="What happens to captions of undetermined language when `languages` is given.",
    )
    language_quotas: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={},
        description="Share of a language's captions that stays, such as `{en: 0.1, und: 0}`; other "
        "languages stay whole. Chosen by the hash of a sample's id: a smaller share is a part of a "
        "larger one, whatever else the corpus holds. Temperature is the trainers' matter, where "
        "the numbers are known.",
    )

    # -- rules that are slow, after all others
    own_rules: list[OwnRule] = Field(
        default=[], description="Further rules, see `filter.own_rules` below."
    )
    parts_of_speech: list[PartOfSpeech] = Field(
        default=[],
        description="Drop English captions without one of each of these; captions of other "
        "languages pass. About 2,000 captions a second and core. Needs "
        "`pip install septet[scene-graphs]` and its pipeline.",
    )

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, languages: list[str] | None) -> list[str] | None:
        return languages and list(dict.fromkeys(map(require_language, languages)))

    @field_validator("language_quotas")
    @classmethod
    def _known_quotas(cls, quotas: dict[str, float]) -> dict[str, float]:
        known: dict[str, float] = {}
        for given, share in quotas.items():
            code = given if given == UNDETERMINED else require_language(given)
            if known.setdefault(code, share) != share:
                raise ValueError(
                    f"{code} has two quotas; regions do not count: {given!r} is {code}"
                )
        return known

    @field_validator("scripts", "keep_scripts")
    @classmethod
    def _known_scripts(cls, scripts: list[str] | None) -> list[str] | None:
        for script in scripts or []:
            try:
                if not script.isascii() or not script.replace("_", "").isalpha():
                    raise ValueError
                pc.count_substring_regex(pa.array([""]), rf"\p{{{script}}}")
            except ValueError:
                raise ValueError(
                    f"{script!r} is no script of Unicode by its long name, such as Han, Latin, "
                    "Cyrillic or Arabic"
                ) from None
        return scripts

    @model_validator(mode="after")
    def _script_is_named(self) -> "Filter":
        if self.min_script is not None and not self.scripts:
            raise ValueError("min_script: name the `scripts` that it is about, such as [Han]")
        return self

    @property
    def files(self) -> dict[str, str]:
        """Settings that are the path of a list, with the paths as they are spelled."""
        lists = ("crop", "templates", "stop_list", "frequent", "allow_domains", "deny_domains")
        found = {name: getattr(self, name) for name in lists}
        return {name: value for name, value in found.items() if isinstance(value, str)}
