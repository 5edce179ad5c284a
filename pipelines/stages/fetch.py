"""The stage fetch: it fetches the images that the shard plans want and the store lacks.

Three passes: what is missing (plans against the store), the fetch of it, and where the store has
each shard's images. Where a fetch looks like one without a network, a further pass counts hosts. An
image is fetched once for all plans of all later builds with the same settings of the image;
whatever else changes asks the network for nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from septet.pipelines.inputs import ImageRoot, image_roots
from septet.pipelines.stages.counts import HOSTS_WAITING, Counts, under_way
from septet.pipelines.stages.folders import path_of
from septet.pipelines.stages.graphs import map_tasks, shuffle_tasks
from septet.pipelines.stages.located import Choose, LocateTask, ReadChosen, SplitStored
from septet.pipelines.stages.missing import (
    MissingTask,
    Most,
    SplitWanted,
    Subtract,
    missing_of,
    most_slices,
    store_key,
    store_keys,
)
from septet.pipelines.stages.outage import (
    CountHosts,
    OutageError,
    SplitHosts,
    is_suspect,
    outage,
)
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage, digest_of, read_counts
from septet.pipelines.stages.tasks import Task, attempt
from septet.pipelines.store.locations import read_locations
from septet.pipelines.store.store import Store, generation_of, tables_in
from septet.pipelines.store.writer import IMAGES_A_BLOCK, StoreWriter
from septet.preprocess import files
from septet.preprocess.http.client import fetch_many
from septet.schemas.reasons import CLASSES, ReasonClass, class_of
from septet.schemas.recipe import Fetch, Image

_DECODE_THREADS = 2
_TELLING = 200
_DOMINANT = 0.5
_ADVICE = {
    "passing": "is this machine online, or does it ask more than servers bear (`fetch.per_host`, "
    "`fetch.per_host_delay`)? `--retry passing` fetches these images again",
    "network": "the list may be old, or its addresses made for browsers",
    "access": "see `fetch.contact`, `fetch.robots`, `fetch.allowed_hosts`",
}
_IMAGES_A_BUCKET = 500_000
"""The number of images of a bucket, by the plans or by the store, whichever has more: a task holds
their keys."""
_IMAGES_A_GROUP = 1000
_GROUPS = 10_000
_KEY = "S16"
"""A key of the store as an element of an array."""


class FetchStage(Stage):
    """The stage that fetches the images of the shard plans."""

    name = "fetch"
    version = 6
    sections = ("fetch", "image")
    reads = ("plans",)
    gives = ("fetched",)

    @cached_property
    def store(self) -> Store:
        """The fetch store."""
        return Store(self.corpus, self.recipe)

    @cached_property
    def image_roots(self) -> dict[str, ImageRoot]:
        """The folders of images that the build reads, as they were when it began, by label."""
        return image_roots(self.recipe, self.context.inputs, self.context.folder)

    @cached_property
    def _roots(self) -> dict[str, str]:
        return {label: root.digest for label, root in self.image_roots.items()}

    def settings(self) -> dict[str, Any]:
        """The settings that decide what is there: those of the store, and the state of the folders
        of images. How often, how long and how fast servers are asked decides nothing."""
        return {**self.store.identity, "roots": self._roots}

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return self.givers["plans"].keys()

    def passes(self) -> Iterator[Pass]:
        """What is missing, the fetch of it, hosts where that looks bad, and where the store has
        everything."""
        plans, known, shards = self.input("plans"), self.store.known(), list(self.keys())
        planned = self.givers["plans"].require_done().counts.rows_out
        groups = max(1, min(planned // _IMAGES_A_GROUP, _GROUPS))
        folder, tables = self._begin(), self.store.tables()

        def buckets(tables: list[str]) -> int:
            return max(1, -(-max(planned, len(tables) * IMAGES_A_BLOCK) // _IMAGES_A_BUCKET))

        most = most_slices(self.recipe.fetch.per_host, self.context.workers)
        missing = MissingTask(self._cut_parts("missing", most), most, self.recipe.fetch)
        self._remove_other_cuts(missing.outputs(range(groups)).values())
        first = Pass(
            "fetch: missing",
            missing.outputs(range(groups)),
            lambda todo: shuffle_tasks(
                (SplitWanted(plans, known, self._roots, buckets(tables)), Subtract(groups)),
                [*shards, *tables],
                missing,
                todo,
            ),
        )
        yield first

        first.poll()
        self._require_contact(first.total())
        keys, sharing = list[str](), dict[int, int]()
        for group, found in enumerate(read_counts([*first.outputs.values()])):
            keys += (f"{group}.{number}" for number in range(found.other["slices"]))
            sharing[group] = found.other["sharing"]
        if keys:
            self.store.begin()
            task = FetchTask(
                self._cut_parts("fetch_tasks", most),
                missing.output,
                (self.corpus, self.context.folder, folder),
                self.store.sites,
                (self.store.limits, self.store.hashes),
                sharing,
                self.recipe.fetch,
                self.recipe.image,
            )
            stored = StoredSoFar(files.join(self.corpus, folder))
            yield Pass(
                "fetch",
                task.outputs(keys),
                lambda todo: map_tasks(task, todo),
                stored,
                lambda: dominant_failure(stored.total()),
                first.total().rows_in,
            )
            yield from self._require_network(stored.total(), folder, buckets)

        tables = self.store.tables()  # those that were just written besides
        locate = LocateTask(self.parts("fetched"), self.rejects, plans)
        yield Pass(
            "fetch: located",
            locate.outputs(shards),
            lambda todo: shuffle_tasks(
                (
                    SplitStored(plans, known, self._roots, buckets(tables)),
                    Choose(),
                    ReadChosen(known),
                ),
                [*shards, *enumerate(tables)],
                locate,
                todo,
            ),
        )

    def _cut_parts(self, artifact: str, most: Most) -> Parts:
        """The files of an artifact that hold while a group is cut in at most so many slices: a
        resumed build with another `per_host` or number of workers cuts what is left anew."""
        identity = digest_of(self.identity, most, self.recipe.fetch.has_contact)
        return Parts(self.parts(artifact).folder, identity)

    def _require_contact(self, counts: Counts) -> None:
        """Stop before a public host is asked by somebody who cannot be reached.

        Raises:
            ContactError: see there.
        """
        public = counts.other["public"]
        if public and self.recipe.fetch.without_contact == "stop":
            raise ContactError(
                f"fetch: {public:,} images are to be fetched from public hosts, and the recipe "
                "does not say who asks: set `fetch.contact` to a web page or a mail address where "
                "the people who run these servers can reach you, such as `contact: "
                "crawler@example.org`; hosts of your own may stand in `fetch.allowed_hosts`; with "
                "`without_contact: reject` these images are done without"
            )

    def _remove_other_cuts(self, current: Collection[str]) -> None:
        """Remove the lists of missing images that were cut otherwise, for images of them were
        fetched since; before them the marks of their slices, which would be taken for those of
        another cut."""
        folder = self.parts("missing").folder
        paths = [files.join(folder, name) for name, _ in files.walk(folder)]
        if others := [path for path in paths if path not in current]:
            files.remove(self.parts("fetch_tasks").folder)
            for path in others:
                files.remove(path)

    def _begin(self) -> str:
        """Begin a generation of the store, the same after a restart; returns its folder within the
        corpus."""
        path = self._generation_path
        if not files.exists(path):
            files.write_bytes(path, str(self.store.next_generation()).encode())
        return f"{self.store.name}/{int(files.read_bytes(path)):06d}"

    def _require_network(
        self, counts: Counts, generation: str, buckets: Callable[[list[str]], int]
    ) -> Iterator[Pass]:
        """Stop the build where there was no network, or none for most of the time: what failed then
        is no fact, and the next build tries it again. Images that arrived are kept.

        Args:
            counts: Figures of what the generation has.
            generation: Its folder within the corpus.
            buckets: The number of buckets for some tables.

        Yields:
            Where the figures look like those of an outage, a pass that counts hosts.

        Raises:
            OutageError: see there.
        """
        if self.recipe.fetch.outage == "keep" or not is_suspect(counts):
            return
        number = int(generation.rpartition("/")[2])
        tables = [
            table
            for table in self.store.tables()
            if generation_of(table) == number or generation_of(table) not in self.store.outages
        ]
        identity = digest_of(self.identity, tables)
        work = CountHosts(Parts(self.parts("fetch_hosts").folder, identity))
        split = SplitHosts(self.corpus, number, buckets(tables))
        hosts = Pass(
            "fetch: hosts",
            work.outputs(range(split.buckets)),
            lambda todo: shuffle_tasks(split, tables, work, todo),
        )
        yield hosts
        if what := outage(counts, hosts.poll()):
            self.store.retry(("passing",), is_outage=True)
            raise OutageError(
                f"fetch: {what}: is this machine online? What arrived is kept, these failures are "
                "not: build again to try them again, with `fetch.outage: keep` in the recipe where "
                "the servers are really gone"
            )

    @property
    def _generation_path(self) -> str:
        return self._done_path.removesuffix("json") + "generation"

    def current_files(self) -> Iterator[str]:
        """The files of any stage, and the number of the generation."""
        yield from super().current_files()
        yield self._generation_path


class ContactError(ValueError):
    """Raised when public hosts would be asked, and the recipe names no contact."""


class StoredSoFar:
    """The figures of a generation of the store while it grows; called, they are text for people.

    Args:
        folder: The folder of the generation.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._seen: set[str] = set()
        self._total = Counts()
        self._one_at_a_time = threading.Lock()

    def __call__(self) -> str:
        """How many images it has, failures included."""
        return f"{self.total().rows_in:,} images stored"

    def total(self) -> Counts:
        """The sum of its tables' figures; each table is read once, whichever thread asks."""
        with self._one_at_a_time:
            names = [name for name in tables_in(self._folder) if name not in self._seen]
            found = read_counts([files.join(self._folder, name) for name in names])
            for name, counts in zip(names, found, strict=True):
                self._seen.add(name)
                self._total.add(counts)
            return Counts.sum([self._total])


def dominant_failure(counts: Counts) -> str | None:
    """A warning where most images fail for reasons of one class; None where that is not so, or
    where there are too few of them to tell."""
    if counts.rows_in < _TELLING:
        return None
    by_class: Counter[ReasonClass] = Counter()
    for reason, count in counts.rejected.items():
        by_class[class_of(reason)] += count
    # Some answers of the class `network` may pass: the writer has counted them.
    extra = counts.other["passing"] - by_class["passing"]
    by_class += Counter({"passing": extra, "network": -extra})
    for name, count in by_class.most_common(1):
        if count > _DOMINANT * counts.rows_in:
            top = ", ".join(f"{reason} {n:,}" for reason, n in counts.rejected.most_common(3))
            return (
                f"fetch, class {name}: most images fail for its reasons, {count:,} of "
                f"{counts.rows_in:,} so far ({top}): {CLASSES[name]}; "
                f"{_ADVICE.get(name, 'docs/reasons.md has what they mean')}"
            )
    return None


class FetchTask(Task):
    """The task that fetches the images of one slice into the store.

    Args:
        output: Marks of complete tasks, with their figures.
        missing: The lists of images that are to be fetched.
        where: The corpus folder, the recipe's folder, and the generation's folder in the corpus.
        sites: See `Store.sites`.
        asked: `Store.limits` and `Store.hashes`.
        sharing: How many slices of each group ask the same hosts.
        fetch, image: Sections of the recipe.
    """

    stage = "fetch"
    apart = True

    def __init__(
        self,
        output: Parts,
        missing: Parts,
        where: tuple[str, str, str],
        sites: str,
        asked: tuple[dict[str, Any], tuple[str, ...]],
        sharing: dict[int, int],
        fetch: Fetch,
        image: Image,
    ):
        self.output, self.missing, self.asked, self.sharing = output, missing, asked, sharing
        self.corpus, self.folder, self.generation = where
        self.sites = sites
        self.fetch, self.image = fetch, image

    def run(self, key: Key) -> Counts:
        """Store the slice's images, then the mark. What an earlier attempt stored is not fetched
        again; where one crashed, was killed or failed, each image is decoded apart, so that an
        image that crashes a decoder is lost alone."""
        name = self.path(key).rpartition("/")[2].removesuffix(".parquet")
        mark = path_of(files.join(self.corpus, self.generation), f"{name}.begun")
        with attempt(mark, until_done=True) as again:
            return self._run(key, name, again)

    def _run(self, key: Key, name: str, apart: bool) -> Counts:
        counts, stored = self._earlier(name) if apart else (Counts(), np.empty(0, _KEY))
        share = self.sharing[int(str(key).split(".")[0])]
        limits, hashes = self.asked
        generation = self.corpus, self.generation
        hosts = Counts()
        with (
            StoreWriter(*generation, name, limits, self.image, hashes, apart) as writer,
            under_way(counts, writer.counts, hosts),
        ):
            for part in missing_of(self.missing, key):
                keys = [store_key(row["image_url"], row["digest"]) for row in part]
                there = _are_among(np.array(keys, _KEY), stored)
                rows = [row for row, known in zip(part, there, strict=True) if not known]
                held = [row for row in rows if row["input"] is not None]
                for got, digest in read_locations(held, self.folder, self.fetch):
                    writer.put(got, digest)
                away = [str(row["image_url"]) for row in rows if row["input"] is None]
                if away:
                    stray = fetch_many(
                        away, self.fetch, writer.put, _DECODE_THREADS, share, self.sites,
                        partial(hosts.other.__setitem__, HOSTS_WAITING),
                    )  # fmt: skip
                    counts.other["connections_with_stray_bytes"] += stray
        counts.add(writer.counts)
        files.write_table(self.path(key), pa.table({}), metadata=counts.to_metadata())
        return counts

    def _earlier(self, name: str) -> tuple[Counts, np.ndarray]:
        """The figures, and the keys in ascending order, of what earlier attempts at this task have
        stored before they were killed."""
        folder = path_of(files.join(self.corpus, self.generation), name).rpartition("/")[0]
        counts, stored = Counts(), [np.empty(0, _KEY)]
        for table in files.list_folder(folder):
            if table.startswith(f"{name}-") and table.endswith(".parquet"):
                path = files.join(folder, table)
                counts.add(Counts.from_metadata(files.read_table_metadata(path)[1]))
                keys = store_keys(files.read_table(path, ["image_url", "digest"]))
                stored.append(keys.view(_KEY).ravel())
        return counts, np.sort(np.concatenate(stored))


def _are_among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each key is among known ones, which ascend; bool [n]."""
    if not len(known):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.asarray(known[at] == keys)
