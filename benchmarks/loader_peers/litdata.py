"""litdata's own chunks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litdata import StreamingDataLoader, StreamingDataset, optimize

from benchmarks.loader import BATCH, WORKERS, view
from benchmarks.loader_peers.images import Epoch, members


class Images(StreamingDataset):
    """Decoded ones."""

    def __getitem__(self, index: Any) -> Any:
        return view(super().__getitem__(index)["jpg"])


def same(sample: dict[str, bytes]) -> dict[str, bytes]:
    return sample


def make(corpus: Path, store: Path) -> Epoch:
    optimize(same, list(members(corpus)), str(store), chunk_bytes="64MB", num_workers=1)

    def epoch() -> Iterator[int]:
        images = Images(str(store))
        for batch in StreamingDataLoader(images, batch_size=BATCH, num_workers=WORKERS):
            yield len(batch)

    return epoch
