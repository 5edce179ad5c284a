"""Registered domains of hosts, by the public suffix list that tldextract ships."""

import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

import tldextract

from septet.preprocess.urls import UrlError, resolve

_PLAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
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


@lru_cache(maxsize=2**18)
def registered_domain(host: str) -> str:
    """The registered domain of a host: `static.example.co.uk` gives `example.co.uk`. Addresses and
    local names stay as they are."""
    return _extract(host).top_domain_under_public_suffix or host
