"""`docs/scale.md`: large models on named clusters, from the code that `--dry-run` prints.

python -m septet.trainers.commands.scale > docs/scale.md
"""

from collections.abc import Iterator, Sequence
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
  longest, forward, backward, and forward again where activations are computed anew.
- **Wires**: {REACHED_WIRE:.0%} of a link's rate. Weights that are sharded are gathered for each
  forward and each backward pass as bf16, gradients reduced as fp32; both go on beside computing.
  Tokens on their way to experts, and vectors of losses that compare rows, are waited for.
- **Loader**: {DECODED:.0f} images a second and core, decoded and cropped. Reading from storage is
  not in it: give a corpus to the dry run.
- **Memory**: fp32 weights, gradients and what the optimizer keeps, copies in bf16 while they are
  used, what a micro-batch keeps for its backward pass, scores of rows against all rows. *Fits*
  means within {USABLE:.0%} of a device's.

"""

PUBLISHED = """
## Beside what was published

| model | published | here |
|---|---|---|
| M6-100B | 1,440 samples/s on 128 A100 (Lin et al., arXiv 2103.00823) | {m6:,.0f} on 128 A100-80 |
| CLIP ViT-L/14 | 32 epochs of 400 M pairs in 12 days on 256 V100 (Radford et al., arXiv \
2103.00020, section 2.5): 48 /s a device, of a peak of 125 TFLOP/s | {clip:,.0f} /s a device of \
312 TFLOP/s |

M6-100B's published rate is a ninth of the estimate. Its paper does not say what bounds it; layers
of width 1,024 with small experts hardly reach the assumed share of the peak.
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
    rates = {}
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
        rate = needs.samples_per_second * needs.seconds_per_step / found.whole
        rates[run.model, run.preset, run.cluster] = rate
        times.append(
            f"| {name} | {run.cluster} | {found.compute:.2f} | {found.waiting:.2f} | "
            f"{found.exchange:.2f} | {found.loading:.2f} | {found.whole:.2f} | {found.bound} | "
            f"{rate:,.0f} |\n"
        )
    yield "\n## Seconds a step\n\n"
    yield "| run | cluster | computing | waiting | weights, gradients | loading | a step "
    yield "| bound by | samples/s |\n|---|---|--:|--:|--:|--:|--:|---|--:|\n"
    yield from times
    m6 = rates.get(("m6", "m6t-100b", "128xA100-80"))
    clip = rates.get(("clip", "vit-l-14", "128xA100-80"))
    if m6 and clip:
        yield PUBLISHED.format(m6=m6, clip=clip / 128)


if __name__ == "__main__":
    print(HEAD + "".join(lines()), end="")
