"""`septet train --dry-run`: what a run asks of its machines, as a table."""

from rich.console import Console
from rich.table import Table

from septet.trainers.engine.config import TrainSettings
from septet.trainers.scale.clusters import Cluster
from septet.trainers.scale.estimate import ASSUMED_DEVICE, ASSUMED_MFU, Estimate
from septet.trainers.scale.time import REACHED_COMPUTE, StepTime, time_of

USABLE = 0.9
"""Share of a device's memory that a run may take; the rest is the allocator's and libraries'."""


def show(
    needs: Estimate,
    train: TrainSettings,
    ranks: int,
    card: float,
    console: Console,
    cluster: Cluster | None = None,
) -> None:
    """Print the figures as a table; `card` is a device's memory, GB. With a cluster, also what
    goes over its wires and what bounds a step."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, count in needs.parameters.items():
        if count:
            label = {"all": "parameters", "directly": "  in no part"}.get(name, f"  {name}")
            table.add_row(label, f"{count:,}")
    for stream, flops in needs.forward_flops.items():
        table.add_row(f"forward, a sample of {stream}", f"{flops / 1e9:,.2f} GFLOP")
    table.add_row("a step, all ranks", f"{needs.step_flops / 1e12:,.3f} TFLOP")
    for stream, rows in needs.rows_per_rank.items():
        n = needs.micro_batches[stream]
        parts = f"{n} micro-batches of {rows // n}" if n > 1 else "at once"
        many = f"{ranks} ranks x {rows:,}" if ranks > 1 else "1 rank"
        table.add_row(f"batch of {stream}", f"{rows * ranks:,} = {many}, {parts}")
    gib = 2**30
    for stream, most in needs.joined.items():
        table.add_row(f"a row of {stream}", f"up to {most} samples, joined; counted as one below")
    table.add_row("memory of a rank", "")
    for name, size in (
        ("weights, gradients, optimizer's state", needs.state_bytes),
        ("copies of weights in use", needs.cast_bytes),
        (f"kept for backward ({train.precision})", needs.activation_bytes),
        ("scores of rows against all rows", needs.logit_bytes),
    ):
        if size:
            table.add_row(f"  {name}", f"{size / gib:,.2f} GiB")
    fits = needs.bytes_in_all <= USABLE * card * 1e9
    verdict = "fits" if fits else "does not fit: lower train.micro_batch, raise train.shard"
    table.add_row("  in all", f"{needs.bytes_in_all / gib:,.2f} GiB: {verdict} ({card:g} GB)")
    for one in needs.traffic:
        near, far = one.near / 1e9, one.far / 1e9
        overlaps = "beside computing" if one.overlaps else "computing waits"
        table.add_row(
            f"a rank sends: {one.purpose}",
            f"{near + far:,.2f} GB a step, {far:,.2f} of it to other nodes; {overlaps}",
        )
    seconds, rate, read = needs.seconds_per_step, needs.samples_per_second, needs.bytes_per_second
    assumed = f"{ASSUMED_DEVICE} at {ASSUMED_MFU:.0%} MFU"
    if cluster is not None:
        found = time_of(cluster, needs)
        assumed = f"{cluster.device} at {REACHED_COMPUTE:.0%} MFU, bound by {found.bound}"
        for label, part in _parts(found):
            table.add_row(f"  {label}", f"{part:,.4f} s")
        scaled = seconds / found.whole
        seconds, rate = found.whole, rate * scaled
        read = None if read is None else read * scaled
    table.add_row(f"a step, if {assumed}", f"{seconds:,.4f} s, not less")
    unit = "rows" if needs.joined else "samples"
    table.add_row(f"{unit} then", f"{rate:,.0f} /s over all ranks")
    if read is None:
        table.add_row("to be read from storage then", needs.unread)
    else:
        limit = "up to " if needs.joined else ""
        table.add_row("to be read from storage then", f"{limit}{read / 1e6:,.1f} MB/s")
    hours = train.steps * seconds / 3600
    table.add_row(f"{train.steps:,} steps then take", f"{hours:,.1f} h, not less")
    console.print(table)


def _parts(found: StepTime) -> list[tuple[str, float]]:
    parts = {
        "computing": found.compute, "waiting for exchanges": found.waiting,
        "weights and gradients on the wire": found.exchange, "loading": found.loading,
    }  # fmt: skip
    return [(label, seconds) for label, seconds in parts.items() if seconds]
