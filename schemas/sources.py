"""Settings of the sources: the entries of a recipe's `sources`, one model a kind."""

import typing
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

OPT_OUT = ["noai", "noimageai", "noindex", "noimageindex", "noml"]
CaptionPlace = Literal["alt", "figcaption", "title", "og:image:alt", "og:title", "og:description"]

ImageCandidate = Literal["src", "largest"]
"""Which of an image's addresses is taken where its author offers several."""


class SourceSettings(BaseModel):
    """The settings that every source has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    paths: list[str] = Field(min_length=1)
    on_broken_input: Literal["stop", "reject"] = Field(
        default="stop",
        description="What happens when an input cannot be read to its end: `stop` ends the build "
        "and names the input and the place; `reject` keeps what came before and writes one reject "
        "row (`input_broken`); of Parquet, one for each row of a damaged row group.",
    )


class WarcSource(SourceSettings):
    """Web archives: pairs from the pages, and the images where the archive holds them too."""

    kind: Literal["warc"]
    paths: list[str] = Field(
        min_length=1,
        description="WARC files (plain, gzip or zstd) or glob patterns, local or on any store that "
        "fsspec knows (`s3://…`, `gs://…`). Relative paths start at the recipe's folder.",
    )
    captions: list[CaptionPlace] = Field(
        default=["alt", "figcaption"],
        min_length=1,
        description="Where captions are taken from; an image with several distinct captions gives "
        "several pairs. `figcaption` stands for the caption of the nearest figure of HTML, "
        "DocBook, MediaWiki and the like; `og:…` for the texts of a page's OpenGraph images: the "
        "`og:image:alt` of each, the page's title and description beside the first.",
    )
    image_candidate: ImageCandidate = Field(
        default="src",
        description="Which address counts where an image has several. `src`, or what lazy loading "
        "puts there; the largest candidate of `srcset` and `<picture>` only where there is none. "
        "`largest`: the widest (or densest) candidate wherever there is one.",
    )
    context_chars: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Characters of the page's text before, and as many after, each image that are "
        "carried in the sample's `extra` as `text_before` and `text_after`, cut at words; a page "
        "gives 1,048,576 in all.",
    )
    max_page_bytes: int = Field(
        default=8 * 2**20, gt=0, description="Pages larger than this after decoding are rejected."
    )
    opt_out: list[str] = Field(
        default=OPT_OUT,
        description="Directives that are honoured for all images of a page: in its "
        '`<meta name="robots">` and in the archived answer\'s `X-Robots-Tag`. Those of an '
        "archived image's own headers are `fetch.opt_out`.",
    )
    tdm_reservation: bool = Field(
        default=True, description="Honour a page's `tdm-reservation: 1`, in both places, too."
    )


class ListSource(SourceSettings):
    """Lists of images with captions: Parquet, CSV, TSV, JSON lines and arrays of objects.

    Text may be gzip or zstd. TSV has no quotes. A row that cannot be read is a reject row.
    """

    kind: Literal["list"]
    paths: list[str] = Field(min_length=1, description="List files or glob patterns.")
    url_col: str | None = Field(
        default="url",
        description="Column with the image's URL or path; `null` for a list of texts alone.",
    )
    caption_col: str | None = Field(
        default="caption",
        description="Column with the caption, or a list of captions (one pair each); `null` for a "
        "list of images alone.",
    )
    language_col: str | None = Field(
        default=None, description="Column with the language that the list declares, if any."
    )
    extra_cols: list[str] = Field(
        default=[], description="Columns carried unread into each sample's `extra` (JSON)."
    )
    annotation_cols: list[str] = Field(
        default=[],
        description="Columns carried into each sample's `annotations` (JSON), which are part of "
        "what a sample is: two rows with the same image and words and other annotations (a box, "
        "say) are two samples.",
    )
    image_root: str | None = Field(
        default=None,
        description="Folder of the images when `url_col` holds paths and not URLs. No path that "
        "leads out of this folder is read. Relative paths start at the recipe's folder.",
    )

    incomplete_rows: Literal["reject", "keep"] = Field(
        default="reject",
        description="What happens to rows whose URL or caption is empty: a reject row, or a sample "
        "without an image or without a text. Rows with neither are always rejected.",
    )

    @model_validator(mode="after")
    def _has_image_or_text(self) -> "ListSource":
        if self.url_col is None and self.caption_col is None:
            raise ValueError("a list needs url_col, caption_col or both")
        return self


class FolderSource(SourceSettings):
    """Folders of images, each with its texts in `NAME.txt` (one a line) or `NAME.json` beside it.

    Folders within are read, too. Other files are counted and left alone.
    """

    kind: Literal["folder"]
    paths: list[str] = Field(
        min_length=1,
        description="Folders or glob patterns of folders. Relative paths start at the recipe's "
        "folder.",
    )
    caption_key: str = Field(
        default="caption", description="Key of the caption, or list of captions, in `NAME.json`."
    )
    extra_keys: list[str] = Field(
        default=[], description="Keys of `NAME.json` carried into each sample's `extra` (JSON)."
    )
    annotation_keys: list[str] = Field(
        default=[],
        description="Keys of `NAME.json` carried into each sample's `annotations` (JSON), which "
        "are part of what a sample is.",
    )
    without_text: Literal["reject", "keep"] = Field(
        default="reject",
        description="What happens to images without a text: a reject row, or a sample that is an "
        "image alone.",
    )


Source = Annotated[WarcSource | ListSource | FolderSource, Field(discriminator="kind")]
"""Any source's settings; pydantic picks the model by `kind`."""


def source_models() -> dict[str, type[SourceSettings]]:
    """The settings model of each kind of source, in the order of `Source`."""
    models = typing.get_args(typing.get_args(Source)[0])
    return {typing.get_args(model.model_fields["kind"].annotation)[0]: model for model in models}
