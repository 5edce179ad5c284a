"""Settings of the sources: the entries of a recipe's `sources`, one model a kind."""

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from septet.schemas.languages import require_language
from septet.schemas.layout import IMAGE_EXTENSIONS

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


class PageSettings(SourceSettings):
    """The settings of sources that read whole pages."""

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


class WarcSource(PageSettings):
    """Web archives: pairs from the pages, and the images where the archive holds them too."""

    kind: Literal["warc"]
    paths: list[str] = Field(
        min_length=1,
        description="WARC files (plain, gzip or zstd) or glob patterns, local or on any store that "
        "fsspec knows (`s3://…`, `gs://…`). Relative paths start at the recipe's folder.",
    )


class CcIndexSource(PageSettings):
    """Pages chosen from Common Crawl's columnar index, each read from its WARC file by range.

    Crawl and subset are chosen by `paths`: the index has a folder for each
    (`…/crawl=CC-MAIN-2026-43/subset=warc/*.parquet`). Only answers of status 200 are chosen.
    """

    kind: Literal["cc-index"]
    paths: list[str] = Field(
        min_length=1, description="Parquet files of the index or glob patterns, as of `warc`."
    )
    archives: str = Field(
        default="https://data.commoncrawl.org/",
        description="Where the WARC files are whose names the index holds: a URL "
        "(`s3://commoncrawl/` needs an account, https none) or a folder.",
    )
    hosts: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Host names to keep, exactly (`url_host_name`); all when absent.",
    )
    domains: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Registered domains to keep, with all of their hosts "
        "(`url_host_registered_domain`); all when absent. A page is kept when its host or its "
        "domain is named.",
    )
    languages: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Languages to keep, by the first of `content_languages`, as ISO 639 codes; "
        "all when absent.",
    )
    mime_types: list[str] = Field(
        default=["text/html", "application/xhtml+xml"],
        min_length=1,
        description="Media types to keep, as Common Crawl detected them (`content_mime_detected`).",
    )
    max_record_bytes: int = Field(
        default=8 * 2**20, gt=0, description="Records larger than this as stored are rejected."
    )
    requests: int = Field(
        default=16, gt=0, le=256, description="Ranges that a worker reads at once."
    )

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, languages: list[str] | None) -> list[str] | None:
        return languages and list(dict.fromkeys(map(require_language, languages)))

    @field_validator("hosts", "domains")
    @classmethod
    def _lower_case(cls, names: list[str] | None) -> list[str] | None:
        return names and [name.lower() for name in names]


class WatSource(SourceSettings):
    """Common Crawl's WAT files: pairs from what they say of pages.

    A fraction of the WARC files' bytes, without the text of pages: no figure captions, no
    `srcset`, no lazy loading.
    """

    kind: Literal["wat"]
    paths: list[str] = Field(
        min_length=1,
        description="WAT files (plain, gzip or zstd) or glob patterns, as of `warc`.",
    )
    captions: list[Literal["alt", "title", "og:image:alt", "og:title", "og:description"]] = Field(
        default=["alt"], min_length=1, description="Where captions are taken from, as of `warc`."
    )
    max_page_bytes: int = Field(
        default=8 * 2**20, gt=0, description="Records larger than this are rejected."
    )
    opt_out: list[str] = Field(default=OPT_OUT, description="As of `warc`.")
    tdm_reservation: bool = Field(default=True, description="As of `warc`.")


class ListSource(SourceSettings):
    """Lists of images with captions: Parquet, CSV, TSV, JSON (lines, an array of objects, or an
    object with an array a column, as SBU has it), and text files of one URL a line.

    Text may be gzip or zstd. TSV has no quotes unless `quotes` says so. A row that cannot be
    read is a reject row.
    """

    kind: Literal["list"]
    paths: list[str] = Field(min_length=1, description="List files or glob patterns.")
    columns: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names for the columns of CSV or TSV without a header, all of them in their "
        "order (Conceptual Captions 3M: `[caption, url]`, 12M: `[url, caption]`); of a text file, "
        "the name of its one column in place of `url`.",
    )
    quotes: bool = Field(
        default=False,
        description="Whether cells of TSV are quoted as those of CSV are, line ends within them "
        "(WIT). Such a list is read by one worker.",
    )
    url_col: str | None = Field(
        default="url",
        description="Column with the image's URL or path; `null` for a list of texts alone.",
    )
    caption_col: str | list[str] | None = Field(
        default="caption",
        description="Column with the caption, or a list of captions (one pair each), or several "
        "such columns (`caption_from` of their samples is then `list:COLUMN`); `null` for a list "
        "of images alone.",
    )
    image_col: str | None = Field(
        default=None,
        description="Column of Parquet with the images themselves: bytes, or structs of `bytes` "
        "and `path` as Hugging Face's `Image` writes them; where `bytes` is null the path counts "
        "as one in `url_col`. With it `url_col` is `null` unless it is set, and then names the "
        "images.",
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
    hash_col: str | None = Field(
        default=None,
        description="Column with the digest of the image's bytes as fetched, in hexadecimal. "
        "Other bytes are rejected (`hash_mismatch`).",
    )
    hash: Literal["md5", "sha1", "sha256"] = Field(
        default="sha256",
        description="The digest in `hash_col`. For MD5 and SHA-1 images are fetched again that "
        "were stored without them.",
    )
    image_root: str | None = Field(
        default=None,
        description="Folder of the images when `url_col` holds paths and not URLs. No path that "
        "leads out of this folder is read. Relative paths start at the recipe's folder.",
    )

    images_beside: bool = Field(
        default=False,
        description="In place of `image_root`: paths in `url_col` start at the folder of the list "
        "itself, as those of `file_name` do in a `metadata.jsonl` or `metadata.csv` of Hugging "
        "Face's `imagefolder`.",
    )
    incomplete_rows: Literal["reject", "keep"] = Field(
        default="reject",
        description="What happens to rows whose URL or caption is empty: a reject row, or a sample "
        "without an image or without a text. Rows with neither are always rejected. Likewise rows "
        "whose `hash_col` is empty: a reject row, or an image that is not verified.",
    )

    @model_validator(mode="before")
    @classmethod
    def _images_need_no_urls(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("image_col") is not None:
            return {"url_col": None} | data
        return data

    @model_validator(mode="after")
    def _has_image_or_text(self) -> "ListSource":
        if self.url_col is None and self.image_col is None and self.caption_col is None:
            raise ValueError("a list needs url_col, caption_col or both")
        if self.image_root is not None and self.images_beside:
            raise ValueError("image_root and images_beside are two folders: set one of them")
        for name in ("columns", "caption_col"):
            names = getattr(self, name)
            if isinstance(names, list) and (not names or len({*names}) < len(names)):
                raise ValueError(f"{name} names a column twice, or none")
        return self

    @property
    def caption_cols(self) -> list[str]:
        """The columns with captions."""
        named = self.caption_col
        return [named] if isinstance(named, str) else named or []


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


class WebDatasetSource(SourceSettings):
    """Tars of samples as WebDataset and img2dataset write them: neighbouring members of one name up
    to its first dot are a sample (`KEY.jpg`, `KEY.txt`, `KEY.json`).

    Images are read from the tars when they are needed. Shards of Septet are such tars, too. Rows of
    img2dataset's Parquet file beside a tar that are no samples of it (images that it could not
    fetch or resize) are counted.
    """

    kind: Literal["webdataset"]
    paths: list[str] = Field(
        min_length=1, description="Tars, not compressed, or glob patterns (`shards/*.tar`)."
    )
    image_exts: list[str] = Field(
        default=list(IMAGE_EXTENSIONS),
        min_length=1,
        description="Extensions of images, of which the first that a sample has is its image. Case "
        "does not matter.",
    )
    caption_exts: list[str] = Field(
        default=["txt"],
        description="Extensions of members whose text is a caption, one pair each.",
    )
    caption_key: str | None = Field(
        default="caption",
        description="Key of the caption, or list of captions, in `KEY.json`. A caption that stands "
        "in two places gives one pair.",
    )
    class_names: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names of classes from number 0 on: the number in `KEY.cls` gives a caption.",
    )
    url_key: str | None = Field(
        default="url",
        description="Key of the image's URL in `KEY.json`, which is then its identity, as in a "
        "list. Where there is none the identity is the path of the tar with that of the member.",
    )
    language_key: str | None = Field(
        default=None, description="Key of the language that `KEY.json` declares, if any."
    )
    extra_keys: list[str] = Field(
        default=[], description="Keys of `KEY.json` carried into each sample's `extra` (JSON)."
    )
    annotation_keys: list[str] = Field(
        default=[],
        description="Keys of `KEY.json` carried into each sample's `annotations` (JSON), which are "
        "part of what a sample is.",
    )
    incomplete_samples: Literal["reject", "keep"] = Field(
        default="reject",
        description="What happens to samples without an image or without a caption: a reject row, "
        "or a sample of what there is. Those with neither are always rejected.",
    )


class AnnotatedSource(SourceSettings):
    """Annotated sets in their published files: COCO's captions, instances and panoptic segments and
    sets in that form (Objects365), RefCOCO's references (as JSON), VQA's and GQA's questions,
    GQA's scene graphs, Visual Genome's image data, regions, objects, attributes, relationships and
    questions, Open Images' boxes, labels, relationships and names of classes (CSV), Localized
    Narratives (JSON lines).

    All that the files say of an image is merged, and what two of them say counts once: each of its
    captions gives a pair, whose `extra` has `boxes` (normalised corners) with `labels`, `absent`
    (labels verified not to be in the image), `phrases`, `questions`, as columns of annotations read
    them, and `box_flags` (crowd, group, occluded …), `attributes`, `relations`, `image_labels`,
    `scored_labels` (a machine's), `narratives` (utterances with seconds and the box of the
    pointer's trace). A panoptic segment whose category the image has instances of is one of these,
    told twice. Where a set has no list of images (GQA, Open Images, Localized Narratives) the
    file of an image is its id with `.jpg`, as those sets name them.
    """

    kind: Literal["annotated"]
    paths: list[str] = Field(
        min_length=1,
        description="Folders or glob patterns of folders, each a set with its images and its "
        "files.",
    )
    files: list[str] = Field(
        min_length=1,
        description="The set's files (JSON, JSON lines, CSV; plain, gzip or zstd), paths within "
        "its folder or patterns "
        "(`annotations/*_val2017.json`).",
    )
    images: str = Field(
        default="", description="Folder of the images within the set's folder (`val2017`)."
    )
    without_text: Literal["reject", "keep"] = Field(
        default="keep",
        description="What happens to images without a caption: a reject row, or a sample that is "
        "an image with its annotations.",
    )


class TextSource(SourceSettings):
    """Texts without images: files of text, lists (Parquet, JSON lines, CSV, TSV), WET files, and
    the main text of the pages of WARC files, as their names say. Any but Parquet may be gzip or
    zstd.

    A document longer than `max_chars` becomes several samples: it is cut at the last end of a
    paragraph that fits, else of a line, a sentence, a word, but never into pieces shorter than half
    of `max_chars` (the last one aside). Nothing is lost.
    """

    kind: Literal["text"]
    paths: list[str] = Field(
        min_length=1,
        description="Files (`.txt`, `.text`, `.md`; `.wet`, `.warc`; those of `list`) or glob "
        "patterns.",
    )
    document: Literal["file", "paragraph", "line"] = Field(
        default="file",
        description="What is a document in files of text: the file, each paragraph (parted by "
        "empty lines), or each line. A file of more than 8 MiB is cut at line ends for several "
        "workers; a document that lies across such a cut counts as two.",
    )
    text_col: str = Field(
        default="text",
        description="Column of lists with the document, or a list of documents.",
    )
    language_col: str | None = Field(
        default=None, description="Column of lists with the language, if any."
    )
    max_chars: int = Field(
        default=500, ge=20, le=100_000, description="Most characters of a sample's text."
    )
    max_page_bytes: int = Field(
        default=8 * 2**20, gt=0, description="Pages larger than this after decoding are rejected."
    )
    opt_out: list[str] = Field(default=OPT_OUT, description="As of `warc`, for pages.")
    tdm_reservation: bool = Field(default=True, description="As of `warc`, for pages.")


Source = Annotated[
    WarcSource
    | WatSource
    | CcIndexSource
    | ListSource
    | FolderSource
    | WebDatasetSource
    | AnnotatedSource
    | TextSource,
    Field(discriminator="kind"),
]
"""Any source's settings; pydantic picks the model by `kind`."""


def source_models() -> dict[str, type[SourceSettings]]:
    """The settings model of each kind of source, in the order of `Source`."""
    models = typing.get_args(typing.get_args(Source)[0])
    return {typing.get_args(model.model_fields["kind"].annotation)[0]: model for model in models}
