"""The rule about the domains of pages and images."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.domains import domain_name, domains_among, registered_domain
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.lists import made_of
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter

_HOST = r"^(?i:https?)://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:@]*)"


def domain(captions: Captions, settings: Filter) -> Verdict:
    """Rows whose page or image is on one of `deny_domains` or below, or, where there are
    `allow_domains`, neither of whose is on one of these or below."""
    urls = [captions.table[name].combine_chunks() for name in ("page_url", "image_url")]
    failed = pa.repeat(False, len(captions))
    if settings.allow_domains:
        failed = pc.invert(_on(urls, made_of("allow_domains", settings, _names)))
    if settings.deny_domains:
        failed = pc.or_(failed, _on(urls, made_of("deny_domains", settings, _names)))
    both = (pc.fill_null(domains_of(one), "") for one in urls)
    return Verdict(failed, pc.utf8_trim_whitespace(pc.binary_join_element_wise(*both, " ")))


def _names(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(domain_name, given))


def _on(urls: Sequence[pa.Array], some: frozenset[str]) -> pa.Array:
    """Whether one of the URLs of each row is on one of some domains, bool [n]."""
    page, image = (pc.is_valid(domains_among(one, some)) for one in urls)
    return pc.or_(page, image)


def domains_of(urls: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The registered domain of each URL, string [n]; null where there is none."""
    column = urls.combine_chunks() if isinstance(urls, pa.ChunkedArray) else urls
    hosts = pc.utf8_lower(pc.struct_field(pc.extract_regex(column, _HOST), "host"))
    coded = hosts.dictionary_encode()
    names = [registered_domain(host) for host in coded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(coded.indices)
