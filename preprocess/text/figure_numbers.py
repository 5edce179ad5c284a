"""Running figure numbers: what stands in front of a caption in books and manuals, "Figure 3.2." or
"图 3-2", and says nothing of the image."""

import re

import pyarrow as pa
import pyarrow.compute as pc

_WORDS = (
    # Latin
    "figures? figs? abbildung abb bild figura figuras figuur afbeelding afb figur kuva kuvio ábra "
    "obrázek obrázok obr rysunek rys slika pav paveikslas attēls att joonis şekil resim rəsm şək "
    "hình gambar rajah larawan irudia ir mynd ffigur fíor figiúr figuro figúra figurë fig.ra "
    "schéma schema illustration ill plate picture image photo foto kép rasm ilustracja ilustrace "
    # Greek, Cyrillic
    "εικόνα εικ σχήμα σχ рисунок рис рисунка илл иллюстрация малюнок мал іл фигура фиг слика сл "
    "илустрация илустрација ілюстрація малюнак сурет сүрөт рәсем расм зураг фото "
    # Armenian, Georgian, Hebrew, Arabic
    "նկար նկ ნახატი ნახ სურათი სურ איור תמונה ציור תרשים شكل الشكل صورة الصورة رسم شکل تصویر عکس "
    # Indic
    "चित्र आकृती आकृति চিত্র ছবি ਚਿੱਤਰ આકૃતિ ચિત્ર ଚିତ୍ର படம் చిత్రం పటం ಚಿತ್ರ ചിത്രം රූපය රූප "
    # South-East Asia, Ethiopia
    "รูปที่ ภาพที่ รูป ภาพ ຮູບທີ່ ຮູບ រូបភាព រូប រូបទី ပုံ ስዕል ምስል"
)
_UNSPACED_WORDS = "图表 插图 附图 圖表 插圖 附圖 图片 圖片 图 圖 図 그림 사진 도판"

_DIGITS = r"\d{1,4}(?:[.\-–‐:]\d{1,4}){0,4}"
_PART = r"(?:[A-Ha-h](?:[-–,][A-Ha-h])?(?!\w))?"
_ROMAN = r"[IVXLC]{1,7}(?=\s*[.:：)\]–—])"
_NUMBER = rf"(?:{_DIGITS}{_PART}|{_ROMAN}|[A-Z]\.?\d{{1,3}})"
_END = r"(?P<end>\s*[.:：．。、)）\]】|–—-]*\s*)"
_OPEN = r"[(（\[【]?\s*"
_NAMED = re.compile(
    rf"{_OPEN}(?:(?i:{'|'.join(_WORDS.split())})\s*\.?\s*(?:n[o°º]\.?\s*|№\s*|nr\.?\s*)?"
    rf"|(?P<unspaced>{'|'.join(_UNSPACED_WORDS.split())})\s*\.?\s*){_NUMBER}{_END}"
)
_NUMBER_FIRST = re.compile(
    rf"{_OPEN}{_DIGITS}[.\-]?\s*(?i:ábra|kép|pav|paveikslas|att|attēls|irudia|ir|surat|rasm)\b"
    rf"\.?{_END}"
)
_MAYBE = re.compile(r"[^\W\d_]?.{0,24}?[\dIVXLC]")
_MAYBE_RE2 = r"^.{0,25}[\p{Nd}IVXLC]"
"""What all captions match that begin with a figure number, as Arrow has it."""


def without_figure_number(caption: str) -> str:
    """A caption without the figure number in front of it; the caption itself where nothing would be
    left.

    The number must stand behind a word for a figure (in Hungarian, Lithuanian, Latvian and Basque
    before it), and a mark or a capital must follow: "3 dogs", "2001: A Space Odyssey" and "image 5
    of 7" stay as they are.

    Args:
        caption: A cleaned caption (one line).
    """
    if not _MAYBE.match(caption):
        return caption
    found = _NAMED.match(caption) or _NUMBER_FIRST.match(caption)
    if not found or found.end() == len(caption):
        return caption
    after, end = caption[found.end()], found["end"]
    if not end.strip() and (after.islower() or after.isdigit() or after in ",%°"):
        return caption
    if not end and not found.groupdict().get("unspaced"):
        return caption
    return caption[found.end() :]


def without_figure_numbers(captions: pa.Array) -> pa.Array:
    """Captions [n], null or not, each without the figure number in front of it."""
    maybe = pc.fill_null(pc.match_substring_regex(captions, _MAYBE_RE2), False)
    some = [without_figure_number(text) for text in captions.filter(maybe).to_pylist()]
    return pc.replace_with_mask(captions, maybe, pa.array(some, captions.type))
