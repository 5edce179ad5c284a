"""The survey of sites: in which languages the texts are of sites that declare one. It decides what
a declared language weighs in the stage filter.

The long texts of an input are told once. They go to the bucket of their site, as hashes with the
language that each is in; a worker holds some ten thousand of them, or the texts of a bucket, of
each site at most as many as are looked at. What is found is handed to each input by itself, its own
sites and declared languages alone, under a name that is a digest of it: so another input changes
nothing for one whose sites it says nothing new of.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, shuffle_tasks
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts, Pass, digest_of
from septet.pipelines.stages.tasks import SendingTask, Task
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, by_bucket
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.sites import (
    PRIORS,
    TEXT_LANGUAGES,
    TEXTS,
    Shares,
    SiteLanguages,
    count_sites,
    least_texts,
    long_texts,
    prior_rows,
    site_keys,
    site_priors,
    usual_priors,
    with_languages,
)

VERSION = 1
"""Raised when the code changes what the survey finds."""

_ROWS_A_BUCKET = 2_000_000
"""How many candidates a bucket is for: few of them are long, declared and distinct."""

_INPUTS_A_GROUP = 64
"""How many inputs are handed their sites by one task, which goes through those of all inputs."""

ModelFile = tuple[str | None, str | None]
"""The path and the digest of a language model; of None the one that ships with Septet."""

_ROWS_READ = 65_536
_TEXTS_GATHERED = 65_536
_DIGESTS = pa.schema([("digest", pa.string())])


class Survey:
    """The survey of the sites of a build's inputs.

    Args:
        folder: The folder of the artifacts.
        candidates: The candidates, one file an input.
        inputs: The keys of the inputs.
        model: The language model.
    """

    def __init__(self, folder: str, candidates: Parts, inputs: Sequence[Key], model: ModelFile):
        self.candidates, self.inputs, self.model = candidates, list(inputs), model
        by_input = digest_of("survey", VERSION, model[1], candidates.identity)
        of_all = digest_of(by_input, self.inputs)
        self._texts = Parts(files.join(folder, "site_texts"), by_input)
        self._sites = Parts(files.join(folder, "sites"), of_all)
        self._all = Parts(files.join(folder, "all_sites"), of_all)
        self._digests = Parts(files.join(folder, "prior_digests"), of_all)
        self.priors = Parts(files.join(folder, "priors"), "")
        """What is known of the sites of an input, by its digest."""

    def passes(self, rows: int) -> Iterator[Pass]:
        """The pass that is needed, if any.

        Args:
            rows: The rows of all candidates.
        """
        groups = {
            number: self.inputs[start : start + _INPUTS_A_GROUP]
            for number, start in enumerate(range(0, len(self.inputs), _INPUTS_A_GROUP))
        }
        hand = PriorsTask(self._digests, self.priors, self._texts, self._all.path(0), groups)
        if all(map(files.exists, hand.outputs(groups).values())):
            return
        buckets = max(1, -(-rows // _ROWS_A_BUCKET))
        texts = TextsTask(self._texts, self.candidates, self.model, buckets)
        steps = (texts, FindSites(self._sites), GatherSites(self._sites, self._all.path(0)))
        yield Pass(
            "filter: sites",
            texts.outputs(self.inputs) | hand.outputs(groups),
            lambda _: shuffle_tasks(steps, self.inputs, hand, [*groups]),
        )

    @cached_property
    def digests(self) -> list[str]:
        """A digest of what is known of the sites of each input; the passes must be complete."""
        groups = range(-(-len(self.inputs) // _INPUTS_A_GROUP))
        found = [files.read_table(self._digests.path(group))["digest"] for group in groups]
        return [digest for column in found for digest in column.to_pylist()]

    def current_files(self) -> Iterator[str]:
        """Paths of the files that this build needs, and the next one with another input."""
        yield from map(self._texts.path, self.inputs)
        yield from map(self._digests.path, range(-(-len(self.inputs) // _INPUTS_A_GROUP)))
        yield from map(self.priors.path, self.digests)


class TextsTask(SendingTask):
    """The task that tells the languages of an input's long texts, and lists its sites; the texts go
    to the buckets of their sites."""

    stage = "texts"

    def __init__(self, output: Parts, candidates: Parts, model: ModelFile, buckets: int):
        self.output, self.candidates, self.model = output, candidates, model
        self.buckets = buckets

    def setup(self) -> None:
        """Load the model."""
        language_model(*self.model)

    def run(self, key: Key) -> Counts:
        """Write the texts, and a row without a text for each site and declared language."""
        columns = ["id", "caption", "page_url", "page_language"]
        gathered, known, counts = TEXTS.empty_table(), _sites_of(None), Counts()
        with files.open_atomic(self.path(key)) as out, files.TableSink(out, TEXT_LANGUAGES) as sink:
            for rows in _batches(self.candidates.path(key), columns):
                counts.rows_in += len(rows)
                known = _sites_of(pa.concat_tables([known, _declared_sites(rows)]))
                gathered = pa.concat_tables([gathered, long_texts(rows)])
                if len(gathered) >= _TEXTS_GATHERED:
                    gathered = least_texts(gathered)
                    if len(gathered) >= _TEXTS_GATHERED // 2:
                        sink.write(with_languages(gathered, language_model(*self.model)))
                        gathered = TEXTS.empty_table()
            sink.write(with_languages(least_texts(gathered), language_model(*self.model)))
            counts.rows_out = sink.rows
            known = known.sort_by([(name, "ascending") for name in _SITE])
            for field in list(TEXT_LANGUAGES)[2:]:
                known = known.append_column(field, pa.nulls(len(known), field.type))
            sink.write(known)
            sink.close(counts.to_metadata())
        return counts

    def sent(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, rows of `TEXT_LANGUAGES`), and one part at least."""
        yield 0, b""
        for rows in _batches(self.path(key), None):
            texts = rows.filter(pc.is_valid(rows["text_hash"]))
            for bucket, found in by_bucket(bucket_of(texts["key"].to_numpy(), self.buckets)):
                yield bucket, to_ipc(texts.take(found), TEXT_LANGUAGES)


class FindSites(Regroup):
    """The step that counts the languages of the sites of one bucket, and writes them: all sites
    together may be more than a process holds."""

    stage = "sites"

    def __init__(self, sites: Parts):
        self.sites = sites

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (0, number of the bucket)."""
        if not files.exists(self.sites.path(bucket)):
            found = [from_ipc(part, TEXT_LANGUAGES) for part in parts if part]
            texts = pa.concat_tables([TEXT_LANGUAGES.empty_table(), *found])
            files.write_table(self.sites.path(bucket), count_sites(texts))
        yield 0, str(bucket).encode()


class GatherSites(Regroup):
    """The step that learns the priors of all sites: first what is usual over all of them, then each
    one's own. They go into one file, which the next step reads."""

    stage = "all sites"

    def __init__(self, sites: Parts, output: str):
        self.sites, self.output = sites, output

    def regroup(self, group: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Write the priors, a bucket at a time; yields nothing."""
        if not files.exists(self.output):
            buckets = [self.sites.path(bucket) for bucket in sorted(map(int, parts))]
            shares = Shares()
            for path in buckets:
                shares.add(files.read_table(path))
            usual = usual_priors(shares.to_dict())
            with files.open_atomic(self.output) as out, files.TableSink(out, PRIORS) as sink:
                sink.write(prior_rows({(0, declared): prior for declared, prior in usual.items()}))
                for path in buckets:
                    sink.write(prior_rows(site_priors(files.read_table(path), usual)))
                sink.close({})
        return ()


class PriorsTask(Task):
    """The task that hands the inputs of a group what is known of their sites.

    Args:
        output: The digests, one an input.
        priors: What is known, by its digest: files of the same name have the same content.
        texts: The sites of each input.
        all_sites: The priors of all sites.
        groups: The keys of the inputs of each group.
    """

    stage = "priors"

    def __init__(
        self,
        output: Parts,
        priors: Parts,
        texts: Parts,
        all_sites: str,
        groups: dict[int, list[Key]],
    ):
        self.output, self.priors, self.texts = output, priors, texts
        self.all_sites, self.groups = all_sites, groups

    def run(self, group: int, parts: list[bytes]) -> Counts:
        """Write what each input is handed, then the digests of the group; nothing is sent to it."""
        inputs = self.groups[group]
        sites = [_sites_of(files.read_table(self.texts.path(key))) for key in inputs]
        every = _sites_of(pa.concat_tables(sites))
        found = [_of_sites(rows, every) for rows in _batches(self.all_sites, None)]
        known = pa.concat_tables([PRIORS.empty_table(), *found])
        digests = [self._hand(_of_sites(known, own)) for own in sites]
        counts = Counts(rows_in=len(inputs), rows_out=len(inputs))
        table = pa.table({"digest": digests}, schema=_DIGESTS)
        files.write_table(self.path(group), table, metadata=counts.to_metadata())
        return counts

    def _hand(self, known: pa.Table) -> str:
        known = known.sort_by([(name, "ascending") for name in ("key", "declared", "language")])
        digest = digest_of(known.to_pydict())
        if not files.exists(self.priors.path(digest)):
            files.write_table(self.priors.path(digest), known)
        return digest


def site_languages(priors: str) -> SiteLanguages:
    """What is known of the sites of an input, as `PriorsTask` wrote it."""
    return SiteLanguages(files.read_table(priors))


def _declared_sites(rows: pa.Table) -> pa.Table:
    keys, declared = site_keys(rows)
    table = pa.table([pa.array(keys), declared], names=_SITE)
    return table.filter(pc.is_valid(table["declared"]))


_SITE = ["key", "declared"]


def _sites_of(rows: pa.Table | None) -> pa.Table:
    """The distinct keys and declared languages of rows."""
    if rows is None:
        return pa.schema([TEXTS.field(name) for name in _SITE]).empty_table()
    return rows.select(_SITE).group_by(_SITE).aggregate([])


def _of_sites(priors: pa.Table, sites: pa.Table) -> pa.Table:
    """The priors of some sites, and what is usual for their declared languages."""
    own = pc.is_in(priors["key"], value_set=sites["key"].combine_chunks())
    usual = pc.and_(
        pc.equal(priors["key"], pa.scalar(0, pa.uint64())),
        pc.is_in(priors["declared"], value_set=sites["declared"].combine_chunks()),
    )
    return priors.filter(pc.or_(own, usual))


def _batches(path: str, columns: list[str] | None) -> Iterator[pa.Table]:
    with files.open_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_READ, columns=columns):
            yield pa.Table.from_batches([batch])
