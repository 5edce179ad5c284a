"""Domains of hosts: listed ones, and registered ones by the public suffix list that tldextract
ships."""

import re
from collections.abc import Container
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import tldextract

from septet.preprocess.urls import UrlError, resolve

_PLAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^:/?#]+)"
_NOT_OF_HOSTS = re.compile(r"[\s/\\@:?#]")

# Without addresses of lists nothing is ever fetched.
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def domain_name(text: str) -> str:
    """A domain as the URLs of builds spell it: `*.Müller.example.` gives `xn--mller-kva.example`.

    Raises:
        ValueError: it is none.
    """
    domain = text.strip().lower().rstrip(".").removeprefix("*.")
    if _PLAIN.fullmatch(domain):
        return domain
    with suppress(UrlError):
        if not _NOT_OF_HOSTS.search(domain):
            return urlsplit(resolve(f"http://{domain}/")).netloc
    raise ValueError(f"{text!r} is no domain: write example.org")


def domains_among(urls: pa.Array, some: Container[str]) -> pa.Array:
    """The one of some domains, in lower case, that each URL's host is or lies below, string [n]; of
    several the longest, null where there is none."""
    hosts = pc.struct_field(pc.extract_regex(urls, _HOST), [0]).dictionary_encode()
    found = [_first_among(host.lower(), some) for host in hosts.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(hosts.indices)


def _first_among(host: str, some: Container[str]) -> str | None:
    labels = host.rstrip(".").split(".")
    names = (".".join(labels[i:]) for i in range(len(labels)))
    return next((name for name in names if name in some), None)


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """The registered domain of a host: `static.example.co.uk` gives `example.co.uk`. Addresses and
    local names stay as they are."""
    return _extract(host).top_domain_under_public_suffix or host
