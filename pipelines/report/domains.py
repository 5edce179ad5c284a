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
_PLAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
"""A host as nearly all URLs have it: no user, port, capitals, address in brackets or final dot."""
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """The registered domain of a host: `static.example.co.uk` gives `example.co.uk`. Addresses and
    local names stay as they are."""
    return _extract(host).top_domain_under_public_suffix or host


@lru_cache(maxsize=1)
def _suffixes() -> tuple[frozenset[str], frozenset[str]]:
    """Suffixes of one label below which any name is registered (`com`), and the pairs of labels
    (`co.uk`) that end a longer suffix. Of `x.example.com` the last two labels are the domain,
    where `com` is of the first and `example.com` is not of the second."""
    rules = [rule.lstrip("!").split(".") for rule in _extract.tlds]
    wild = {rule[1] for rule in rules if len(rule) == 2 and rule[0] == "*"}
    single = {rule[0] for rule in rules if len(rule) == 1} - wild
    return frozenset(single), frozenset(".".join(rule[-2:]) for rule in rules if len(rule) > 1)


@lru_cache(maxsize=2**18)
def _domain(authority: str) -> str | None:
    """The registered domain of a URL's authority, which may name a user and a port."""
    if _PLAIN.fullmatch(authority):  # as nearly all are, which need no walk through the list
        single, deep = _suffixes()
        _, *pair = (
            authority.rsplit(".", 2) if authority.count(".") > 1 else ("", *authority.split("."))
        )
        if pair[1] in single and (ends := ".".join(pair)) not in deep:
            return ends
    host = _HOST.match(authority)
    return registered_domain(host[1].lower().rstrip(".")) if host else None


def domains_of(urls: pa.Array) -> pa.Array:
    """The registered domain of each URL of a string array, string [n]; null of paths and nulls."""
    parts = pc.split_pattern(urls, "/", max_splits=3)  # "https:", "", "host:port", the rest
    long = pc.fill_null(pc.greater_equal(pc.list_value_length(parts), 3), False)
    parts = parts.filter(long)
    scheme, empty, authority = (pc.list_element(parts, i) for i in range(3))
    absolute = pc.and_(pc.ends_with(scheme, ":"), pc.equal(empty, ""))
    hosts = pc.if_else(absolute, authority, pa.scalar(None, pa.string())).dictionary_encode()
    names = pa.array([_domain(one) for one in hosts.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(pa.nulls(len(urls), pa.string()), long, names.take(hosts.indices))


def count_domains(urls: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many URLs of a string array lie at each registered domain; paths and nulls at none."""
    if isinstance(urls, pa.ChunkedArray):
        urls = urls.combine_chunks() if urls.num_chunks else pa.array([], pa.string())
    return tally(pc.value_counts(domains_of(urls).drop_null()))
