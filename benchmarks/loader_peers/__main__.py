"""Another loader over the same images, for `benchmarks.loader`.

    PYTHONPATH=.venv/peers/litdata python -m benchmarks.loader_peers litdata CORPUS STORE

Runs with the package (`make peers`) on its path: copies the images of CORPUS into the package's
own format in STORE, or indexes the tars, says `ready`, and for every line that comes in reads all
images once, made 224 px by `benchmarks.loader.view` in two worker processes and batched, in
stored order; it answers with samples a second.
"""

import importlib
import os
import sys
from pathlib import Path

from benchmarks.loader import PEERS, rate


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # The packages print much.
    name, corpus, store = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.loader_peers.{PEERS[name]}")
    epoch = module.make(Path(corpus), Path(store))
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        print(rate(epoch), file=answers, flush=True)


if __name__ == "__main__":
    main()
