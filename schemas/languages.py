"""Codes of languages as recipes and pages write them, and as models give them; which languages
others include."""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

UNDETERMINED = "und"
"""ISO 639 code for a language that could not be told."""

_CODES = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb
ckb co cs cv cy da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom
gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv
kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn
nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc
scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep
vi vls vo wa war wuu xal xmf yi yo yue zh
"""
MODEL_LANGUAGES = frozenset(_CODES.split())
"""The languages that the language model that ships with Septet (lid.176) knows. Some codes are
Wikipedia's: `als` is Alemannic."""

_COMPACT = """
ach af ak ay az bm bs cs cy da de ee eo et eu ff fi fo fy ga gd gn gv ha hr hu id ig is jv kab kk kl
kmr ku kw la lb lg ln lt luo lv ms nah nds nl nn no nr ny om pl qu rn ro rw sh shs sk sl sn so son
sq sr ss st su sv sw tk tn tr ts tw ug uz ve vep vls wo xh yo zgh zu zza
"""
COMPACT_LANGUAGES = frozenset(_COMPACT.split())
"""Languages that are written in Latin letters (also) and often say in one word what English says
in several: they join words (German, Finnish), inflect instead of using prepositions (Hungarian,
Turkish, Polish), or have no articles, no indefinite one, or join them to the noun (Indonesian and
the Bantu languages, Irish and Esperanto, Romanian and Albanian). Read off grammars; which ones were
missing, captions told (docs/lengths.md)."""

_MODEL_NAMES = {"nb": "no", "cmn": "zh", "fil": "tl", "bho": "bh", "gsw": "als", "egl": "eml"}
"""Codes of the same languages that the model calls otherwise."""

_MALAY = ("zlm", "zsm")
"""What Malay includes here: ISO 639-3 counts Indonesian, Minangkabau and 30 others to it, which who
asks for Malay does not mean."""

_WITH_SCRIPT = re.compile(r"([a-z]{3})_[A-Z][a-z]{3}(?:_.*)?")


@lru_cache(maxsize=10_000)
def language_code(tag: str) -> str | None:
    """The code by which Septet knows a language; None for what is no language tag.

    Letters' case, regions and scripts do not count (`en-US` and `EN` are `en`), withdrawn and
    three-letter codes become current and short ones (`iw` is `he`, `deu` is `de`).

    Args:
        tag: A BCP 47 tag or ISO 639 code.
    """
    tag = tag.strip().replace("_", "-")
    primary = tag.split("-")[0].lower()
    if primary in MODEL_LANGUAGES:
        return primary
    import langcodes  # its tables take a thirtieth of a second, which few commands need

    try:
        current = langcodes.Language.get(tag).language or ""
    except ValueError:
        return None
    code = _MODEL_NAMES.get(current, current)
    return code if code in MODEL_LANGUAGES or (langcodes.tag_is_valid(primary) and code) else None


@lru_cache(maxsize=10_000)
def label_language(label: str) -> str | None:
    """The code of a label of a language model; None for what is no language.

    Args:
        label: A code, such as `en`, or an ISO 639-3 code with a script, such as `eng_Latn`. In the
            latter `als` is ISO's Tosk Albanian, alone it is Wikipedia's Alemannic.
    """
    with_script = _WITH_SCRIPT.fullmatch(label)
    if not with_script:
        return language_code(label)
    if with_script[1] in ("und", "zxx", "mul", "mis"):
        return UNDETERMINED
    import langcodes

    if not langcodes.tag_is_valid(with_script[1]):
        return None
    code = langcodes.standardize_tag(with_script[1], macro=True).split("-")[0]
    return _MODEL_NAMES.get(code, code)


def with_included(codes: Iterable[str]) -> list[str]:
    """Some languages with those that they include by ISO 639-3: `no` includes Nynorsk (`nn`), `zh`
    Cantonese (`yue`), `ar` Egyptian Arabic (`arz`). A language does not include what includes it.

    Args:
        codes: Codes as `language_code` gives them.
    """
    kept = dict.fromkeys(codes)
    for code in [*kept]:
        kept |= dict.fromkeys(_included().get(code, ()))
    return [*kept]


@lru_cache(maxsize=1)
def _included() -> dict[str, list[str]]:
    from langcodes.data_dicts import MACROLANGUAGES

    included: dict[str, list[str]] = {}
    for part, whole in sorted(MACROLANGUAGES.items()):
        if whole != "ms" or part in _MALAY:
            included.setdefault(whole, []).append(_MODEL_NAMES.get(part, part))
    return included


def require_language(tag: str) -> str:
    """`language_code` of a tag that must be one.

    Raises:
        ValueError: it is no language, with the nearest code.
    """
    code = language_code(tag)
    if code is None:
        near = difflib.get_close_matches(
            tag.strip().lower(), sorted(MODEL_LANGUAGES), n=1, cutoff=0.5
        )
        near = near or [known for known in ("en", "de", "zh") if tag.lower().startswith(known)]
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"expected ISO 639 codes such as en, de or zh, found {tag!r}{hint}")
    return code
