"""What the report and `septet browse` show of samples, and in which order: sections with
categories and measures, and their titles."""

from dataclasses import dataclass

from septet.pipelines.report.measures import MEASURES


@dataclass(frozen=True)
class Section:
    """A section of figures: names of categories and of measures; `members` where it tells those of
    the tars, too; `numbers` that are no measures of the report and have bins of their own."""

    title: str
    lead: str
    categories: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    members: bool = False
    numbers: tuple[str, ...] = ()


SECTIONS: dict[str, Section] = {
    "captions": Section(
        "Captions",
        "Words are runs between spaces; in scripts that write none, two letters count as a word.",
        ("language", "language_from", "caption_from", "chinese"),
        ("caption_chars", "caption_words"),
        numbers=("language_score",),
    ),
    "images": Section(
        "Images",
        "Images as they are stored.",
        ("format", "reencoded", "status"),
        ("width", "height", "image_bytes"),
    ),
    "originals": Section(
        "Originals",
        "Images as they were fetched.",
        measures=(
            "original_width",
            "original_height",
            "original_short_side",
            "aspect_ratio",
            "original_bytes",
        ),
    ),
    "files": Section("Files", "The files of samples, by extension.", members=True),
    "origins": Section(
        "Origins", "Registered domains of what is in the corpus", ("image_domain", "page_domain")
    ),
}

TITLES = {
    "language": "Languages",
    "language_from": "Language told by",
    "chinese": "Chinese captions by script",
    "caption_from": "Captions taken from",
    "format": "Formats",
    "reencoded": "Re-encoded",
    "status": "Download status",
    "image_domain": "Image domains",
    "page_domain": "Page domains",
    "failed_domain": "Domains where fetching failed",
    **{name: measure.title for name, measure in MEASURES.items()},
}
"""Titles of categories and measures."""
