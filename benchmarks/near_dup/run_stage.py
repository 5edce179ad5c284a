"""Septet's passes over shards: captions as they are left by curate, on the local runner with two
workers, shuffles on disk."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.growth import looked_at
from benchmarks.near_dup.measured import Measured
from septet.pipelines.runners import make_runner
from septet.pipelines.stages.near_text import NearTask, Slabs, passes_over
from septet.pipelines.stages.stage import Key, Parts
from septet.preprocess import files
from septet.preprocess.dedup import better_of
from septet.preprocess.near_duplicates.captions import Limits
from septet.schemas import tables

SHARD = 10_000
TOLD = ("id", "image_url", "caption", "page_url", "source", "extra", "annotations")
PLAN = pa.schema([(name, pa.string()) for name in TOLD])


def write_shards(path: str, folder: Path) -> tuple[dict[str, Parts], dict[Key, int]]:
    """The captions as shards of samples whose ids ascend in the order of rows; returns how many
    each has."""
    parts = {name: Parts(str(folder / name), "x")
             for name in ("compared", "lost", "plans", "words", "kept", "rejects")}  # fmt: skip
    shards: dict[Key, int] = {}
    for shard, batch in enumerate(pq.ParquetFile(path, pre_buffer=False).iter_batches(SHARD)):
        texts = batch["caption"]
        shards[shard] = len(texts)
        ids = [
            f"{shard * SHARD + i:016x}{(i * 0x9E3779B97F4A7C15) % 2**64:016x}"
            for i in range(len(texts))
        ]
        lengths = np.array([len(text) for text in texts.to_pylist()])
        nothing = np.zeros(len(texts), np.int64)
        compared = {"id": ids, "caption": texts, "scope": nothing + 1,
                    "better": better_of(nothing > 0, nothing, lengths)}  # fmt: skip
        files.write_table(parts["compared"].path(shard), pa.table(compared, schema=tables.COMPARED))
        files.write_table(parts["lost"].path(shard), tables.REJECTS.empty_table())
        plan = {"id": ids, "caption": texts} | {
            name: pa.nulls(len(texts), pa.string())
            for name in PLAN.names
            if name not in ("id", "caption")
        }
        files.write_table(parts["plans"].path(shard), pa.table(plan).select(PLAN.names).cast(PLAN))
    return parts, shards


def main() -> None:
    path, out, _ = sys.argv[1:]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        parts, shards = write_shards(path, folder)
        rows = pq.read_metadata(path).num_rows
        task = NearTask(
            parts["kept"],
            parts["rejects"],
            parts["compared"],
            parts["lost"],
            parts["plans"],
        )
        slabs = Slabs.of(parts["compared"], parts["words"], shards, (), "everywhere")
        with make_runner("local", 2, [], str(folder)) as runner:
            runner.check()
            measured = Measured()
            for each in passes_over(task, slabs, Limits()):
                runner.run(each.label, each.graph(each.todo()))
            others = looked_at(os.getpid())
            driver, _ = others.pop(os.getpid())
            measured.stop(sum(cpu for _, cpu in others.values()))
            peak = max((peak for peak, _ in others.values()), default=0)
        kept = [files.read_table(parts["kept"].path(shard))["id"] for shard in shards]
        stays = {int(id_[:16], 16) for ids in kept for id_ in ids.to_pylist()}
    peaks = ", ".join(f"{peak:,}" for peak, _ in others.values())
    print(f"peak MB: driver {driver:,}; nursery and workers {peaks}")
    np.save(out, np.array(sorted(set(range(rows)) - stays), np.int64))
    measured.show(peak)


if __name__ == "__main__":
    main()
