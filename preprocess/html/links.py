"""The address of an `<img>` element's image, found among its attributes."""

import re
from collections.abc import Mapping

from septet.preprocess.urls import is_placeholder

# Attributes that lazy-loading scripts copy into `src`, commonest first.
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-url", "data-img")
_SETS = ("data-srcset", "data-lazy-srcset", "srcset")
_BLANK = re.compile(
    r"(?:^|[/_.-])(?:blank|spacer|pixel|transparent|clear|empty|placeholder|loading|loader|lazy"
    r"|spinner|dummy|trans|1x1|grey|gray)[^/]*\.(?:gif|png|svg|jpe?g|webp)(?:[?#].*)?$",
    re.IGNORECASE,
)
_LAZY_CLASS = re.compile(r"(?:^|\s)(?:b-)?lazy(?:load(?:ed|ing)?|-load|-image)?(?:\s|$)", re.I)


def image_link(attributes: Mapping[str, str | None]) -> str | None:
    """Find the link to an image's pixels, past the placeholders of lazy loading.

    `src` is taken unless it is a placeholder (absent, `data:`, "#", "undefined", a blank image by
    its name) or the element says by its class that a script will replace it; then the first other
    attribute that holds an address. Where none does, `src` as it is.

    Returns:
        The link as written; None for an element without any.
    """
    src = (attributes.get("src") or "").strip()
    is_lazy = _LAZY_CLASS.search(attributes.get("class") or "") is not None
    if src and not is_lazy and not _is_no_address(src) and not _BLANK.search(src):
        return src
    for name in _LAZY:
        link = (attributes.get(name) or "").strip()
        if link and not _is_no_address(link):
            return link
    for name in _SETS:
        for link in candidates(attributes.get(name) or ""):
            if not _is_no_address(link):
                return link
    return src or None


def candidates(srcset: str) -> list[str]:
    """The links of a `srcset`, in order ("a.jpg 1x, b.jpg 2x"; links may hold commas)."""
    links: list[str] = []
    for word in re.split(r"\s+", srcset.strip()) if len(srcset) < 100_000 else []:
        if not word or re.fullmatch(r"[\d.]+[wxh],?", word):
            continue
        link = word.strip(",")
        # Without descriptors some write "a.jpg, b.jpg" and even "a.jpg,http://b.jpg".
        links += re.split(r",(?=https?://|//)", link) if link else []
    return links


def _is_no_address(link: str) -> bool:
    return link[:5].lower() == "data:" or is_placeholder(link)
