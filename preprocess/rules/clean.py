"""What is cut out of captions before any rule: markup, figure numbers, foreign letters, repeated
marks, boiler-plate.

A caption that changes is another text: its sample gets another id, and keeps its first form in
`extra` as `caption_before`.
"""

import json

import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.lists import made_of
from septet.preprocess.rules.patterns import alternatives
from septet.preprocess.text.clean import clean_captions
from septet.preprocess.text.figure_numbers import without_figure_numbers
from septet.preprocess.text.ids import sample_id
from septet.schemas.filter import Filter

_TAG = r"(?i:</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|<!--[^<>]*-->)"
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~、。！？，；：…·～—"
_MARK = r"[^\pL\pM\pN]*"


def clean_rows(rows: pa.Table, settings: Filter) -> tuple[pa.Table, int]:
    """Cut out of captions what the settings name.

    Args:
        rows: Rows of `septet.schemas.tables.CANDIDATES` with captions.
        settings: The recipe's `filter` section.

    Returns:
        The rows, some with a shorter caption ("" where nothing is left, under the old id), another
        id and `extra`; and how many of them changed.
    """
    before = rows["caption"].combine_chunks()
    before = before if isinstance(before, pa.Array) else pa.concat_arrays(before.chunks)
    after = cut(before, settings)
    if after is before:
        return rows, 0
    changed = pc.not_equal(after, before)
    count = changed.true_count
    if not count:
        return rows, 0
    after = pc.replace_with_mask(
        after, changed, pa.array(clean_captions(after.filter(changed).to_pylist()), pa.string())
    )
    changed_rows = rows.filter(changed).to_pylist()
    texts = after.filter(changed).to_pylist()
    ids, extras = [], []
    for row, text in zip(changed_rows, texts, strict=True):
        extra = json.loads(row["extra"]) if row["extra"] else {}
        extra = {**extra, "caption_before": row["caption"]}
        extras.append(json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
        ids.append(sample_id(row["image_url"], text, row["annotations"]) if text else row["id"])
    for name, values in (("id", pa.array(ids, pa.string())), ("extra", pa.array(extras))):
        spread = pc.replace_with_mask(_whole(rows[name]), changed, values)
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), spread)
    field = rows.schema.field("caption")
    return rows.set_column(rows.column_names.index("caption"), field, after), count


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def cut(captions: pa.Array, settings: Filter) -> pa.Array:
    """The captions without what the settings name; the same object where they name nothing."""
    if settings.strip_markup:
        captions = pc.replace_substring_regex(captions, _TAG, " ")
    if settings.strip_figure_numbers:
        captions = without_figure_numbers(captions)
    if settings.keep_scripts:
        kept = "".join(rf"\p{{{script}}}" for script in settings.keep_scripts)
        # What no script has alone (digits, marks, punctuation, spaces) stays.
        captions = pc.replace_substring_regex(
            captions, rf"[^{kept}\p{{Common}}\p{{Inherited}}]+", " "
        )
    if settings.fold_punctuation:
        for mark in _MARKS:
            twice = pc.match_substring(captions, mark * 2)
            if twice.true_count:
                mended = pc.replace_substring_regex(
                    captions.filter(twice), f"[{_escaped(mark)}]{{2,}}", _replacement(mark)
                )
                captions = pc.replace_with_mask(captions, twice, mended)
    if settings.crop:
        one = made_of("crop", settings, alternatives)
        # Two of them may stand in a row.
        pattern = (
            rf"^{_MARK}(?:(?i:{one})(?:[^\pL\pM\pN]+|$))+"
            rf"|(?:(?:^|[^\pL\pM\pN]+)(?i:{one}))+{_MARK}$"
        )
        captions = pc.replace_substring_regex(captions, pattern, "")
    return captions


def _escaped(mark: str) -> str:
    return "\\" + mark if mark.isascii() else mark


def _replacement(mark: str) -> str:
    return "\\\\" if mark == "\\" else mark
