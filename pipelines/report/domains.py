"""Registered domains of URLs, by the public suffix list that tldextract ships (it is never
downloaded)."""

import re
from collections import Counter
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import tldextract

from septet.pipelines.report.measures import tally

_HOST = re.compile(r"(?:[^?#@]*@)?(\[[^\]?#]*\]|[^?#:]+)")
_PLAIN = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$"
"""A host as nearly all URLs have it: no user, port, capitals, address in brackets or final dot."""
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """The registered domain of a host: `static.example.co.uk` gives `example.co.uk`. Addresses and
    local names stay as they are."""
    return _extract(host).top_domain_under_public_suffix or host


@lru_cache(maxsize=1)
def _suffixes() -> tuple[pa.Array, pa.Array]:
    """Suffixes of one label below which any name is registered (`com`), and the pairs of labels
    (`co.uk`) that end a longer suffix. Of `x.example.com` the last two labels are the domain,
    where `com` is of the first and `example.com` is not of the second."""
    rules = [rule.lstrip("!").split(".") for rule in _extract.tlds]
    wild = {rule[1] for rule in rules if len(rule) == 2 and rule[0] == "*"}
    single = {rule[0] for rule in rules if len(rule) == 1} - wild
    return pa.array(sorted(single)), pa.array(
        sorted({".".join(rule[-2:]) for rule in rules if len(rule) > 1})
    )


def count_domains(urls: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many URLs of a string array lie at each registered domain; paths and nulls at none."""
    if isinstance(urls, pa.ChunkedArray):
        urls = urls.combine_chunks() if urls.num_chunks else pa.array([], pa.string())
    parts = pc.split_pattern(urls, "/", max_splits=3)  # "https:", "", "host:port", the rest
    parts = parts.filter(pc.greater_equal(pc.list_value_length(parts), 3))
    scheme, empty, authority = (pc.list_element(parts, i) for i in range(3))
    absolute = pc.and_(pc.ends_with(scheme, ":"), pc.equal(empty, ""))
    hosts = authority.filter(absolute)
    # Nearly all are counted by Arrow, by their last two labels; the others one by one.
    labels = pc.extract_regex(hosts, r"(?P<pair>[^.]+\.(?P<top>[^.]+))$")
    ends, top = pc.struct_field(labels, [0]), pc.struct_field(labels, [1])
    single, deep = _suffixes()
    simple = pc.fill_null(
        pc.and_(
            pc.match_substring_regex(hosts, _PLAIN),
            pc.and_(pc.is_in(top, value_set=single), pc.invert(pc.is_in(ends, value_set=deep))),
        ),
        False,
    )
    counts: Counter[str] = tally(pc.value_counts(ends.filter(simple)))
    for found, count in tally(pc.value_counts(hosts.filter(pc.invert(simple)))).items():
        if host := _HOST.match(found):
            counts[registered_domain(host[1].lower().rstrip("."))] += count
    return counts
