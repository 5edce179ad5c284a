"""The languages of sites: which languages the long texts of a site are in, beside the one that it
declares, and the priors that follow.

A site is a registered domain; rows without a page count as one site. Formulas are in
`septet.preprocess.text.language.declared`.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.domains import registered_domain
from septet.preprocess.text.ids import hash64, split_ids
from septet.preprocess.text.language.declared import (
    ENOUGH,
    LONG_TEXT,
    MOST_TEXTS,
    Prior,
    default_prior,
    learnt_prior,
    usual_prior,
)
from septet.preprocess.text.language.identify import identify
from septet.preprocess.text.language.model import LanguageModel
from septet.preprocess.text.words import unspaced_letters
from septet.schemas import tables
from septet.schemas.languages import language_code

TEXTS = pa.schema(
    [
        ("key", pa.uint64()), ("declared", pa.string()), ("text_hash", pa.uint64()),
        ("text", pa.string()),
    ]
)  # fmt: skip
"""Long texts with a declared language. `key` is the hash of site and declared language; of `text`
there is as much as is needed."""

TEXT_LANGUAGES = pa.schema([*list(TEXTS)[:-1], ("language", pa.string())])
"""Long texts with the languages that they are in."""

SITES = pa.schema([*list(TEXTS)[:2], ("language", pa.string()), ("texts", pa.int64())])
"""How many of the distinct long texts of a site and declared language are in each language, by
ascending key and language."""

PRIORS = pa.schema([*list(SITES)[:3], ("weight", pa.float64())])
"""Priors of sites, and with key 0 what is usual for a declared language; a row without a language
is for each of the others."""

_MILLION = 1_000_000
_READ = 400


def site_keys(rows: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """The key of the site and declared language of each row, and the declared language; 0 and null
    where none is declared.

    Args:
        rows: With `page_url` and `page_language`.

    Returns:
        uint64 [n], strings [n].
    """
    declared = _each(rows["page_language"], lambda tag: language_code(tag or ""))
    sites = pc.if_else(declared.is_valid(), _each(rows["page_url"], _site), None)
    pairs = pc.binary_join_element_wise(sites, declared, "\0").dictionary_encode()
    codes = np.array([_key(pair) for pair in pairs.dictionary.to_pylist()] + [0], np.uint64)
    return codes[pairs.indices.fill_null(-1).to_numpy()], declared


def long_texts(rows: pa.Table) -> pa.Table:
    """The long texts that have a declared language, as `TEXTS`, in the order of the rows.

    Args:
        rows: With `id`, `caption`, `page_url` and `page_language`.
    """
    length = pc.add(pc.utf8_length(rows["caption"]), unspaced_letters(rows["caption"]))
    rows = rows.filter(
        pc.and_(pc.greater_equal(length, LONG_TEXT), rows["page_language"].is_valid())
    )
    keys, declared = site_keys(rows)
    hashes = split_ids(rows["id"])[1]
    text = pc.utf8_slice_codeunits(rows["caption"].combine_chunks(), 0, _READ)
    found = pa.table([pa.array(keys), declared, pa.array(hashes), text], schema=TEXTS)
    return found.filter(found["declared"].is_valid())


def least_texts(texts: pa.Table) -> pa.Table:
    """The distinct texts of each key, `MOST_TEXTS` of the least hashes, by ascending key and hash.

    What is left does not depend on the order of the rows, nor on whether parts were cut so before.
    """
    keys, hashes = texts["key"].to_numpy(), texts["text_hash"].to_numpy()
    order = np.lexsort((hashes, keys))
    keys, hashes = keys[order], hashes[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (keys[1:] != keys[:-1]) | (hashes[1:] != hashes[:-1])
    order, keys = order[fresh], keys[fresh]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    rank = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    return texts.take(order[rank < MOST_TEXTS])


def with_languages(texts: pa.Table, model: LanguageModel) -> pa.Table:
    """Tell the language of each text, under the usual prior; `TEXTS` to `TEXT_LANGUAGES`."""
    found = [
        identify(text, declared, model=model).code
        for text, declared in zip(
            texts["text"].to_pylist(), texts["declared"].to_pylist(), strict=True
        )
    ]
    texts = texts.drop_columns(["text"])
    return texts.append_column(TEXT_LANGUAGES.field("language"), pa.array(found, pa.string()))


def count_sites(texts: pa.Table) -> pa.Table:
    """Count the languages of sites, `TEXT_LANGUAGES` to `SITES`; sites with fewer than `ENOUGH`
    distinct texts are left out."""
    texts = least_texts(texts)
    counted = texts.group_by(["key", "declared", "language"]).aggregate([("text_hash", "count")])
    counted = counted.rename_columns({"text_hash_count": "texts"})
    whole = counted.group_by("key").aggregate([("texts", "sum")])
    enough = whole.filter(pc.greater_equal(whole["texts_sum"], ENOUGH))["key"]
    kept = counted.filter(pc.is_in(counted["key"], value_set=enough.combine_chunks()))
    return kept.sort_by([("key", "ascending"), ("language", "ascending")]).cast(SITES)


class Shares:
    """The shares of languages over sites, by declared language: each site counts once."""

    def __init__(self) -> None:
        self._shares: dict[str, Counter[str]] = {}

    def add(self, sites: pa.Table) -> None:
        """Add sites; all rows of a site are in the table."""
        whole = Counter[int]()
        rows = sites.select(["key", "declared", "language", "texts"]).to_pylist()
        for row in rows:
            whole[row["key"]] += row["texts"]
        for row in rows:
            share = (
                row["texts"] * _MILLION // whole[row["key"]]
            )  # whole numbers add up in any order
            self._shares.setdefault(row["declared"], Counter())[row["language"]] += share

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Millionths of sites by declared language and language, keys sorted."""
        return {
            declared: dict(sorted(shares.items()))
            for declared, shares in sorted(self._shares.items())
        }


def usual_priors(shares: dict[str, dict[str, int]]) -> dict[str, Prior]:
    """What is usual for each declared language that sites were seen of.

    Args:
        shares: Millionths of sites by declared language and language (`Shares.to_dict`).
    """
    return {
        declared: usual_prior(declared, {code: n / _MILLION for code, n in found.items()})
        for declared, found in shares.items()
    }


def site_priors(sites: pa.Table, usual: dict[str, Prior]) -> dict[tuple[int, str], Prior]:
    """The rounded prior of each site, by its key and declared language.

    Args:
        sites: Counts of sites, as `SITES`.
        usual: What is usual for declared languages; the default for the others.
    """
    texts: dict[tuple[int, str], dict[str, int]] = {}
    for row in sites.select(["key", "declared", "language", "texts"]).to_pylist():
        texts.setdefault((row["key"], row["declared"]), {})[row["language"]] = row["texts"]
    return {
        site: learnt_prior(found, usual.get(site[1]) or default_prior(site[1])).rounded()
        for site, found in texts.items()
    }


def prior_rows(priors: Mapping[tuple[int, str], Prior]) -> pa.Table:
    """Priors by key and declared language, as `PRIORS`; those that are usual have the key 0."""
    rows = [
        {"key": key, "declared": declared, "language": language, "weight": weight}
        for (key, declared), prior in priors.items()
        for language, weight in [*prior.weights.items(), (None, prior.other)]
    ]
    return pa.Table.from_pylist(rows, PRIORS)


class SiteLanguages:
    """What is known of sites: the prior for a site and the language that it declares.

    Args:
        priors: The priors of the sites that will be asked for, and what is usual, as `PRIORS`.
    """

    def __init__(self, priors: pa.Table):
        self._priors: dict[tuple[int, str], Prior] = {}
        weights: dict[tuple[int, str], dict[str | None, float]] = {}
        for row in priors.to_pylist():
            weights.setdefault((row["key"], row["declared"]), {})[row["language"]] = row["weight"]
        for site, found in weights.items():
            other = found.pop(None)
            self._priors[site] = Prior({code: found[code] for code in found if code}, other)

    def prior(self, key: int, declared: str) -> Prior:
        """The prior of a site, by its key (`site_keys`): what is known of it, else what is usual,
        else the default."""
        known = self._priors.get((key, declared)) or self._priors.get((0, declared))
        return known or default_prior(declared)


class LanguageTeller:
    """What tells the languages of candidates.

    Args:
        model: The model.
        sure: The least probability of a language.
        sites: What is known of sites; without it the usual priors hold.
    """

    def __init__(self, model: LanguageModel, sure: float, sites: SiteLanguages | None = None):
        self._model, self.sure, self._sites = model, sure, sites

    def add_language(self, rows: pa.Table) -> pa.Table:
        """Add the language columns of `septet.schemas.tables.FILTERED` to candidates with
        captions."""
        keys, declared = site_keys(rows)
        verdicts = [
            identify(caption, said, self.sure, self._prior(key, said), self._model)
            for caption, said, key in zip(
                rows["caption"].to_pylist(), declared.to_pylist(), keys.tolist(), strict=True
            )
        ]
        columns = {
            "language": pa.array([found.code for found in verdicts], pa.string()),
            "language_score": pa.array([found.score for found in verdicts], pa.float32()),
            "language_from": pa.array([found.origin for found in verdicts], pa.string()),
        }
        for name, values in columns.items():
            rows = rows.append_column(tables.FILTERED.field(name), values)
        return rows

    def _prior(self, key: int, declared: str | None) -> Prior | None:
        return self._sites.prior(key, declared) if self._sites and declared else None


def _each(column: pa.ChunkedArray, function: object) -> pa.Array:
    """A function of each distinct value of a column of strings, strings [n]."""
    encoded = column.combine_chunks()
    encoded = pa.concat_arrays(encoded.chunks) if isinstance(encoded, pa.ChunkedArray) else encoded
    encoded = encoded.dictionary_encode(null_encoding="encode")
    values = [function(value) for value in encoded.dictionary.to_pylist()]  # type: ignore[operator]
    return pa.array(values, pa.string()).take(encoded.indices)


@lru_cache(maxsize=2**16)
def _site(page_url: str | None) -> str:
    try:
        host = urlsplit(page_url or "").hostname or ""
    except ValueError:
        host = ""
    return registered_domain(host.lower())


@lru_cache(maxsize=2**16)
def _key(pair: str) -> int:
    return hash64(pair, b"septet.site")
