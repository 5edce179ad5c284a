"""Daft alone: signatures, a group-by and a join of the bands. Runs in Daft's environment."""

import os
import sys

import numpy as np
from daft import col
from daft.functions import chunk, explode, hash, monotonically_increasing_id

from benchmarks.near_dup.measured import Measured
from benchmarks.near_dup.run_hybrid import ROWS, signed


def main() -> None:
    path, out, language = sys.argv[1:]
    measured = Measured()
    rows = signed(path, language).with_column("id", monotonically_increasing_id()).collect()
    rows = rows.with_column("band", chunk(col("sign"), ROWS)).select("id", "band")
    bands = rows.select("id", explode(col("band")).alias("band"))
    bands = bands.select("id", hash(col("band")).alias("key")).collect()
    heads = bands.groupby("key").agg(col("id").min().alias("head"))
    edges = (
        bands.join(heads, on="key").groupby("id").agg(col("head").min().alias("label")).collect()
    )
    for _ in range(2):  # a label's own label
        other = edges.select(col("id").alias("label"), col("label").alias("next"))
        edges = edges.join(other, on="label").select("id", col("next").alias("label")).collect()
    gone = edges.where(col("id") != col("label")).select("id").to_arrow()["id"].to_numpy()
    measured.stop()
    np.save(out, gone.astype(np.int64))
    measured.show()
    sys.stdout.flush()
    os._exit(0)  # 0.7.26 may crash while Python ends


if __name__ == "__main__":
    main()
