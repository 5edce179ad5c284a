"""Arrow schemas of every table that Septet writes.

A table's schema is part of the corpus format: change one only together with
`septet.schemas.manifest.FORMAT_VERSION`, and keep the golden corpus in `tests/` readable.
"""

import pyarrow as pa

MEMBERS = pa.list_(
    pa.struct(
        [
            pa.field("ext", pa.string(), nullable=False),
            pa.field("offset", pa.int64(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("crc32", pa.uint32(), nullable=False),
        ]
    )
)
"""One entry a member of a sample, in tar order: extension without its leading dot, byte offset
of the content in the tar, content size in bytes, CRC-32 of the content."""

SHARD_INDEX = pa.schema([pa.field("key", pa.string(), nullable=False), ("members", MEMBERS)])
"""What every sidecar holds at least: a row a sample, in tar order."""

COLUMN_INDEX = pa.schema(
    [*SHARD_INDEX, ("reason", pa.string()), ("found", pa.string())]
)  # fmt: skip
"""What a column's sidecar holds at least: a row a sample, in the base shard's order, with its one
member. Where a sample has no value its member is empty, `reason` says why and `found` what was
found; else both are null."""

CANDIDATES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_url", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("caption_from", pa.string(), nullable=False),
        ("page_url", pa.string()),
        ("page_language", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        ("extra", pa.string()),
    ]
)
"""A pair before its image was looked at. `id` is 32 hex digits (see `septet.preprocess.text.ids`),
`caption_from` one of alt, figcaption, title, list; `page_language` is what the page declares;
`source` the input file; `extra` a JSON object that the source wants carried into the sample."""

IMAGE_PLACES = pa.schema(
    [
        pa.field("image_url", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)
"""Where an image's bytes already are: in a WARC (`offset` of its record in the compressed file)
or in a plain file (`offset` -1)."""

FILTERED = pa.schema(
    [*CANDIDATES, ("language", pa.string()), ("language_score", pa.float32()),
     ("language_from", pa.string())]
)  # fmt: skip
"""Candidates that passed the text rules. `language_from` is model, page or undetermined."""

PLANNED = pa.schema([*FILTERED, ("image_path", pa.string()), ("image_offset", pa.int64())])
"""A row of a shard plan: a pair that survived dedup, with the place of its image where the
build's own inputs hold it (else both are null and the image is fetched)."""

FETCHED = pa.schema(
    [
        pa.field("image_url", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("value", pa.string()),
        ("format", pa.string()),
        ("ext", pa.string()),
        ("sha256", pa.string()),
        ("original_bytes", pa.int64()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("reencoded", pa.bool_()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
"""One row for each distinct image URL of a shard plan: why it could not be had (`reason`, with
the `value` that failed), or what it is and where its final bytes lie in the fetch store."""

SAMPLES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("caption_from", pa.string(), nullable=False),
        ("page_url", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("language_from", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("original_bytes", pa.int64()),
        ("reencoded", pa.bool_()),
        ("sha256", pa.string()),
        ("extra", pa.string()),
        ("members", MEMBERS),
    ]
)
"""A built shard's sidecar. `sha256` and the `original_*` columns describe the image as it was
fetched; `width`, `height` (pixels) the member in the tar."""

REJECTS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("value", pa.string()),
        ("image_url", pa.string()),
        ("caption", pa.string()),
        ("page_url", pa.string()),
        ("source", pa.string()),
        ("rule", pa.string()),
        ("extra", pa.string()),
        ("annotations", pa.string()),
    ]
)
"""A row that was dropped. `reason` is a name of `septet.schemas.reasons.REASONS`, `value` what
failed, as text; `id` is null where the loss came before there was a sample (a broken record).
`rule` names the rule that decided, with its set and version; `extra` and `annotations` are those
of the row."""
