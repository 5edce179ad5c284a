"""Samples of earlier corpora (`dedup.against`): a build's samples are compared with them as if they
were among these, and they stay whatever they are compared with.

What is compared is read from the earlier corpora's sidecars: no image is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.sources.paths import locate
from septet.preprocess import files
from septet.preprocess.shards.heads import read_corpus, read_head
from septet.preprocess.shards.removed import Removed
from septet.preprocess.shards.sidecar import SidecarError, open_sidecar, read_batches
from septet.preprocess.shards.views import require_whole
from septet.preprocess.text.ids import split_ids
from septet.schemas.recipe_file import RecipeError
from septet.schemas.tables import SAMPLES

EARLIER = np.dtype([("anchor", "<u8"), ("rest", "<u8"), ("corpus", "<u4")])
"""An earlier sample: the halves of its id, and the number of its corpus."""

_NAMES = {"key": "id", "url": "image_url"}
_COLUMNS = ("key", "url", "caption", "language_score", "width", "height", "original_width",
            "original_height", "sha256", "phash", "thumbnail", "annotations")  # fmt: skip
_SIDES = ("width", "height", "original_width", "original_height")


@dataclass(frozen=True)
class EarlierShard:
    """A shard of an earlier corpus: the corpus's number, the shard's sidecar, the rows in it of
    removed samples, and how many samples are left. Plain data, shipped to workers."""

    corpus: int
    sidecar: str
    removed: tuple[int, ...]
    samples: int

    def read(self, columns: Sequence[str] = _COLUMNS) -> pa.Table:
        """The samples, with `id`, `image_url` and what else of a sidecar is compared.

        Args:
            columns: Of the sidecar.

        Raises:
            SidecarError: the sidecar cannot be read, or holds what no build has written.
        """
        try:
            return self._read(columns)
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            raise SidecarError(
                f"dedup.against: {self.sidecar} cannot be used ({error}); `septet check` of that "
                "corpus tells what is damaged"
            ) from error

    def _read(self, columns: Sequence[str]) -> pa.Table:
        with open_sidecar(self.sidecar) as parquet:
            there = parquet.schema_arrow.names
            batches = list(read_batches(parquet, self.sidecar, columns))
            schema = pa.schema(
                [parquet.schema_arrow.field(name) for name in columns if name in there]
            )
        table = pa.Table.from_batches(batches, schema)
        for name in columns:
            kind = SAMPLES.field(name).type
            if name not in there:  # of an earlier format
                table = table.append_column(name, pa.nulls(len(table), kind))
            elif not table.schema.field(name).type.equals(kind):
                at = table.column_names.index(name)
                table = table.set_column(at, name, table[name].cast(kind))
        if table["key"].null_count or not _all_are("[0-9a-f]{32}", table["key"]):
            raise ValueError("a `key` is no id, which has 32 hex digits")
        for name, digits in (("phash", 16), ("sha256", 64)):
            if name in columns and not _all_are(f"[0-9a-f]{{{digits}}}", table[name]):
                raise ValueError(f"a `{name}` is none, which has {digits} hex digits")
        sides = [table[name] for name in _SIDES if name in columns]
        if not all(pc.all(pc.greater(side, 0), min_count=0).as_py() for side in sides):
            raise ValueError("an image has a side without a pixel")
        stays = np.ones(len(table), bool)
        stays[list(self.removed)] = False
        table = table.filter(pa.array(stays)).select(columns)
        return table.rename_columns([_NAMES.get(name, name) for name in columns])

    def ids(self) -> np.ndarray:
        """`EARLIER` records of the samples."""
        rows = self.read(["key"])
        found = np.empty(len(rows), EARLIER)
        found["anchor"], found["rest"] = split_ids(rows["id"])
        found["corpus"] = self.corpus
        return found


def _all_are(pattern: str, texts: pa.ChunkedArray) -> bool:
    """Whether all texts that are no null fit a pattern as a whole."""
    fit = pc.match_substring_regex(texts, f"^(?:{pattern})$")
    return bool(pc.all(fit, min_count=0).as_py())


def earlier_shards(against: Sequence[str], folder: str) -> list[EarlierShard]:
    """The shards of earlier corpora, in order."""
    found = []
    for number, label in enumerate(against):
        path = locate(label, folder)
        head, shards = read_corpus(path)
        counts = np.array([shard.samples for shard in shards])
        removed = Removed.read(path, head, counts)
        for place, shard in enumerate(shards):
            rows = tuple(removed.of(place).tolist())
            sidecar = files.join(path, shard.sidecar)
            found.append(EarlierShard(number, sidecar, rows, shard.samples - len(rows)))
    return found


def earlier_settings(against: Sequence[str], folder: str, corpus: str | None) -> dict[str, Any]:
    """Digests of the earlier corpora, as settings of a stage; none where there is none.

    Args:
        against: The corpora, as the recipe names them.
        folder: Where relative paths start.
        corpus: The corpus that is built, where one is.

    Raises:
        RecipeError: one of them is no corpus or a view of one, was not built by Septet, or is the
            one that is built.
    """
    found = {}
    for label in against:
        path = locate(label, folder)
        if corpus is not None and _same_folder(path, corpus):
            raise RecipeError(f"dedup.against: {label} is the corpus that is built itself")
        try:
            require_whole(path, "a build is compared with all samples of a corpus; name {corpus}")
            head = read_head(path)
        except (ValueError, OSError) as error:
            raise RecipeError(f"dedup.against: {label} cannot be read: {error}") from error
        if head.recipe is None:
            raise RecipeError(
                f"dedup.against: {label} is an indexed folder, whose samples have no ids by which "
                "they could be compared; build a corpus of its tars (`kind: webdataset`)"
            )
        found[label] = [head.shard_list.sha256, head.removed.sha256 if head.removed else ""]
    return {"earlier": found} if found else {}


def _same_folder(path: str, other: str) -> bool:
    if files.is_local(path) and files.is_local(other):
        return files.local_path(path).resolve() == files.local_path(other).resolve()
    return path.rstrip("/") == other.rstrip("/")


def same_samples(
    rows: pa.Table, earlier: np.ndarray, whole_images: bool, names: Sequence[str]
) -> tuple[pa.Array, pa.Array]:
    """What is said of rows that earlier corpora have: a reason and a value, null where they have
    none.

    Args:
        rows: With `id` and `image_url`.
        earlier: `EARLIER` records, those of the rows' anchors among them.
        whole_images: Whether one sample is kept of an image, whatever its captions.
        names: Of the corpora.
    """
    anchors, rests = split_ids(rows["id"])
    earlier = np.sort(earlier, order=["anchor", "rest", "corpus"])
    reasons, values = np.full((2, len(rows)), None, object)
    first = np.searchsorted(earlier["anchor"], anchors)
    known = np.minimum(first, len(earlier) - 1) if len(earlier) else first
    there = earlier["anchor"][known] == anchors if len(earlier) else np.zeros(len(rows), bool)
    has_image = rows["image_url"].is_valid().to_numpy()
    for row in np.flatnonzero(there):
        at = first[row]
        end = np.searchsorted(earlier["anchor"], anchors[row], "right")
        same = at + int(np.searchsorted(earlier["rest"][at:end], rests[row]))
        if same < end and earlier["rest"][same] == rests[row]:
            reasons[row], at = "duplicate_pair", same
        elif whole_images and has_image[row]:
            reasons[row] = "duplicate_image_url"
        else:
            continue
        one = earlier[at]
        values[row] = sample_name(one["anchor"], one["rest"], int(one["corpus"]), names)
    return pa.array(reasons, pa.string()), pa.array(values, pa.string())


def sample_name(anchor: int, rest: int, corpus: int, names: Sequence[str]) -> str:
    """The id of a sample, and the name of the earlier corpus that has it; `corpus` is -1 for a
    sample of the build itself."""
    return f"{anchor:016x}{rest:016x}" + (f" of {names[corpus]}" if corpus >= 0 else "")
