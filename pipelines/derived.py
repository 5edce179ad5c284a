"""Fields of samples that are worked out from those of their sidecars: lengths of captions, sides
and shapes of images, domains. The report counts them, conditions of views know them, and `septet
browse` draws them, by the same functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.report.domains import domains_of
from septet.preprocess.text.han import chinese_scripts
from septet.preprocess.text.words import count_words
from septet.schemas.layout import IMAGE_EXTENSIONS
from septet.schemas.tables import MEMBERS

_ORIGINAL, _STORED = ("original_width", "original_height"), ("width", "height")
_THOUSANDTHS = 1000


@dataclass(frozen=True)
class Derived:
    """A field that is worked out from others.

    Args:
        type: Its type.
        call: Gives its values [n] from those of the fields, in their order.
        needs: Fields of which it is made; of several lists, those of one must be there, and nulls
            stand for the others.
    """

    type: pa.DataType
    call: Callable[..., pa.Array]
    needs: tuple[tuple[str, ...], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of which it is made."""
        return tuple(name for some in self.needs for name in some)

    def fits(self, types: Mapping[str, pa.DataType]) -> bool:
        """Whether it can be made of fields of some types."""
        return any(all(is_fit(name, types.get(name)) for name in some) for some in self.needs)

    def of(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int) -> pa.Array:
        """Its values, of columns that it `fits`."""
        known: list[pa.Array | pa.ChunkedArray] = []
        for name in self.fields:
            column = columns.get(name)
            if column is None or not is_fit(name, column.type):
                column = pa.nulls(rows, TYPES[name])
            known.append(column)
        return self.of_all(*known)

    def of_all(self, *columns: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Its values, of all its fields in their order."""
        return self.call(
            *(_whole(one).cast(TYPES[name]) for name, one in zip(self.fields, columns, strict=True))
        )


TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys((*_ORIGINAL, *_STORED), pa.int64()),
    **dict.fromkeys(("caption", "language", "url", "page_url"), pa.string()),
    "members": pa.list_(pa.struct([MEMBERS.value_type.field(name) for name in ("ext", "size")])),
}
"""What fields are taken as."""


def is_fit(name: str, given: pa.DataType | None) -> bool:
    """Whether a field of a type can be taken for one of those that others are made of."""
    if given is None:
        return False
    wanted = TYPES[name]
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_integer(given))
    if pa.types.is_list(wanted):
        return pa.types.is_list(given) and _has(given.value_type, wanted.value_type)
    return bool(pa.types.is_string(given) or pa.types.is_large_string(given))


def _has(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a struct has all parts of another."""
    return pa.types.is_struct(given) and {part.name for part in wanted} <= {
        part.name for part in given
    }


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _words(captions: pa.Array) -> pa.Array:
    return count_words(pa.chunked_array([captions], pa.string())).combine_chunks()


def _scripts(captions: pa.Array, language: pa.Array) -> pa.Array:
    chinese = pc.and_(pc.fill_null(pc.equal(language, "zh"), False), pc.is_valid(captions))
    found = chinese_scripts(pa.chunked_array([captions.filter(chinese)], pa.string()))
    return pc.replace_with_mask(
        pa.nulls(len(captions), pa.string()), chinese, _whole(found).cast(pa.string())
    )


def _shorter(width: pa.Array, height: pa.Array) -> pa.Array:
    return pc.min_element_wise(width, height, skip_nulls=False)


def _ratio(wide: pa.Array, high: pa.Array, width: pa.Array, height: pa.Array) -> pa.Array:
    """Width over height of the original image where its size is known, else of the stored one, in
    thousandths, rounded down."""

    def thousandths(one: pa.Array, other: pa.Array) -> pa.Array:
        usable = pc.and_(pc.greater(one, 0), pc.greater(other, 0))
        one, other = (
            pc.if_else(usable, side, pa.scalar(None, pa.int64())) for side in (one, other)
        )
        return pc.divide(pc.multiply(one, _THOUSANDTHS), other)

    found = pc.coalesce(thousandths(wide, high), thousandths(width, height))
    return pc.divide(pc.cast(found, pa.float64(), safe=False), float(_THOUSANDTHS))


def _image_bytes(members: pa.Array) -> pa.Array:
    """The bytes of each sample's first image."""
    flat, rows = pc.list_flatten(members), pc.list_parent_indices(members)
    is_image = pc.is_in(
        pc.utf8_lower(pc.struct_field(flat, "ext")), value_set=pa.array(IMAGE_EXTENSIONS)
    )
    rows, first = np.unique(rows.filter(is_image).to_numpy(), return_index=True)
    sizes = pc.cast(pc.struct_field(flat, "size").filter(is_image), pa.int64()).take(first)
    has = np.zeros(len(members), bool)
    has[rows] = True
    return pc.replace_with_mask(pa.nulls(len(members), pa.int64()), pa.array(has), sizes)


DERIVED: dict[str, Derived] = {
    "caption_chars": Derived(
        pa.int64(), lambda captions: pc.cast(pc.utf8_length(captions), pa.int64()), (("caption",),)
    ),
    "caption_words": Derived(pa.int64(), _words, (("caption",),)),
    "chinese": Derived(pa.string(), _scripts, (("caption", "language"),)),
    "original_short_side": Derived(pa.int64(), _shorter, (_ORIGINAL,)),
    "aspect_ratio": Derived(pa.float64(), _ratio, (_ORIGINAL, _STORED)),
    "image_bytes": Derived(pa.int64(), _image_bytes, (("members",),)),
    "image_domain": Derived(pa.string(), domains_of, (("url",),)),
    "page_domain": Derived(pa.string(), domains_of, (("page_url",),)),
}
"""The fields by name."""
