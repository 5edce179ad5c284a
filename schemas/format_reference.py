"""A writer of the reference of the corpus format: `python -m septet.schemas.format_reference`."""

from collections.abc import Iterator

import pyarrow as pa
from pydantic import BaseModel

from septet.schemas import columns, layout, manifest, tables

_HEAD = """# The corpus on disk

Generated from `schemas/` by `make docs`; a test keeps it true. Format version {version}, or
{removed} where samples were removed, so that no reader which does not know of removals gives them;
corpora of version 1 are read as well. A newer minor version only adds keys and columns, which an
older Septet passes over; a newer major version is refused with a message.

"""

_MODELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("corpus.json", manifest.Manifest),
    ("column.json", columns.ColumnManifest),
)
_TABLES: tuple[tuple[str, pa.Schema, str], ...] = (
    ("shards.parquet", manifest.SHARD_LIST, "A row a shard of the corpus, in order."),
    ("inputs.parquet", manifest.INPUT_LIST, "A row a file that the build read."),
    (
        "shards/…/*.parquet, the sidecars",
        tables.SAMPLES,
        "A row a sample, in tar order. Of an indexed folder `key` and `members` alone are sure to "
        "be there, with what its own Parquet files said. A sample without an image has no `url`, "
        "one without text no `caption`. The tar holds `{key}.jpg` (or png, webp), `{key}.txt` and "
        "`{key}.json`, as far as the sample has them.",
    ),
    ("columns/NAME/shards.parquet", columns.COLUMN_SHARD_LIST, "A row a base shard."),
    (
        "columns/NAME/…/*.parquet",
        tables.COLUMN_INDEX,
        "A row a sample, in the base shard's order, and what else the kind of column tells of it.",
    ),
    (
        "removed/NNNN.parquet",
        manifest.REMOVED_LIST,
        "A row a sample that was removed: `corpus.json` names the list that holds. `shard` and "
        "`row` are its place in the list of shards and in the sidecar, -1 where no shard has a row "
        "of it; `tar_sha256` is the digest of that shard's tar before a sample was taken out of "
        "it. `sha256`, of the image as it was fetched, is empty where there is none.",
    ),
    (
        "removed/barred-NNNN.parquet",
        manifest.BARRED_LIST,
        "A row a thing that later builds drop, whether or not a sample had it when it was removed: "
        "the newest list holds. `what` is `id`, `url`, `domain`, `phash` or `text` (of a text "
        "without an image); `value` the id, domain or perceptual hash, or 16 hex digits of a hash "
        "of the URL or text. Images that were given themselves have `aspect` (logarithm of width / "
        "height) and `thumbnail`.",
    ),
    ("rejects/*.parquet", tables.REJECTS, "A row a loss; `docs/reasons.md` has the reasons."),
)


def reference() -> str:
    """The reference as Markdown."""
    versions = {"version": manifest.FORMAT_VERSION, "removed": manifest.FORMAT_VERSION_REMOVED}
    parts = [_HEAD.format(**versions), (layout.__doc__ or "").strip(), ""]
    for name, model in _MODELS:
        parts += [f"## {name}", "", *_model(model), ""]
    for name, schema, text in _TABLES:
        parts += [f"## {name}", "", text, "", *_table(schema), ""]
    return "\n".join(parts).rstrip()


def _model(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type |\n|---|---|"
    for name, field in model.model_fields.items():
        kind = getattr(field.annotation, "__name__", None)
        text = kind if kind and "[" not in str(field.annotation) else str(field.annotation)
        yield f"| `{name}` | {text.replace('typing.', '').replace('|', 'or')} |"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for inner in field.annotation.model_fields:
                yield f"| `{name}.{inner}` | |"


def _table(schema: pa.Schema) -> Iterator[str]:
    yield "| column | type | null |\n|---|---|---|"
    for field in schema:
        kind = str(field.type).replace("|", "or").replace("<", "&lt;")
        yield f"| `{field.name}` | {kind} | {'may be' if field.nullable else 'never'} |"


if __name__ == "__main__":
    print(reference())
