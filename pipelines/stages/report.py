"""report: rejects, funnel and manifest in their final place; then the corpus is whole.

Runs in the driver: it moves tables of text and reads footers.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.ownership import remove_rejects
from septet.pipelines.sources.base import whole_inputs
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.stage import Key, Pass, Stage
from septet.preprocess import files
from septet.preprocess.shards.heads import write_corpus
from septet.schemas.layout import FUNNEL, MANIFEST, REJECTS, TAR_FOOTER, shard_sidecar, shard_tar
from septet.schemas.manifest import InputFile, Manifest, Shard


class ReportStage(Stage):
    """Publishes rejects, funnel and manifest."""

    name = "report"
    version = 2
    reads = ("shards",)

    def settings(self) -> dict[str, Any]:
        """The whole recipe: the manifest holds it."""
        return {"recipe": self.recipe.resolved(), "septet": version("septet")}

    def keys(self) -> list[Key]:
        """None, as there are no tasks."""
        return []

    def passes(self) -> Iterator[Pass]:
        """None: nothing here is work for a cluster."""
        return iter(())

    def publish(self, stages: list[tuple[Stage, Counts]]) -> Manifest:
        """Write `rejects/`, the funnel and, last, the manifest.

        Args:
            stages: All stages before, in order, with their figures.
        """
        files.remove(files.join(self.corpus, MANIFEST))
        remove_rejects(self.corpus)
        jobs = [
            (stage, key, number) for stage, _ in stages for number, key in enumerate(stage.keys())
        ]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: self._publish_rejects(*job), jobs))
            found = list(pool.map(self._shard, self.givers["shards"].keys()))
        funnel = [{"stage": stage.name, "unit": "pairs", **counts.to_dict()}
                  for stage, counts in stages]  # fmt: skip
        files.write_bytes(
            files.join(self.corpus, FUNNEL),
            (json.dumps({"stages": funnel}, indent=1) + "\n").encode(),
        )
        return write_corpus(
            self.corpus,
            found,
            name=self.recipe.name,
            septet=version("septet"),
            recipe=self.recipe.resolved(),
            inputs=[
                InputFile(path=i.label, bytes=i.bytes, digest=i.digest)
                for i in whole_inputs(self.context.inputs)
            ],
            sorted_keys=True,
            counts={
                "candidates": stages[0][1].rows_in,
                "samples": sum(shard.samples for shard in found),
                "rejects": sum(counts.rejected.total() for _, counts in stages),
            },
        )

    def _publish_rejects(self, stage: Stage, key: Key, number: int) -> None:
        source = stage.rejects.path(key)
        if files.exists(source) and files.read_table_metadata(source)[0]:
            target = files.join(self.corpus, REJECTS, f"{stage.name}-{number:05d}.parquet")
            files.write_bytes(target, files.read_bytes(source))

    def _shard(self, key: Key) -> Shard:
        assert isinstance(key, int)
        sidecar = shard_sidecar(key)
        path = files.join(self.corpus, sidecar)
        _, metadata = files.read_table_metadata(path)
        tar = json.loads(metadata[TAR_FOOTER.encode()])
        keys: pa.ChunkedArray = files.read_table(path, ["key"])["key"]
        ends = pc.min_max(keys).as_py()
        return Shard(
            tar=shard_tar(key),
            sidecar=sidecar,
            samples=len(keys),
            bytes=tar["bytes"],
            tar_sha256=tar["sha256"],
            sidecar_sha256=files.sha256(path),
            first_key=ends["min"],
            last_key=ends["max"],
        )
