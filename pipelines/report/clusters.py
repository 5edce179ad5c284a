"""Clusters of duplicates, drawn from the rejects: the sample kept, and those that went for it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.report.gallery import (
    SHOWN,
    caption_of,
    find_image,
    image_uri,
    reject_thumbnails,
    thumbnail,
)
from septet.pipelines.report.readable import label, one_line
from septet.pipelines.report.rejects import Key, RejectCounts, read_rejects
from septet.pipelines.store.by_url import RejectedImages
from septet.preprocess.shards.reader import Corpus

CLUSTERED = (
    ("dedup", "duplicate_pair"), ("curate", "duplicate_image"), ("curate", "near_duplicate_image"),
    ("curate", "near_duplicate_text"),
)  # fmt: skip
"""Stages and reasons whose reject rows name the sample that is kept: in their value, but of equal
pairs, whose id is the same."""

_CLUSTERS = 4
_MEMBERS = 4
_SIDE = 96
_CHARS = 160
_BY_ID = [("id", "ascending"), ("value", "ascending")]
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Member:
    """A sample of a cluster as text, and its image where it is stored."""

    caption: str
    url: str
    text: str
    """What is said of it: of the kept one its key or what became of it, of others how near."""
    thumbnail: str = ""
    width: int = 0
    height: int = 0


@dataclass
class Cluster:
    """A sample that was kept, some of those that went for it, and how many these are."""

    kept: Member
    gone: list[Member] = field(default_factory=list)
    size: int = 0


def duplicate_clusters(
    corpus: Corpus,
    found: RejectCounts,
    drawn: Mapping[Key, list[dict[str, Any]]],
    images: RejectedImages,
) -> dict[Key, list[Cluster]]:
    """The clusters of some rejects, at most four a reason. Where these were drawn evenly, a
    cluster's chance rises with its size.

    Args:
        corpus: The corpus.
        found: What `count_rejects` found there.
        drawn: Rejects by stage and reason, see `sample_rejects`.
        images: The images of those that went.
    """
    wanted = {key: _kept_ids(key, drawn.get(key, ()))[:_CLUSTERS] for key in CLUSTERED}
    wanted = {key: ids for key, ids in wanted.items() if ids}
    every = {id_ for ids in wanted.values() for id_ in ids}
    gone: dict[tuple[Key, str], list[dict[str, Any]]] = {}
    sizes: Counter[tuple[Key, str]] = Counter()
    fates: dict[str, dict[str, Any]] = {}
    for name, counts in found.by_file if every else ():
        table = read_rejects(
            corpus.path, name, ["id", "stage", "reason", "value", "image_url", "caption"]
        )
        for row in table.filter(_among(table["id"], every)).to_pylist():
            if row["reason"] != "duplicate_pair":  # the kept one has its id, and went later
                fates[row["id"]] = row
        for key, ids in wanted.items():
            if not counts[key]:
                continue
            rows = table.filter(
                pc.and_(pc.equal(table["stage"], key[0]), pc.equal(table["reason"], key[1]))
            )
            told = rows["id"] if key[1] == "duplicate_pair" else rows["value"]
            ids_of = pc.utf8_slice_codeunits(told, 0, 32)
            for id_ in ids:
                members = rows.filter(pc.equal(ids_of, id_)).sort_by(_BY_ID)
                sizes[key, id_] += len(members)
                some = [*gone.get((key, id_), ()), *members.slice(0, _MEMBERS).to_pylist()]
                some.sort(key=lambda one: (one["id"], one["value"] or ""))
                gone[key, id_] = some[:_MEMBERS]
    kept = {id_: _kept_member(corpus, id_, fates.get(id_)) for id_ in sorted(every)}
    dropped = (row for (key, _), rows in gone.items() if key[0] == SHOWN for row in rows)
    shown = reject_thumbnails(images, dropped, _SIDE)

    def member(reason: str, row: Mapping[str, Any]) -> Member:
        made = _gone_member(reason, row)
        if one := shown.get(row["image_url"]):
            made.thumbnail, made.width, made.height = one
        return made

    return {
        key: [
            Cluster(kept[id_], [member(key[1], row) for row in gone[key, id_]], sizes[key, id_])
            for id_ in ids
        ]
        for key, ids in wanted.items()
    }


def _kept_ids(key: Key, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The distinct ids of the samples that rows went for, in the order of the rows."""
    named = (str(row["id"] if key[1] == "duplicate_pair" else row["value"]) for row in rows)
    return list(dict.fromkeys(match[0] for text in named if (match := _ID.match(text))))


def _among(column: pa.ChunkedArray, some: Iterable[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(some), pa.string()))


def _text(value: object, most: int = _CHARS) -> str:
    return one_line(str(value or ""), most)


def _gone_member(reason: str, row: Mapping[str, Any]) -> Member:
    value = str(row["value"] or "")
    if reason == "duplicate_pair":
        text = value and f"kept: {value}"
    else:
        text = value[32:].lstrip(", ").partition(", group ")[0]
    return Member(_text(row["caption"]), _text(row["image_url"]), _text(text))


def _kept_member(corpus: Corpus, id_: str, fate: Mapping[str, Any] | None) -> Member:
    try:
        sample = corpus[corpus.find(id_)]
    except KeyError:
        if fate is None:
            return Member("", "", f"{id_}, not in the corpus")
        later = f"{id_}, dropped later: {label(fate['reason'])}"
        return Member(_text(fate["caption"]), _text(fate["image_url"]), later)
    member = Member(_text(caption_of({}, sample)), "", id_)
    if image := find_image(sample):
        try:
            data, member.width, member.height = thumbnail(image[1], _SIDE)
        except ValueError:
            return member
        member.thumbnail = image_uri(data)
    return member
