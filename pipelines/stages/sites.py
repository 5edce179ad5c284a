"""The survey of sites: in which languages the texts are of sites that declare one. It decides what
a declared language weighs in the stage filter.

Long texts go to the bucket of their site, as hashes with the language that each is in; a worker
holds some ten thousand of them, or the texts of a bucket, of each site at most as many as are
looked at.
"""

import json
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Split
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, by_bucket
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.sites import (
    SITES,
    TEXT_LANGUAGES,
    TEXTS,
    Shares,
    SiteLanguages,
    count_sites,
    least_texts,
    long_texts,
    site_keys,
    with_languages,
)

ROWS_A_BUCKET = 2_000_000
"""How many candidates a bucket is for: few of them are long, declared and distinct."""

ModelFile = tuple[str | None, str | None]
"""The path and the digest of a language model; of None the one that ships with Septet."""

_ROWS_READ = 65_536
_TEXTS_GATHERED = 65_536
_SHARES = "septet.shares"


class SplitTexts(Split):
    """The step that sends a part's long texts, with the language of each, to the bucket of their
    site."""

    stage = "split"

    def __init__(self, candidates: Parts, buckets: int, model: ModelFile):
        self.candidates, self.buckets, self.model = candidates, buckets, model

    def setup(self) -> None:
        """Load the model."""
        language_model(*self.model)

    def split(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, rows of `TEXT_LANGUAGES`)."""
        gathered = TEXTS.empty_table()
        columns = ["id", "caption", "page_url", "page_language"]
        for rows in _batches(self.candidates.path(key), columns):
            gathered = pa.concat_tables([gathered, long_texts(rows)])
            if len(gathered) >= _TEXTS_GATHERED:
                gathered = least_texts(gathered)
                if len(gathered) >= _TEXTS_GATHERED // 2:
                    yield from self._pieces(gathered)
                    gathered = TEXTS.empty_table()
        yield from self._pieces(least_texts(gathered))

    def _pieces(self, texts: pa.Table) -> Iterator[tuple[int, bytes]]:
        found = with_languages(texts, language_model(*self.model))
        for bucket, rows in by_bucket(bucket_of(found["key"].to_numpy(), self.buckets)):
            yield bucket, to_ipc(found.take(rows), TEXT_LANGUAGES)


class SitesTask(Task):
    """The task that counts the languages of the sites of one bucket."""

    stage = "sites"

    def __init__(self, output: Parts):
        self.output = output

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write the sites of the bucket."""
        texts = pa.concat_tables(
            [TEXT_LANGUAGES.empty_table(), *(from_ipc(part, TEXT_LANGUAGES) for part in parts)]
        )
        sites = count_sites(texts)
        counts = Counts(rows_in=len(texts), rows_out=len(sites))
        files.write_table(self.path(bucket), sites, metadata=counts.to_metadata())
        return counts


class GatherSitesTask(Task):
    """The task that brings the sites of all buckets together, with the shares over all sites."""

    stage = "all sites"

    def __init__(self, output: Parts, buckets: list[str]):
        self.output, self.buckets = output, buckets

    def run(self, key: Key) -> Counts:
        """Copy the files one after the other, and add the shares up."""
        shares = Shares()
        with files.open_atomic(self.path(key)) as out, files.TableSink(out, SITES) as sink:
            for path in self.buckets:
                sites = files.read_table(path)
                shares.add(sites)
                sink.write(sites)
            counts = Counts(rows_in=sink.rows, rows_out=sink.rows)
            sink.close({**counts.to_metadata(), _SHARES: json.dumps(shares.to_dict())})
        return counts


def site_languages(sites: str, candidates: str) -> SiteLanguages:
    """What is known of the sites of some candidates.

    Args:
        sites: What `GatherSitesTask` wrote.
        candidates: The candidates, a Parquet file.
    """
    keys = np.array([], np.uint64)
    for rows in _batches(candidates, ["page_url", "page_language"]):
        keys = np.union1d(keys, site_keys(rows)[0])
    wanted = pa.array(keys)
    _, metadata = files.read_table_metadata(sites)
    found = [rows.filter(pc.is_in(rows["key"], value_set=wanted)) for rows in _batches(sites, None)]
    return SiteLanguages(json.loads(metadata[_SHARES.encode()]), found)


def _batches(path: str, columns: list[str] | None) -> Iterator[pa.Table]:
    with files.open_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_READ, columns=columns):
            yield pa.Table.from_batches([batch])
