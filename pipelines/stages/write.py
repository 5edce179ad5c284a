"""write: the samples that stay, as shards with their sidecars; one task a shard."""

import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa

from septet.pipelines.stages.base import Pass, Stage, Work, numbered
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.curate import CurateStage
from septet.pipelines.stages.fetch import FetchStage
from septet.pipelines.stages.graphs import map_tasks
from septet.preprocess import files
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.manifest import MANIFEST_NAME

SHARDS = "shards"
TAR_METADATA = "septet.tar"
"""Footer entry of a sidecar: JSON of its tar's `bytes` and `sha256`."""


class WriteStage(Stage):
    """See the module."""

    name = "write"
    version = 1
    sections = ()

    @property
    def output(self) -> str:
        """Sidecars, beside their tars, in their final place."""
        return files.join(self.corpus, SHARDS)

    def prepare(self) -> None:
        """Take away what an earlier build wrote. Its markers go first, and the manifest: from here
        on the old corpus is no longer whole, and must not look as if it were."""
        stages = files.join(self.corpus, "stages")
        for name in files.list_folder(stages):
            if name.startswith(("write-", "report-")):
                files.remove(files.join(stages, name))
        files.remove(files.join(self.corpus, MANIFEST_NAME))
        for name in (SHARDS, "rejects", "stats"):
            files.remove(files.join(self.corpus, name))

    def passes(self) -> Iterator[Pass]:
        """One pass over the shards that keep anything."""
        curate = self.previous
        assert isinstance(curate, CurateStage) and isinstance(curate.previous, FetchStage)
        fetch = curate.previous
        numbers = [
            number
            for number in curate.numbers()
            if files.read_table_metadata(numbered(curate.output, number))[0]
        ]
        work = WriteWork(self.output, curate.output, fetch.plans, fetch.output, fetch.images)
        yield Pass("write", self.output, len(numbers), map_tasks(work, numbers))


class WriteWork(Work):
    """Writes one shard."""

    stage = "write"

    def __init__(self, output: str, kept: str, plans: str, fetched: str, images: str):
        self.output = output
        self.kept, self.plans, self.fetched, self.images = kept, plans, fetched, images

    def run(self, number: int) -> Counts:
        """Write the tar, then the sidecar that makes it count."""
        kept = set(files.read_table(numbered(self.kept, number))["id"].to_pylist())
        found = {
            row["image_url"]: row
            for row in files.read_table(numbered(self.fetched, number)).to_pylist()
        }
        plan = files.read_table(numbered(self.plans, number)).to_pylist()
        rows = []
        with (
            files.open_atomic(numbered(self.output, number, "tar")) as out,
            fsspec.open(numbered(self.images, number, "bin"), "rb") as store,
        ):
            writer = ShardWriter(out)
            for pair in plan:  # by ascending id
                if pair["id"] not in kept:
                    continue
                image = found[pair["image_url"]]
                store.seek(image["offset"])
                row = _metadata(pair, image)
                members = {
                    image["ext"]: store.read(image["size"]),
                    "txt": pair["caption"].encode(),
                    "json": _json(row),
                }
                rows.append({**row, "members": writer.add(pair["id"], members)})
            size, digest = writer.close()
        sidecar = pa.Table.from_pylist(rows, tables.SAMPLES)
        tar = {TAR_METADATA: json.dumps({"bytes": size, "sha256": digest})}
        counts = Counts(taken=len(kept), given=len(rows))
        files.write_table(self.path(number), sidecar, metadata=tar | counts.to_metadata())
        return counts


def _metadata(pair: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """A sample's row of the sidecar, but for its members."""
    row = {"key": pair["id"], "url": pair["image_url"]}
    for field in tables.SAMPLES:
        if field.name not in row and field.name != "members":
            row[field.name] = pair[field.name] if field.name in pair else image[field.name]
    return row


def _json(row: dict[str, Any]) -> bytes:
    """The `json` member: what the sidecar says of the sample, `extra` as an object."""
    data = {name: value for name, value in row.items() if value is not None}
    if "language_score" in data:
        data["language_score"] = round(data["language_score"], 4)
    if "extra" in data:
        data["extra"] = json.loads(data["extra"])
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
