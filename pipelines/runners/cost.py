"""An estimate of the cost of a build at another size, from one that was measured.

Every stage of a build is linear in its pairs but for the sorting inside a shuffle, whose share of
the CPU time is small and grows with the logarithm of a bucket. So CPU seconds and shuffled bytes
a pair are carried over as measured, and prices are the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SIZES = (10**6, 10**8, 10**10)
_GB = 10**9


@dataclass(frozen=True)
class Measured:
    """The cost of one stage, measured on `pairs` input pairs of the build."""

    stage: str
    pairs: int
    cpu_seconds: float
    shuffled_bytes: int

    def __post_init__(self) -> None:
        if self.pairs <= 0 or self.cpu_seconds < 0 or self.shuffled_bytes < 0:
            raise ValueError(
                f"stage {self.stage} needs pairs > 0, CPU seconds and shuffled bytes >= 0; got "
                f"{self.pairs}, {self.cpu_seconds}, {self.shuffled_bytes}"
            )


@dataclass(frozen=True)
class Prices:
    """Prices in one currency, as the provider lists them for a region.

    `vcpu_hour` is for a vCPU and an hour, `memory_gb_hour` for a GB and an hour, `shuffle_gb` for
    a GB that goes through the shuffle service. A worker has `memory_gb_per_vcpu`, and is busy for
    `utilisation` of the time that is billed.
    """

    vcpu_hour: float
    memory_gb_hour: float = 0.0
    shuffle_gb: float = 0.0
    memory_gb_per_vcpu: float = 4.0
    utilisation: float = 0.8

    def __post_init__(self) -> None:
        for name in ("vcpu_hour", "memory_gb_hour", "shuffle_gb", "memory_gb_per_vcpu"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a price or a size, not {getattr(self, name)}")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation is in (0, 1], not {self.utilisation}")


@dataclass(frozen=True)
class Cost:
    """The cost of one stage, or of a whole build, at `pairs` pairs."""

    stage: str
    pairs: int
    vcpu_hours: float
    shuffled_gb: float
    cost: float


def estimate(measured: Sequence[Measured], prices: Prices, pairs: int) -> list[Cost]:
    """Estimate the cost of each stage at `pairs` pairs, and last that of the build ("all")."""
    costs = []
    for stage in measured:
        scale = pairs / stage.pairs
        hours = stage.cpu_seconds * scale / 3600 / prices.utilisation
        shuffled = stage.shuffled_bytes * scale / _GB
        an_hour = prices.vcpu_hour + prices.memory_gb_per_vcpu * prices.memory_gb_hour
        cost = hours * an_hour + shuffled * prices.shuffle_gb
        costs.append(Cost(stage.stage, pairs, hours, shuffled, cost))
    total = Cost(
        "all",
        pairs,
        sum(cost.vcpu_hours for cost in costs),
        sum(cost.shuffled_gb for cost in costs),
        sum(cost.cost for cost in costs),
    )
    return [*costs, total]


def table(
    measured: Sequence[Measured], prices: Prices, sizes: Sequence[int] = SIZES
) -> list[tuple[str, ...]]:
    """The estimates as rows of text, the first one the header: a row for each stage, then the sum;
    two columns a size."""
    estimates = [estimate(measured, prices, size) for size in sizes]
    header = ["stage", "CPU µs a pair", "shuffled bytes a pair"]
    for size in sizes:
        header += [f"vCPU hours, {_short(size)}", f"cost, {_short(size)}"]
    rows = [tuple(header)]
    a_pair = [(1e6 * m.cpu_seconds / m.pairs, m.shuffled_bytes / m.pairs) for m in measured]
    a_pair.append((sum(cpu for cpu, _ in a_pair), sum(size for _, size in a_pair)))
    for i, (cpu, shuffled) in enumerate(a_pair):
        row = [estimates[0][i].stage, f"{cpu:,.1f}", f"{shuffled:,.1f}"]
        for costs in estimates:
            row += [f"{costs[i].vcpu_hours:,.2f}", f"{costs[i].cost:,.2f}"]
        rows.append(tuple(row))
    return rows


def _short(size: int) -> str:
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if size >= unit:
            return f"{size / unit:g}{letter}"
    return str(size)
