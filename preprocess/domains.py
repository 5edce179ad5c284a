"""Registered domains of hosts, by the public suffix list that tldextract ships."""

from functools import lru_cache

import tldextract

# Without addresses of lists nothing is ever fetched.
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """The registered domain of a host: `static.example.co.uk` gives `example.co.uk`. Addresses and
    local names stay as they are."""
    return _extract(host).top_domain_under_public_suffix or host
