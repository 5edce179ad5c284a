"""Registered domains of URLs, by the public suffix list that tldextract carries (never fetched)."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.report.measures import tally
from septet.preprocess.domains import registered_domain

_HOST = re.compile(r"(?:[^?#@]*@)?(\[[^\]?#]*\]|[^?#:]+)")


def count_domains(urls: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many URLs of a string array lie at each registered domain; paths and nulls at none."""
    parts = pc.split_pattern(urls, "/", max_splits=3)  # "https:", "", "host:port", the rest
    parts = parts.filter(pc.greater_equal(pc.list_value_length(parts), 3))
    scheme, empty, authority = (pc.list_element(parts, i) for i in range(3))
    absolute = pc.and_(pc.ends_with(scheme, ":"), pc.equal(empty, ""))
    counts: Counter[str] = Counter()
    for found, count in tally(pc.value_counts(authority.filter(absolute))).items():
        if host := _HOST.match(found):
            counts[registered_domain(host[1].lower().rstrip("."))] += count
    return counts
