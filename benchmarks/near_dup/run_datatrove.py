"""datatrove's four stages of MinHash. Runs in datatrove's environment."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

from benchmarks.near_dup.measured import Measured


def main() -> None:
    path, out, _ = sys.argv[1:]
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8, n_grams=2)
    with tempfile.TemporaryDirectory() as folder:
        read = ParquetReader(
            str(Path(path).parent), glob_pattern=Path(path).name, text_key="caption",
            adapter=lambda self, data, path, i: {"text": data["caption"], "id": str(i)},
        )  # fmt: skip
        stages = [
            [read, MinhashDedupSignature(f"{folder}/signed", config=config, language="eng")],
            [MinhashDedupBuckets(f"{folder}/signed", f"{folder}/buckets", config=config)],
            [MinhashDedupCluster(f"{folder}/buckets", f"{folder}/gone", config=config)],
            [read, MinhashDedupFilter(f"{folder}/gone"),
             JsonlWriter(f"{folder}/kept", compression=None)],
        ]  # fmt: skip
        measured = Measured()
        for number, (stage, tasks) in enumerate(zip(stages, (1, 14, 1, 1), strict=True)):
            LocalPipelineExecutor(
                stage, tasks, workers=1, logging_dir=f"{folder}/log{number}"
            ).run()
        measured.stop()
        kept = set()
        for file in Path(f"{folder}/kept").iterdir():
            kept |= {int(json.loads(line)["id"]) for line in file.read_text().splitlines()}
    import pyarrow.parquet as pq

    rows = pq.read_metadata(path).num_rows
    np.save(out, np.array(sorted(set(range(rows)) - kept), np.int64))
    measured.show()


if __name__ == "__main__":
    main()
