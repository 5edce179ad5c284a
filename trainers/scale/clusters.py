"""Named clusters: how many devices, what they compute and hold, how fast they exchange and read."""

from collections.abc import Mapping
from dataclasses import dataclass

from septet.trainers.engine.metrics import DENSE_BF16_PEAK


@dataclass(frozen=True)
class Cluster:
    """Equal nodes of equal devices, one rank a device. Rates are bytes/s in one direction."""

    device: str
    """Whose peak is in `septet.trainers.engine.metrics.DENSE_BF16_PEAK`."""
    memory: float
    """Of a device, GB."""
    ranks: int
    ranks_a_node: int
    link: float
    """Of a device to the others of its node."""
    network: float
    """Of a device to other nodes."""
    storage: float
    """What a node reads."""
    cores: int
    """Of a node, for its loader."""

    @property
    def peak(self) -> float:
        """FLOP/s of a device, dense bf16."""
        return DENSE_BF16_PEAK[self.device]

    @property
    def nodes(self) -> int:
        """How many there are."""
        return -(-self.ranks // self.ranks_a_node)


CLUSTERS: Mapping[str, Cluster] = {
    "128xA100-80": Cluster("A100", 80, 128, 8, 300e9, 25e9, 2e9, 128),
    "64xH200": Cluster("H200", 141, 64, 8, 450e9, 50e9, 4e9, 192),
}
"""NVIDIA's data sheets of HGX A100 and H200: NVLink 600 and 900 GB/s in both directions together,
one InfiniBand port of 200 and 400 Gb/s a device. What a node reads, 2 and 4 GB/s, is assumed."""


def named(name: str) -> Cluster:
    """The cluster of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in CLUSTERS:
        raise ValueError(f"there is no cluster {name!r}; there are {', '.join(CLUSTERS)}")
    return CLUSTERS[name]
