"""The recipe: the settings of a build, one YAML file.

Field descriptions here are the recipe reference; `docs/recipe.md` is generated from them.
"""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from septet.schemas.decontaminate import Decontaminate
from septet.schemas.filter import Filter
from septet.schemas.reasons import CLASSES, is_failure
from septet.schemas.rule_sets import with_set
from septet.schemas.section import Section
from septet.schemas.sources import OPT_OUT, Source

_CONTACT = re.compile(r"https?://[!-~]+|[!-~]+@[!-~]+\.[!-~]+")
_NAMES_CONTACT = re.compile(r"https?://[^\s)]|[^\s(]@[^\s)]")
ResizeMode = Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
EncodeFormat = Literal["jpg", "png", "webp"]
MoreFormat = Literal["heic", "jxl"]
ImageFormat = Literal["jpeg", "png", "gif", "webp", "bmp", "tiff", "avif", "heic", "jxl"]
OptOutFile = Literal["tdmrep.json", "ai.txt"]


class Balance(Section):
    """Few samples of what is frequent, drawn by a hash of seed and sample id, so that the draw does
    not depend on the order; between `filter` and `dedup`. Does nothing unless one of `entries` and
    `most_of_a_domain` is set."""

    entries: list[str] | str = Field(
        default=[],
        description="Entries that texts are to hold, as whole words; letters' case counts. A path "
        "is that of a file, one entry a line. Texts without any are dropped; of an entry in c "
        "texts each is drawn with probability `most_of_an_entry` / c, and a sample stays where any "
        "of its entries draws it (MetaCLIP, Xu et al. 2024).",
    )
    most_of_an_entry: int = Field(
        default=20_000, gt=0, description="Texts of an entry that are left on average, at least."
    )
    most_of_a_domain: int | None = Field(
        default=None,
        gt=0,
        description="Samples of one registered domain of images that are left on average.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another seed draws other samples.")


class Dedup(Section):
    """Exact duplicates and repetition among the pairs, before anything is fetched; and corpora that
    there are already."""

    against: list[str] = Field(
        default=[],
        description="Folders of corpora built before. Samples are compared with theirs as if these "
        "were among them and better than all: the same pair goes before it is fetched, with "
        "`curate.identical_images: keep_one` any sample whose image's URL they have; then the same "
        "bytes, and what `curate.near_text` and `near_images` find. Their sidecars are read, no "
        "image of theirs: where they have no thumbnails, or smaller ones, only the same bytes are "
        "found until they are built again. A reject row names the other corpus and the id there. "
        "Relative paths start at the recipe's folder.",
    )

    captions_per_image: int | None = Field(
        default=1000,
        gt=0,
        description="Most captions kept for one image (longest first). An image with all of its "
        "captions is in one shard, so this bounds a shard's size.",
    )
    images_per_caption: int | None = Field(
        default=10,
        gt=0,
        description="Drop captions that stand beside more distinct image URLs than this "
        "(boiler-plate such as “click to enlarge”; the figure is that of ALIGN, Jia et al. 2021).",
    )
    pages_per_pair: int | None = Field(
        default=None,
        gt=0,
        description="Drop pairs that stand on more pages than this (navigation icons and logos).",
    )


class Fetch(Section):
    """The fetch of images over HTTP; images that an input already holds are read from there."""

    contact: str | None = Field(
        default=None,
        description="A web page or mail address where whoever runs a server can reach you; it is "
        "sent with every request. Must be set before any host is asked that is not one of "
        "`allowed_hosts`.",
    )
    without_contact: Literal["stop", "reject"] = Field(
        default="stop",
        description="What happens when images are on public hosts and there is no `contact`: "
        "`stop` the build before it fetches any, or `reject` these images (`no_contact`).",
    )
    user_agent: str = Field(
        default="Septet/0.1",
        description="Sent with every request, with `contact` behind it. Its first word without the "
        "version is the name that robots.txt, ai.txt, and directives of pages and of "
        "`X-Robots-Tag` may state. One that holds a URL or a mail address needs no `contact`.",
    )
    robots: Literal["respect", "ignore"] = Field(
        default="respect",
        description="Whether robots.txt (RFC 9309) is asked for before anything else of a server, "
        "and kept to: what it disallows is not requested.",
    )
    robots_unreachable: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What holds where robots.txt cannot be had (5xx, 429, no answer in time): "
        "nothing may be requested, as RFC 9309 demands, or all.",
    )
    robots_hours: float = Field(
        default=24,
        ge=0,
        description="Hours for which the store keeps what a server's robots.txt, tdmrep.json and "
        "ai.txt say, a file of some hundred bytes a server (RFC 9309: not longer than 24); with 0 "
        "nothing is kept beyond one task.",
    )
    max_crawl_delay: float = Field(
        default=30,
        ge=0,
        description="Longest `Crawl-delay` of robots.txt, in seconds, that is kept to; one that is "
        "longer counts as this.",
    )
    per_host_delay: float = Field(
        default=0,
        ge=0,
        description="Fewest seconds from one request of a host to the next, over the whole build "
        "(redirects aside). A `Crawl-delay` that is longer takes precedence.",
    )
    concurrency: int = Field(default=64, gt=0, description="Requests in flight a worker.")
    per_host: int = Field(
        default=8,
        gt=0,
        description="Requests in flight a host, over the whole build (redirects aside).",
    )
    connect_timeout: float = Field(default=5, gt=0, description="Seconds to connect.")
    first_byte_timeout: float = Field(default=10, gt=0, description="Seconds to the first byte.")
    total_timeout: float = Field(
        default=30, gt=0, description="Seconds for one URL in all, redirects and retries included."
    )
    max_bytes: int = Field(default=20 * 2**20, gt=0, description="Largest body that is accepted.")
    max_redirects: int = Field(default=5, ge=0, description="Most redirects that are followed.")
    retries: int = Field(
        default=2, ge=0, description="Further tries after a transient failure (429, 5xx, time-out)."
    )
    backoff: float = Field(
        default=0.5,
        ge=0,
        description="Seconds before the first retry, doubled for each further one; a server's "
        "`Retry-After` takes precedence.",
    )
    give_up_after: int = Field(
        default=24,
        ge=0,
        description="Failed tries in a row (no connection, no answer in time) after which a "
        "host's other URLs are not tried; 0 never gives up.",
    )
    allowed_hosts: list[str] = Field(
        default=[],
        description="Hosts (`host` or `host:port`) that may have private or loopback addresses; "
        "all others must resolve to public ones.",
    )
    opt_out: list[str] = Field(
        default=OPT_OUT,
        description="`X-Robots-Tag` directives that are honoured, before the body is read.",
    )
    tdm_reservation: bool = Field(
        default=True, description="Honour the header `tdm-reservation: 1` (W3C TDMRep)."
    )
    opt_out_files: list[OptOutFile] = Field(
        default=["tdmrep.json", "ai.txt"],
        description="Files of a server that are asked for and kept to beside robots.txt: "
        "`/.well-known/tdmrep.json` (W3C TDMRep) and `/ai.txt` (Spawning).",
    )
    retry_failed: list[str] = Field(
        default=[],
        description="Classes of failures (such as `passing`) or reasons (such as `timeout`) whose "
        "images each build fetches anew, as `--retry` does once. docs/reasons.md has them.",
    )
    outage: Literal["stop", "keep"] = Field(
        default="stop",
        description="When no image arrives, of inputs neither, and nearly all fail for reasons "
        "that may pass, or when most of the hosts (of five or more) and of the URLs give no answer "
        "at all: `stop` the build and try these again in the next, or `keep` them as losses. Hosts "
        "that failed in earlier fetches too do not count.",
    )

    @field_validator("retry_failed")
    @classmethod
    def _known_failures(cls, names: list[str]) -> list[str]:
        for name in names:
            if not is_failure(name):
                raise ValueError(
                    f"retry_failed: {name!r} is no class of failures ({', '.join(CLASSES)}) and no "
                    "reason of the stage fetch (docs/reasons.md)"
                )
        return names

    @field_validator("user_agent")
    @classmethod
    def _agent_has_a_name(cls, agent: str) -> str:
        if not agent.split("/")[0].strip() or not agent.isprintable() or not agent.isascii():
            raise ValueError("user_agent must say who fetches, in one printable line of ASCII")
        return agent

    @field_validator("contact")
    @classmethod
    def _contact_can_be_reached(cls, contact: str | None) -> str | None:
        if contact is not None and not _CONTACT.fullmatch(contact):
            raise ValueError(
                "contact must be a web page (https://example.org/crawler) or a mail address "
                "(crawler@example.org)"
            )
        return contact

    @property
    def has_contact(self) -> bool:
        """Whether a server learns whom to turn to."""
        return self.contact is not None or _NAMES_CONTACT.search(self.user_agent) is not None

    @property
    def agent_header(self) -> str:
        """The User-Agent that is sent: `user_agent` with `contact`."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


class Image(Section):
    """Decoding, resizing and storing of images; names as in img2dataset."""

    image_size: int = Field(default=256, gt=0, le=16_383, description="Target size in pixels.")
    resize_mode: ResizeMode = Field(
        default="keep_ratio",
        description="`no`; `keep_ratio`: shorter side to the size; `keep_ratio_largest`: longer "
        "side; `center_crop`: shorter side, then the centre square; `border`: longer side, then "
        "padded to a square.",
    )
    resize_only_if_bigger: bool = Field(
        default=True, description="Never enlarge; smaller images keep their original bytes."
    )
    encode_format: EncodeFormat = Field(
        default="jpg", description="Format of images that are encoded anew."
    )
    encode_quality: int = Field(default=95, ge=1, le=100, description="Quality for jpg and webp.")
    max_pixels: int = Field(
        default=100_000_000,
        gt=0,
        lt=2**31,
        description="Largest width × height, read from the header before anything is decoded. An "
        "image of this size takes up to 1.5 GB while it is decoded.",
    )
    max_frames: int | None = Field(
        default=None,
        gt=0,
        lt=2**31,
        description="Most frames of an animation, whose first one is taken; 1 rejects animations. "
        "Any number when absent: frames behind the first one are not decoded.",
    )
    more_formats: list[MoreFormat] = Field(
        default=[],
        description="Formats that are read besides JPEG, PNG, GIF, WebP, BMP, TIFF and AVIF: "
        "`heic`, `jxl` (JPEG XL). They are always encoded anew, and decoded in a process of their "
        "own. Needs `pip install septet[formats]`.",
    )


class Curate(Section):
    """Thresholds on fetched images; identical images, and those that look the same. Changing this
    fetches nothing again."""

    min_bytes: int = Field(default=0, ge=0, description="Smallest file, as fetched (LAION: 5120).")
    min_side: int = Field(
        default=0, ge=0, description="Shortest side in original pixels (DataComp, COYO: 200)."
    )
    min_pixels: int = Field(
        default=0, ge=0, description="Smallest width × height, in original pixels (M6: 5000)."
    )
    max_aspect_ratio: float | None = Field(
        default=3.0, ge=1, description="Most that the longer side may exceed the shorter one."
    )
    formats: list[ImageFormat] | None = Field(
        default=None,
        min_length=1,
        description="Formats to keep, of images as they were fetched; all when absent.",
    )
    identical_images: Literal["keep_one", "keep_distinct_captions", "keep_all"] = Field(
        default="keep_distinct_captions",
        description="When different URLs hold the same bytes: one sample an image, one a distinct "
        "caption of it, or all.",
    )
    near_text: Literal["off", "same_image", "same_domain", "everywhere"] = Field(
        default="off",
        description="Of samples with nearly the same caption one is kept: the first of those with "
        "annotations, most pixels, longest caption; no sample with annotations goes. Compared are "
        "the captions of one image, of images of one registered domain, or of all images, where a "
        "caption that stands beside different images is no duplicate sample but repetition. Texts "
        "without an image are compared with one another. Needs `pip install septet[near]`.",
    )
    near_text_similarity: float = Field(
        default=0.75,
        ge=0.6,
        le=1,
        description="From this on captions are nearly the same where words were replaced; 0.25 "
        "less where words were only added or left out. It is the weight of the words that both "
        "have by that of all words; rare words weigh more (decision 0024).",
    )
    near_images: bool = Field(
        default=False,
        description="Treat images that look the same (resized, recompressed, slightly cropped, "
        "marked, brightened) as `identical_images` says: with `keep_distinct_captions` a sample "
        "goes where a better one has the same caption, with `keep_one` whatever the captions.",
    )
    near_images_radius: int = Field(
        default=11,
        ge=0,
        le=11,
        description="Most bits of 64 in which the perceptual hashes of such images differ; their "
        "thumbnails are compared besides.",
    )

    @model_validator(mode="after")
    def _identical_images_go_too(self) -> "Curate":
        if self.near_images and self.identical_images == "keep_all":
            raise ValueError(
                "near_images: with `identical_images: keep_all` even equal images stay; set it to "
                "keep_distinct_captions or keep_one, or near_images to off"
            )
        return self


class Write(Section):
    """Size of the shards."""

    samples_per_shard: int = Field(
        default=10_000,
        gt=0,
        description="Pairs planned for a shard before fetching; what fails to be fetched is "
        "missing from the shard, never replaced.",
    )


class Annotation(Section):
    """A column of annotations, made when the shards are whole, in the order of the list.

    Changing it touches no shard. `septet columns` lists the kinds, `septet columns KIND` the
    settings of one. Settings that begin with `./` or `../` are paths that start at the recipe's
    folder.
    """

    column: str = Field(
        min_length=1, description="Kind of column, or `module:Class` of a kind of your own."
    )
    name: str | None = Field(
        default=None, description="What to call it in the corpus; the kind when absent."
    )
    settings: dict[str, Any] = Field(default={}, description="The kind's settings.")

    @property
    def title(self) -> str:
        """The column's name in the corpus."""
        return self.name or self.column


class Recipe(Section):
    """A whole recipe."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the corpus; also its folder."
    )
    sources: list[Source] = Field(min_length=1, description="Where pairs come from.")
    filter: Filter = Filter()
    balance: Balance = Balance()
    dedup: Dedup = Dedup()
    fetch: Fetch = Fetch()
    image: Image = Image()
    curate: Curate = Curate()
    decontaminate: Decontaminate = Decontaminate()
    write: Write = Write()
    annotate: list[Annotation] = Field(
        default=[], description="Columns of annotations, see `annotate` below."
    )

    @field_validator("annotate")
    @classmethod
    def _no_name_twice(cls, annotations: list[Annotation]) -> list[Annotation]:
        titles = [one.title for one in annotations]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} twice; give one of them another `name`")
        return annotations

    @model_validator(mode="before")
    @classmethod
    def _with_rule_set(cls, data: Any) -> Any:
        return with_set(data)

    @model_validator(mode="after")
    def _has_what_its_rules_need(self) -> "Recipe":
        if self.filter.rules == "metaclip" and not self.balance.entries:
            raise ValueError(
                "filter.rules: metaclip needs `balance.entries`: the path of a file of the "
                "metadata, one entry a line"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """The recipe of the shards, with every default filled in, as plain data. Columns hold
        their own settings in their manifests."""
        return self.model_dump(mode="json", exclude={"annotate"})
