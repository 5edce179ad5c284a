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
"""The members of a sample, in tar order: extension without its leading dot, byte offset of the
content in the tar, content size in bytes, CRC-32 of the content."""

SHARD_INDEX = pa.schema([pa.field("key", pa.string(), nullable=False), ("members", MEMBERS)])
"""The columns that every sidecar has: a row for each sample, in tar order."""

COLUMN_INDEX = pa.schema(
    [*SHARD_INDEX, ("reason", pa.string()), ("found", pa.string())]
)  # fmt: skip
"""The columns that a column's sidecar has: a row for each sample, in the base shard's order, with
its one member. Where a sample has no value its member is empty, `reason` says why and `found` what
was found; else both are null."""

CANDIDATES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        ("image_url", pa.string()),
        ("caption", pa.string()),
        ("caption_from", pa.string()),
        ("page_url", pa.string()),
        ("page_language", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        ("extra", pa.string()),
        ("annotations", pa.string()),
        ("image_hash", pa.string()),
    ]
)
"""A sample before its image was fetched. `id` is 32 hex digits (see `septet.preprocess.text.ids`);
`image_url` is the image's identity, null for a text alone; `caption` null for an image alone;
`caption_from` says where the text stood (alt, figcaption, title, list …); `page_language` is what
the page declares; `source` the input's label; `extra` a JSON object that is carried into the
sample; `annotations` JSON that is part of the sample's identity; `image_hash` the digest that the
image's bytes as fetched must have (`md5:`, `sha1:` or `sha256:` and hexadecimal digits), null where
none is told."""

IMAGE_LOCATIONS = pa.schema(
    [
        pa.field("image_url", pa.string(), nullable=False),
        pa.field("input", pa.string(), nullable=False),
        ("name", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("digest", pa.string()),
        ("form", pa.string()),
        ("row", pa.int64()),
    ]
)
"""The places of images' bytes in inputs. In a web archive: `input` is the archive's label, `offset`
that of the record in the file as it is (compressed), `length` the record's bytes where they are
known, `digest` the archive's. In a tar (`form` tar): `offset` and `length` are those of a member's
content. In Parquet (`form` parquet): `offset` is where the file has the chunk of the column, one of
a row group, and `row` the number of the row in it. In a folder: `input` is the folder's label and
`name` the path within it; the others are null."""

FILTERED = pa.schema(
    [*CANDIDATES, ("language", pa.string()), ("language_score", pa.float32()),
     ("language_from", pa.string())]
)  # fmt: skip
"""Candidates that passed the text rules. `language_from` is model, page, undetermined or
unknown_label (see `septet.preprocess.text.language`)."""

PLANNED = pa.schema(
    [*FILTERED, *(pa.field(f"image_{f.name}", f.type) for f in list(IMAGE_LOCATIONS)[1:])]
)
"""A row of a shard plan: a sample that survived dedup, with the location of its image where the
build's own inputs hold it (else these columns are null, and the image is fetched)."""

FETCHED = pa.schema(
    [
        pa.field("image_url", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("value", pa.string()),
        ("format", pa.string()),
        ("ext", pa.string()),
        ("md5", pa.string()),
        ("sha1", pa.string()),
        ("sha256", pa.string()),
        ("original_bytes", pa.int64()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("reencoded", pa.bool_()),
        ("phash", pa.string()),
        ("thumbnail", pa.binary()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("crc32", pa.uint32()),
    ]
)
"""A row for each distinct image of a shard plan: why there are no bytes of it (`reason`, with the
`value` that failed), or what it is and where its final bytes lie in the fetch store: `size` bytes
at `offset` of `file`, a path within the corpus, with their CRC-32. `md5` and `sha1` of the fetched
bytes are there where a list asked for them. `phash` and `thumbnail` say how the final bytes look
(`septet.preprocess.images.appearance`); stores of earlier versions lack them, or have smaller
thumbnails."""

STORED = pa.schema([*FETCHED, ("digest", pa.string())])
"""A row of a table of the fetch store, one an image, whether there are bytes of it or not.
`digest` is null for an image that was fetched, else it says of which input or folder it was
read."""

SAMPLES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("caption_from", pa.string()),
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
        ("phash", pa.string()),
        ("thumbnail", pa.binary()),
        ("extra", pa.string()),
        ("annotations", pa.string()),
        ("members", MEMBERS),
    ]
)
"""A built shard's sidecar: a sample has an image (`url`), a text (`caption`), or both. `sha256`
and the `original_*` columns describe the image as it was fetched; `width`,
`height` (pixels) the member in the tar, as do `phash` (the perceptual hash, 64 bits in 16 hex
digits, laid out like that of ImageHash) and `thumbnail` (48 x 48 bytes of luma, 4 x 4 of Cr, 4 x 4
of Cb); corpora of minor version 0 lack these two."""

COMPARED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        ("caption", pa.string()),
        pa.field("scope", pa.uint64(), nullable=False),
        pa.field("better", pa.uint64(), nullable=False),
    ]
)
"""A sample that is left of a shard before near-duplicate captions are looked for, by ascending id:
captions of one `scope` are compared, and of near ones the sample that is `better` is kept."""

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
`rule` names the rule that decided, with its version (`too_short@3`); `extra` and `annotations` are
those of the row."""
