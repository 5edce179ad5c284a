"""The rule about the registered domains of pages and images."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.domains import domain_name, registered_domain
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.lists import made_of
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter

_HOST = r"^(?i:https?)://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:@]*)"


def domain(captions: Captions, settings: Filter) -> Verdict:
    """Rows whose page or image is on one of `deny_domains`, or, where there are `allow_domains`,
    neither of whose is on one of these."""
    page, image = (domains_of(captions.table[name]) for name in ("page_url", "image_url"))
    failed = np.zeros(len(captions), bool)
    if settings.allow_domains:
        allowed = made_of(settings.allow_domains, _names)
        failed = ~(_among(page, allowed) | _among(image, allowed))
    if settings.deny_domains:
        denied = made_of(settings.deny_domains, _names)
        failed |= _among(page, denied) | _among(image, denied)
    both = pc.binary_join_element_wise(pc.fill_null(page, ""), pc.fill_null(image, ""), " ")
    return Verdict(pa.array(failed), pc.utf8_trim_whitespace(both))


def _names(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(domain_name, given))


def _among(domains: pa.Array, some: frozenset[str]) -> np.ndarray:
    """Whether each domain is one of some, bool [n]."""
    coded = domains.dictionary_encode()
    found = np.array([name in some for name in coded.dictionary.to_pylist()] + [False])
    return found[coded.indices.fill_null(len(found) - 1).to_numpy(zero_copy_only=False)]


def domains_of(urls: pa.ChunkedArray) -> pa.Array:
    """The registered domain of each URL, string [n]; null where there is none."""
    column = urls.combine_chunks() if isinstance(urls, pa.ChunkedArray) else urls
    hosts = pc.utf8_lower(pc.struct_field(pc.extract_regex(column, _HOST), "host"))
    coded = hosts.dictionary_encode()
    names = np.array([registered_domain(host) for host in coded.dictionary.to_pylist()], object)
    return pa.array(names, pa.string()).take(coded.indices)
