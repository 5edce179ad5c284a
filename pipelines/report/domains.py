"""Registered domains of URLs, by the public suffix list that tldextract carries (never fetched)."""

from collections import Counter
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import tldextract

from pipelines.report.measures import tally

_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:]+)"
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """`static.example.co.uk` as `example.co.uk`; addresses and local names as they are."""
    return _extract(host).top_domain_under_public_suffix or host


def count_domains(urls: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many URLs of a string array lie at each registered domain; paths and nulls at none."""
    hosts = pc.struct_field(pc.extract_regex(urls, pattern=_HOST), "host")
    counts: Counter[str] = Counter()
    for host, count in tally(pc.value_counts(pc.utf8_lower(hosts))).items():
        if host:
            counts[registered_domain(host.rstrip("."))] += count
    return counts
