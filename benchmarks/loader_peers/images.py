"""A corpus's samples for those who copy them."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

Epoch = Callable[[], Iterator[int]]
"""Sizes of an epoch's batches."""


def members(corpus: Path) -> Iterator[dict[str, bytes]]:
    """jpg and txt of each sample."""
    for path in sorted((corpus / "shards").rglob("*.tar")):
        sample: dict[str, bytes] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                extension = member.name.partition(".")[2]
                if file is not None and extension in ("jpg", "txt"):
                    sample[extension] = file.read()
                if len(sample) == 2:
                    yield sample
                    sample = {}
