"""Inputs that are damaged at random, and readers of all that a source finds in them."""

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from septet.pipelines.sources.base import Facts, Found, Input, InputError, Pair, Source
from septet.pipelines.stages.source import read_slice
from septet.schemas.reasons import REASONS, Rejected
from septet.schemas.sources import SourceSettings

PIECES = st.sampled_from(
    [b"", b"\0", b"\n", b"\r", b'"', b",", b"\t", b"{", b"}", b"[", b"\\", b"\xff", b"\xed\xa0\x80",
     b"\xef\xbb\xbf", b"\0" * 512, b"9" * 20, b"ustar\x0000", b"NaN"]
) | st.binary(max_size=12)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which up to four ranges are replaced, and the end perhaps cut."""
    whole = draw(data)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(whole)))
        stop = min(len(whole), start + draw(st.sampled_from([0, 1, 2, 9, 600])))
        whole = whole[:start] + draw(PIECES) + whole[stop:]
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


def read_all(source: Source, settings: SourceSettings, path: Path) -> tuple[list[Found], Counter[str], int]:  # fmt: skip
    """All that an input holds, its figures, and the number of its slices; checks what holds of any
    input.

    A record gives at least one pair, loss or count, a loss has a reason that is known, and nothing
    is raised but `InputError` and `OSError`, by `describe`; then the input is read as one slice, as
    builds do.
    """
    size, counts, found = path.stat().st_size, Counter[str](), []
    try:
        facts = source.describe(str(path), size)
        source.check(settings, path.name, facts)
    except (InputError, OSError):
        facts = Facts([(0, size)])
    bounds: list[Any] = [bound for part in facts.slices for bound in part]
    assert bounds[1:-1:2] == bounds[2::2] and bounds == sorted(bounds)
    for number, part in enumerate(facts.slices):
        one = Input(
            path.name, 0, str(path), size, "d", part, number, len(facts.slices), str(path.parent)
        )
        found += read_slice(source, settings, one, counts)
    assert {one.reason for one in found if isinstance(one, Rejected)} <= REASONS.keys()
    return found, counts, len(facts.slices)


def pairs_of(found: list[Found]) -> list[tuple[str | None, str | None]]:
    return [(one.image_url, one.caption) for one in found if isinstance(one, Pair)]
