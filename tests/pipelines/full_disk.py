"""Builds on a disk that is too small, and grows, in a mount namespace of their own."""

import json
import subprocess
import sys
from pathlib import Path

from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, run_build

SIZES = ("16k", "150k", "400k", "1m", "64m")


def main(recipe: Path, corpus: Path) -> None:
    """Build on disks of `SIZES`, each going on where the last one was full; print what was told of
    each, temporary files that were left, and the digests of the corpus."""
    corpus.mkdir()
    told, left = [], []
    for number, size in enumerate(SIZES):
        mount = f"{'remount,' * (number > 0)}size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", mount, "none", corpus], check=True)
        try:
            run_build(recipe, corpus, workers=2)
            told.append("built")
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
        left += [str(path) for path in corpus.rglob(f"*{TEMPORARY_SUFFIX}")]
    print(json.dumps({"told": told, "left": left, "digests": digests(corpus)}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
