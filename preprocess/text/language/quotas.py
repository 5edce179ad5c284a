"""Quotas of languages: which samples are over them, by the hash of their ids alone, so that neither
order nor other samples count."""

import numpy as np
import pyarrow as pa

from septet.preprocess.text.ids import hash64
from septet.schemas.languages import with_included


def over_quota(
    ids: pa.ChunkedArray, languages: pa.ChunkedArray, quotas: dict[str, float]
) -> pa.Array:
    """Which samples their languages have no room for, bool [n].

    A sample of a language with quota q stays where the hash of its id, as a fraction of all hashes,
    is less than q: so a smaller quota keeps a part of what a larger one does.

    Args:
        ids: Ids of samples, strings [n].
        languages: Their languages, strings [n].
        quotas: The share of each language that stays, in [0, 1]; it holds for languages that a
            language includes, too, unless they have one of their own. Others stay whole.
    """
    over = np.zeros(len(ids), bool)
    if not quotas:
        return pa.array(over)
    shares = dict(quotas)
    for code, share in quotas.items():
        for included in with_included([code]):
            shares.setdefault(included, share)
    at = languages.combine_chunks()
    limited = np.flatnonzero(
        np.isin(np.array(at.fill_null("").to_pylist(), object).astype(str), [*shares])
    )
    for row in limited.tolist():
        place = hash64(ids[row].as_py(), b"septet.quota") / 2**64
        over[row] = place >= shares[at[row].as_py()]
    return pa.array(over)
