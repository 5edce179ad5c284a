"""Septet in memory: `near_captions` of a Parquet file."""

import sys

import numpy as np
import pyarrow.parquet as pq

from benchmarks.near_dup.measured import Measured
from septet.preprocess.near_duplicates.captions import near_captions


def main() -> None:
    path, out, _ = sys.argv[1:]
    near_captions(pq.read_table(path)["caption"].slice(0, 1000))  # loads what is compiled
    measured = Measured()
    kept, _ = near_captions(pq.read_table(path)["caption"])
    measured.stop()
    np.save(out, np.flatnonzero(kept != np.arange(len(kept))))
    measured.show()


if __name__ == "__main__":
    main()
