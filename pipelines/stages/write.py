"""The stage write: it writes the samples that stay as shards with their sidecars; one task for each
shard."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from septet.pipelines.ownership import remove_earlier
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.looks import LOOKS, looks_of
from septet.pipelines.store.reader import StoreReader
from septet.preprocess import files
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.layout import SHARDS, STAGES, TAR_FOOTER, shard_name


@dataclass(frozen=True)
class Sidecars(Parts):
    """The sidecars of the shards, beside their tars, in their final place."""

    def path(self, key: Key) -> str:
        """The sidecar of a shard."""
        return files.join(self.folder, f"{shard_name(int(key))}.parquet")

    def tar(self, key: Key) -> str:
        """The tar of a shard."""
        return files.join(self.folder, f"{shard_name(int(key))}.tar")


class WriteStage(Stage):
    """The stage that writes the samples that stay as shards."""

    name = "write"
    version = 4
    reads = ("kept", "plans", "fetched")
    gives = ("shards",)

    def parts(self, artifact: str) -> Parts:
        """The files of an artifact; shards are in their final place."""
        if artifact == "shards":
            return Sidecars(files.join(self.corpus, SHARDS), self.identity)
        return super().parts(artifact)

    def keys(self) -> list[Key]:
        """Numbers of the shards that keep anything."""
        kept = self.givers["kept"]
        rows_out = kept.require_done().rows_out
        return [key for key, rows in zip(kept.keys(), rows_out, strict=True) if rows]

    def prepare(self) -> None:
        """Remove what an earlier build wrote, unless this stage has begun before. The marks of that
        build go first: from here on it is no longer complete."""
        if files.exists(self._begun_path):
            return
        marks = files.join(self.corpus, STAGES, "done")
        begun: set[int] = set()
        for name in files.list_folder(marks):
            if name.startswith(("write-", "report-")):
                if name.endswith(".begun"):
                    begun |= set(json.loads(files.read_bytes(files.join(marks, name)) or b"[]"))
                else:
                    files.remove(files.join(marks, name))
        remove_earlier(self.corpus, begun)
        for name in files.list_folder(marks):
            if name.startswith("write-"):
                files.remove(files.join(marks, name))
        files.write_bytes(self._begun_path, json.dumps(self.keys()).encode())

    @property
    def _begun_path(self) -> str:
        """Numbers of the shards that this stage writes, from before it writes the first."""
        return self._done_path.removesuffix("json") + "begun"

    def passes(self) -> Iterator[Pass]:
        """One pass over the shards that keep anything."""
        shards = self.parts("shards")
        assert isinstance(shards, Sidecars)
        task = WriteTask(
            shards, self.input("kept"), self.input("plans"), self.input("fetched"), self.corpus
        )
        yield Pass("write", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))

    def current_files(self) -> Iterator[str]:
        """The marks alone: the shards are not below `stages/`."""
        yield self._done_path
        yield self._begun_path


class WriteTask(Task):
    """The task that writes one shard."""

    stage = "write"

    def __init__(self, output: Sidecars, kept: Parts, plans: Parts, fetched: Parts, corpus: str):
        self.output: Sidecars = output
        self.kept, self.plans, self.fetched, self.corpus = kept, plans, fetched, corpus

    def run(self, shard: int) -> Counts:
        """Write the tar, then the sidecar that makes it count."""
        kept = set(files.read_table(self.kept.path(shard))["id"].to_pylist())
        fetched = files.read_table(self.fetched.path(shard)).to_pylist()
        found = {row["image_url"]: row for row in fetched}
        plan = files.read_table(self.plans.path(shard)).to_pylist()  # by ascending id
        samples = [row for row in plan if row["id"] in kept]
        images = [found[row["image_url"]] if row["image_url"] else None for row in samples]
        rows = []
        with (
            files.open_atomic(self.output.tar(shard)) as out,
            StoreReader(self.corpus) as store,
        ):
            writer = ShardWriter(out)
            for sample, image, data in zip(samples, images, store.images(images), strict=True):
                row = _metadata(sample, image or {})
                members: dict[str, bytes] = {}
                if image is not None and data is not None:
                    members[image["ext"]] = data
                    row |= looks_of(image, data)
                if sample["caption"] is not None:
                    members["txt"] = sample["caption"].encode()
                members["json"] = _json(row)
                rows.append({**row, "members": writer.add(sample["id"], members)})
            size, digest = writer.close()
        sidecar = pa.Table.from_pylist(rows, tables.SAMPLES)
        tar = {TAR_FOOTER: json.dumps({"bytes": size, "sha256": digest})}
        counts = Counts(rows_in=len(kept), rows_out=len(rows))
        files.write_table(self.path(shard), sidecar, metadata=tar | counts.to_metadata())
        return counts


def _metadata(sample: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """A sample's row of the sidecar, without its members."""
    row = {"key": sample["id"], "url": sample["image_url"]}
    for field in tables.SAMPLES:
        if field.name not in row and field.name != "members":
            row[field.name] = sample.get(field.name, image.get(field.name))
    return row


def _json(row: dict[str, Any]) -> bytes:
    """The `json` member: the sample's row of the sidecar without `LOOKS` (so tars do not depend on
    what is known of looks), `extra` and `annotations` as values."""
    kept = {name: value for name, value in row.items() if name not in LOOKS}
    data = {name: value for name, value in kept.items() if value is not None}
    if "language_score" in data:
        data["language_score"] = round(data["language_score"], 4)
    for name in ("extra", "annotations"):
        if name in data:
            data[name] = json.loads(data[name])
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
