"""The time of a step on a cluster, from a stated model of compute, network and loader.

A step takes as long as the longest of three things that go on side by side: computing, with the
exchanges that it has to wait for; the exchange of weights and gradients; and reading and decoding
the next step's samples. Rates are those of the cluster, times what of them is reached in practice.
"""

from dataclasses import dataclass

from septet.trainers.scale.clusters import Cluster
from septet.trainers.scale.estimate import Estimate

REACHED_COMPUTE = 0.4
"""Share of the dense bf16 peak that whole steps of models of this kind reach."""
REACHED_WIRE = 0.8
"""Share of a link's rate that collective operations reach."""
DECODED = 500.0
"""Images that a core decodes and crops in a second; benchmarks.loader measures it."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step."""

    compute: float
    waiting: float
    """For exchanges that computing waits for."""
    exchange: float
    """Of weights and gradients, beside computing."""
    loading: float
    """The longer of reading and decoding."""

    @property
    def whole(self) -> float:
        """Seconds a step."""
        return max(self.compute + self.waiting, self.exchange, self.loading)

    @property
    def bound(self) -> str:
        """What decides it."""
        if self.loading == self.whole:
            return "loader"
        if self.exchange == self.whole:
            return "network"
        return "compute" if self.compute >= self.waiting else "waiting for exchanges"


def time_of(cluster: Cluster, needs: Estimate) -> StepTime:
    """The time of a step of a run on all of a cluster. What is read counts where it is known."""
    link, network = cluster.link * REACHED_WIRE, cluster.network * REACHED_WIRE
    times = [(one.seconds(link, network), one.overlaps) for one in needs.traffic]
    read = (needs.bytes_per_second or 0) * needs.seconds_per_step
    return StepTime(
        compute=needs.step_flops / (cluster.peak * REACHED_COMPUTE * cluster.ranks),
        waiting=sum(seconds for seconds, overlaps in times if not overlaps),
        exchange=sum(seconds for seconds, overlaps in times if overlaps),
        loading=max(
            read / (cluster.storage * cluster.nodes),
            needs.images / (DECODED * cluster.cores * cluster.nodes),
        ),
    )
