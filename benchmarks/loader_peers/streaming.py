"""MosaicML's shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

from benchmarks.loader import BATCH, WORKERS, view
from benchmarks.loader_peers.images import Epoch, members


class Images(StreamingDataset):
    """Decoded ones."""

    def __getitem__(self, index: Any) -> Any:
        return view(super().__getitem__(index)["jpg"])


def make(corpus: Path, store: Path) -> Epoch:
    columns = {"jpg": "bytes", "txt": "bytes"}
    with MDSWriter(out=str(store), columns=columns, size_limit=2**26) as out:
        for sample in members(corpus):
            out.write(sample)

    def epoch() -> Iterator[int]:
        images = Images(local=str(store), shuffle=False, batch_size=BATCH)
        for batch in DataLoader(images, batch_size=BATCH, num_workers=WORKERS):
            yield len(batch)

    return epoch
