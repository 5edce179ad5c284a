"""`docs/scale.md`: large models on named clusters, from the code that `--dry-run` prints.

python -m septet.trainers.commands.scale > docs/scale.md
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from septet.trainers.commands.dryrun import USABLE
from septet.trainers.commands.models import presets_of
from septet.trainers.scale.clusters import CLUSTERS, Cluster
from septet.trainers.scale.estimate import Estimate, estimate
from septet.trainers.scale.time import DECODED, REACHED_COMPUTE, REACHED_WIRE, time_of
from septet.trainers.settings.overrides import override

HEAD = f"""# Large models on clusters

Written by `make docs` from the code that answers `septet train … --dry-run --cluster NAME`. Nothing
here was measured: it is a model of memory, wires and loader, to be held against a run's first hour.

- **Computing**: {REACHED_COMPUTE:.0%} of the dense bf16 peak. FLOPs are those of samples at their
  longest, forward, backward, and forward again where activations are computed anew: matrix
  products and attention.
- **Wires**: {REACHED_WIRE:.0%} of a link's rate. Weights that are sharded are gathered for each
  forward and each backward pass as bf16, gradients reduced as fp32; both go on beside computing.
  Tokens on their way to experts, and vectors of losses that compare rows, are waited for.
- **Samples**: a row of texts that are joined (PaLI's `spans`) counts as one.
- **Loader**: {DECODED:.0f} images a second and core, decoded and cropped. Reading from storage is
  not in it: give a corpus to the dry run.
- **Memory**: fp32 weights, gradients and what the optimizer keeps, copies in bf16 while they are
  used, what a micro-batch keeps for its backward pass, scores of rows against all rows. *Fits*
  means within {USABLE:.0%} of a device's.

The shares are assumed, the same for all models, and fitted to none; rates of devices and wires are
their makers' (`trainers/scale/clusters.py`). Left out
of the sums are the routing and sorting of tokens, other work that is bound by memory or by starting
kernels, uneven loads of experts, slow ranks and checkpoints.

"""

M6_ALL = 1440
"""Samples/s of 128 devices, as published."""
CLIP_EACH = 32 * 400e6 / (12 * 86_400) / 256
"""Samples/s of a device, as published."""
CLIP_PEAK = 125e12
"""FLOP/s of a V100, dense fp16."""

PUBLISHED = """
## Beside what was published

| model | published | here |
|---|---|---|
| M6-100B | 1,440 samples/s on 128 A100 (Lin et al., arXiv 2103.00823) | {m6:,.0f} on 128 A100-80 |
| CLIP ViT-L/14 | 32 epochs of 400 M pairs in 12 days on 256 V100 (Radford et al., arXiv \
2103.00020, section 2.5): 48 /s a device, of a peak of 125 TFLOP/s | {clip:,.0f} /s a device of \
312 TFLOP/s |

M6-100B's published rate is of all devices together. CLIP's is {clip_share:.0%} of the estimate
for a device of the same peak.

M6-100B's is {times:.1f} times below the estimate, {m6_share:.1%} of the devices' peak by the FLOPs
that are counted here. The network and the batch of the published run are not known here, so
neither is what bounded it. But the estimate takes much for granted:
- **Wires.** Each layer's tokens go to all devices and back three times a step, and nothing is done
  meanwhile. `128xA100-80` has a port of 200 Gb/s for each device; with one of 100 Gb/s for the
  eight devices of a node the same sum gives {slow:,.0f} samples/s.
- **Share of the peak.** {reached:.0%} is near what wide dense layers reach. Here experts of width
  1,024 have few rows each, and routing is left out. With half of that share, and those slow wires,
  the sum gives {slower:,.0f} samples/s.
"""


class Planned(NamedTuple):
    """A run of the page."""

    model: str
    preset: str
    cluster: str
    changes: tuple[str, ...]


RUNS = (
    Planned("clip", "vit-l-14", "128xA100-80", ("train.micro_batch=64",)),
    Planned("clip", "vit-l-14", "64xH200", ("train.micro_batch=128",)),
    Planned("beit3", "giant", "128xA100-80", ("train.shard=8",)),
    Planned("beit3", "giant", "64xH200", ("train.shard=8",)),
    Planned("pali", "17b", "128xA100-80", ("train.shard=128",)),
    Planned("pali", "17b", "64xH200", ("train.shard=64",)),
    Planned("m6", "10b", "128xA100-80", ("train.shard=128",)),
    Planned("m6", "10b", "64xH200", ("train.shard=64",)),
    Planned("m6", "m6t-100b", "128xA100-80",
            ("train.global_batch=4096", "train.expert_parallel=128")),
    Planned("m6", "m6t-100b", "64xH200", ("train.expert_parallel=64",)),
)  # fmt: skip


def planned(run: Planned) -> tuple[Estimate, Cluster]:
    """What a run asks, and of which cluster."""
    cluster = CLUSTERS[run.cluster]
    preset = override(presets_of(run.model)[run.preset], list(run.changes))
    return estimate(
        preset.task(), preset.train, preset.optimizer, {}, cluster.ranks, cluster.ranks_a_node
    ), cluster


def lines(runs: Sequence[Planned] = RUNS) -> Iterator[str]:
    """The page's tables, line by line."""
    known = {}
    yield "## Memory and wires of a rank\n\n"
    yield "| run | cluster | settings | memory, GiB | | sent a step, GB | of it waited for |\n"
    yield "|---|---|---|--:|---|--:|--:|\n"
    times = []
    for run in runs:
        needs, cluster = planned(run)
        gib = needs.bytes_in_all / 2**30
        fits = needs.bytes_in_all <= USABLE * cluster.memory * 1e9
        sent = sum(one.near + one.far for one in needs.traffic) / 1e9
        waited = sum(one.near + one.far for one in needs.traffic if not one.overlaps) / 1e9
        changes = ", ".join(f"`{change.removeprefix('train.')}`" for change in run.changes)
        name = f"{run.model} `{run.preset}`"
        yield (
            f"| {name} | {run.cluster} | {changes} | {gib:,.1f} | "
            f"{'fits' if fits else 'does not fit'} | {sent:,.1f} | {waited:,.1f} |\n"
        )
        found = time_of(cluster, needs)
        if run.cluster == "128xA100-80":
            known[run.preset] = needs, cluster
        times.append(
            f"| {name} | {run.cluster} | {found.compute:.2f} | {found.waiting:.2f} | "
            f"{found.exchange:.2f} | {found.loading:.2f} | {found.whole:.2f} | {found.bound} | "
            f"{rate(needs, cluster):,.0f} |\n"
        )
    yield "\n## Seconds a step\n\n"
    yield "| run | cluster | computing | waiting | weights, gradients | loading | a step "
    yield "| bound by | samples/s |\n|---|---|--:|--:|--:|--:|--:|---|--:|\n"
    yield from times
    if (m6 := known.get("m6t-100b")) and (clip := known.get("vit-l-14")):
        yield beside_published(*m6, clip)


def beside_published(m6: Estimate, a100: Cluster, clip: tuple[Estimate, Cluster]) -> str:
    """Published rates of M6-100B and CLIP ViT-L/14 beside the estimates on A100s."""
    shared = replace(a100, network=100e9 / 8 / a100.ranks_a_node)
    slow = time_of(shared, m6)
    estimated, batch = rate(m6, a100), rate(m6, a100) * time_of(a100, m6).whole
    clip_each = rate(*clip) / a100.ranks
    return PUBLISHED.format(
        m6=estimated,
        clip=clip_each,
        clip_share=CLIP_EACH / (clip_each * CLIP_PEAK / a100.peak),
        times=estimated / M6_ALL,
        m6_share=M6_ALL * m6.step_flops / batch / (a100.ranks * a100.peak),
        slow=batch / slow.whole,
        slower=batch / max(2 * slow.compute + slow.waiting, slow.exchange),
        reached=REACHED_COMPUTE,
    )


def rate(needs: Estimate, cluster: Cluster) -> float:
    """Samples/s."""
    return needs.samples_per_second * needs.seconds_per_step / time_of(cluster, needs).whole


if __name__ == "__main__":
    print(HEAD + "".join(lines()), end="")
