"""The rule about languages; reads columns that `LanguageTeller` gives."""

import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.text.language import UNDETERMINED
from septet.preprocess.text.language.quotas import over_quota
from septet.schemas.filter import Filter
from septet.schemas.languages import with_included


def language(captions: Captions, settings: Filter) -> Verdict:
    """Captions of a language other than `languages`."""
    found = captions.table["language"].combine_chunks()
    kept = with_included(settings.languages or [])
    if settings.undetermined == "keep":
        kept.append(UNDETERMINED)
    return Verdict(pc.invert(pc.is_in(found, value_set=pa.array(kept, pa.string()))), found)


def language_quota(captions: Captions, settings: Filter) -> Verdict:
    """Captions of a language beyond the share that `language_quotas` leaves."""
    found = captions.table["language"]
    over = over_quota(captions.table["id"], found, settings.language_quotas)
    return Verdict(over, found.combine_chunks())
