"""Outages: whether what failed in a fetch is a fact of the images, or this machine was cut off.

A host that failed in an earlier generation of the store, in which there was a network, and fails
again tells nothing of the network now; hosts that are new or were alive do. Hosts are counted by a
shuffle of their hashes over the tables of the store, and only where the figures look bad.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Split
from septet.pipelines.stages.stage import Parts
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.store import generation_of
from septet.pipelines.store.writer import SILENT
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, by_bucket, hash64
from septet.schemas.reasons import class_of

_URLS = 5
_SHARE = 0.9
_HOSTS = 5
_SILENT_SHARE = 0.5
_HOST = np.dtype([("host", "<u8"), ("now", "?"), ("best", "u1")])
"""A host: a hash of its name and port, whether it was asked now or in an earlier generation, and
the best that came of it."""
_NO_ANSWER, _MAY_PASS, _ANSWERED = range(3)
"""What came of a host: no answer, answers alone that say "not now", or an image or a failure that
lasts."""


class OutageError(ConnectionError):
    """Raised when so much failed for reasons of the network or of this machine that it says nothing
    of the images: none arrived and nearly all may pass, or most hosts gave no answer at all."""


def nothing_arrived(counts: Counts) -> bool:
    """Whether no image arrived, and nearly all failures may pass."""
    asked, passing = counts.other["asked"], counts.other["passing"]
    return asked >= _URLS and not counts.rows_out and passing > _SHARE * asked


def is_suspect(counts: Counts) -> bool:
    """Whether the figures of a fetch look like those of an outage, so that hosts are counted."""
    unanswered = counts.other["unanswered"]
    return nothing_arrived(counts) or unanswered > _SILENT_SHARE * counts.other["asked"]


def outage(counts: Counts, hosts: Counts) -> str | None:
    """What shows that there was no network, or none for most of the time; None where nothing does.

    Hosts that are known to fail do not count. One host that is gone is no outage, however many URLs
    it has, where another gave an image; nor is a share of dead hosts such as any old list has.

    Args:
        counts: Figures of all that was fetched.
        hosts: Figures of `CountHosts`.
    """
    asked = counts.other["asked"]
    fresh, silent = hosts.other["hosts"], hosts.other["silent"]
    reasons = ", ".join(f"{name} {n:,}" for name, n in counts.rejected.most_common(3))
    if nothing_arrived(counts) and fresh:
        return (
            f"none of {asked:,} images arrived, and {counts.other['passing']:,} failed for reasons "
            f"that may pass ({reasons})"
        )
    if is_suspect(counts) and fresh >= _HOSTS and silent > _SILENT_SHARE * fresh:
        return (
            f"{counts.other['unanswered']:,} of {asked:,} images got no answer, and {silent:,} of "
            f"{fresh:,} hosts gave none at all ({reasons})"
        )
    return None


class SplitHosts(Split):
    """The step that sends the hosts of a table of the store to the buckets of their hashes.

    Args:
        corpus: The corpus folder.
        generation: The number of the generation that is judged.
        buckets: The number of ranges.
    """

    stage = "hosts"

    def __init__(self, corpus: str, generation: int, buckets: int):
        self.corpus, self.generation, self.buckets = corpus, generation, buckets

    def split(self, table: str) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, records); the task is a path of a table."""
        columns = ["image_url", "reason", "value", "digest"]
        rows = files.read_table(files.join(self.corpus, table), columns)
        rows = rows.filter(pc.is_null(rows["digest"]))
        best: dict[str, int] = {}
        for url, reason, value in zip(
            *(rows[name].to_pylist() for name in columns[:3]), strict=True
        ):
            host = urlsplit(url).netloc.rpartition("@")[2].lower()
            best[host] = max(best.get(host, _NO_ANSWER), _outcome(reason, value))
        found = np.zeros(len(best), _HOST)
        found["host"] = [hash64(host, b"septet.host") for host in best]
        found["now"] = generation_of(table) == self.generation
        found["best"] = list(best.values())
        for bucket, mine in by_bucket(bucket_of(found["host"], self.buckets)):
            yield bucket, found[mine].tobytes()


def _outcome(reason: str | None, value: str | None) -> int:
    if reason in SILENT:
        return _NO_ANSWER
    return _MAY_PASS if reason and class_of(reason, value) == "passing" else _ANSWERED


class CountHosts(Task):
    """The task that counts the hosts of one bucket: `hosts` that were asked now and are not known
    to fail, and the `silent` ones of them, which gave no answer.

    A host is known to fail if it was asked in earlier generations and never gave anything that
    lasts.

    Args:
        output: Marks of complete tasks, with their figures.
    """

    stage = "fetch"

    def __init__(self, output: Parts):
        self.output = output

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write the figures."""
        found = np.frombuffer(b"".join(parts), _HOST)
        asked, best = _best(found[found["now"]])
        known, before = _best(found[~found["now"]])
        fresh = ~np.isin(asked, known[before < _ANSWERED])
        counts = Counts(rows_in=len(asked), rows_out=len(asked))
        counts.other["hosts"] = int(fresh.sum())
        counts.other["silent"] = int((fresh & (best == _NO_ANSWER)).sum())
        files.write_table(self.path(bucket), pa.table({}), metadata=counts.to_metadata())
        return counts


def _best(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each host once, ascending, with the best that came of it."""
    hosts, at = np.unique(records["host"], return_inverse=True)
    best = np.zeros(len(hosts), np.uint8)
    np.maximum.at(best, at, records["best"])
    return hosts, best
