"""The table of the reasons for which a row is lost, and the type and exception that carry one.

Every reject row of a build names a reason of `REASONS`. `docs/reasons.md` is generated from that
table by `make docs`; a test compares the two.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

ReasonClass = Literal[
    "input", "access", "passing", "network", "content", "rule", "duplicate", "internal"
]

CLASSES: dict[ReasonClass, str] = {
    "input": "an input, a record or a row is damaged, or not what the recipe says it is",
    "access": "the owner, the system or Septet's own rules for safety forbid it",
    "passing": "a condition of the moment: the same request may succeed later",
    "network": "the server answers, but with no image; asking again gives the same",
    "content": "the bytes arrived, and are no image or text that can be trained on",
    "rule": "a rule or a threshold of the recipe",
    "duplicate": "another row of the corpus holds the same",
    "internal": "a fault of Septet itself: please report it",
}
"""Meaning of each class. `septet build` may fetch again by class: see `fetch` in the recipe."""


class Reason(NamedTuple):
    """Meaning of one reason.

    `stages` can give it; `class_` is a key of `CLASSES`; `meaning` says why, and what the `value`
    of a reject row holds.
    """

    stages: tuple[str, ...]
    class_: ReasonClass
    meaning: str


def _of(class_: ReasonClass, stages: str, **meanings: str) -> dict[str, Reason]:
    return {
        name: Reason(tuple(stages.split()), class_, meaning) for name, meaning in meanings.items()
    }


REASONS: dict[str, Reason] = {
    # -- source: inputs, records, rows
    **_of(
        "input", "source",
        input_broken="the rest of an input, or a row of a damaged row group of Parquet, cannot be "
        "read (`on_broken_input: reject`); value: where it stopped and the reader's message",
        warc_truncated="an archive or a record ends early; value: the offset, or the bytes found "
        "and expected",
        warc_broken="a record, or what follows an offset, cannot be read; value: the offset and "
        "the message",
        warc_header="a record's header lacks what it needs; value: what",
        warc_revisit="a revisit of a record that its file does not hold before it; value: the "
        "record referred to",
        wat_record="a WAT record is not JSON, or not of WAT's form; value: what is wrong",
        list_row="a list's row cannot be read, or lacks what it needs; value: what is wrong",
        annotation="a row of an annotated set, or a part of it, cannot be read, or belongs to no "
        "image; value: what is wrong",
        tar_sample="a sample of a tar is damaged, or lacks what it needs; value: what is wrong",
        record_error="reading one record, row or page failed in a way that has no name of its "
        "own; value: the error's type and message",
        page_timeout="a page took longer to read than the limit; value: the seconds allowed",
        page_crash="the page's parser crashed; value: the signal that ended its process",
        file_name="the name of an image's file is not UTF-8; value: the name",
        no_sidecar="an image of a folder has no text beside it (`without_text: reject`); value: "
        "what was looked for",
        sidecar_unreadable="the text or JSON file beside an image, or member of a tar, cannot be "
        "read; value: the message",
    ),
    **_of(
        "content", "source",
        caption_type="the caption is no text (a number, a list of lists, NaN …); value: its type "
        "and beginning",
        not_utf8="a text holds bytes that are not UTF-8; value: the first of them and its place",
        no_image_or_text="the row has neither an image nor a text; value: the empty columns",
        inline_image="the image is in the page itself (`data:`); value: the beginning of its URL",
        bad_url="the image's URL is no valid URL, or a placeholder; value: the URL",
        url_scheme="the image's URL is neither http nor https; value: the scheme",
    ),
    **_of(
        "access", "source",
        outside_root="the path leads out of `image_root`; value: the path",
    ),
    **_of(
        "network", "source",
        page_status="the archive holds an answer other than 200; value: the status",
    ),
    # -- source and fetch
    **_of(
        "content", "source fetch",
        too_large="the page or body is larger than the recipe allows; value: the bytes declared, "
        "found or allowed",
        encoding="the content or transfer coding cannot be undone; value: the coding",
    ),
    **_of(
        "access", "source fetch",
        opt_out="the page, the archived record, the answer or a file of the server forbids this "
        "use; value: the directive or file",
    ),
    # -- filter
    **_of(
        "rule", "filter",
        boilerplate="nothing is left of the caption when what the recipe names is cut out; value: "
        "the caption before",
        too_short="fewer characters than `min_chars`, or what holds instead in its script; value: "
        "how many",
        too_long="more characters than `max_chars`; value: how many",
        filename="the whole caption is a file's name; value: the caption",
        url_caption="the whole caption is a URL or a host's name; value: the caption",
        template="it begins or ends with one of `templates`; value: the caption",
        too_few_words="fewer words than `min_words`, or what holds instead in its script; value: "
        "how many",
        too_many_words="more words than `max_words`; value: how many",
        too_few_ideographs="fewer Chinese characters than `min_ideographs`; value: how many",
        few_letters="the share of letters is less than `min_letters`; value: the share",
        many_digits="the share of digits is more than `max_digits`; value: the share",
        other_script="the share of letters of `scripts` is less than `min_script`; value: the "
        "share",
        punctuation_run="a mark is repeated more often in a row than `max_punctuation_run`; value: "
        "the longest such run",
        repeated_words="the share of repeated words is more than `max_word_repetition`; value: the "
        "share",
        repeated_chars="the share of repeated pieces of ten characters is more than "
        "`max_char_repetition`; value: the share",
        small_initial="it begins with a small letter (`first_capital`); value: the letter",
        many_capitalised="the share of words with a capital initial is more than "
        "`max_capitalised`; value: the share",
        many_capitals="the share of capitals is more than `max_capitals`; value: the share",
        contact="it holds an e-mail address or a telephone number; value: that",
        stop_list="it holds a word or phrase of `stop_list`; value: the first one",
        rare_word="it holds a word, or a pair of words, that is not among `frequent`; value: the "
        "first one",
        domain="neither page nor image is on one of `allow_domains`, or one of them is on one of "
        "`deny_domains`; value: the domains of page and image",
        language="not one of `languages`; value: the language",
        language_quota="more of a language than `language_quotas` leaves; value: the language",
        own_rule="a rule of `own_rules`, which `rule` names; value: what it measured",
        part_of_speech="a part of speech that `parts_of_speech` asks for is missing; value: which",
    ),
    **_of(
        "internal", "filter",
        rule_error="a text rule failed on this row; value: the error's type and message",
    ),
    # -- balance
    **_of(
        "rule", "balance",
        no_entry="the text holds none of `entries`",
        entry_draw="none of its entries drew it; value: how many texts the rarest of them has",
        domain_draw="its image's domain did not draw it; value: how many samples that has",
    ),
    # -- dedup
    **_of(
        "access", "dedup curate",
        removed="the sample, or one with its image's URL or bytes, was removed from this corpus by "
        "`septet remove`, or a removal asked for its URL, domain, looks or text; the row says "
        "nothing else",
    ),
    **_of(
        "duplicate", "dedup",
        duplicate_pair="the same image, caption and annotations stand elsewhere; value: the page "
        "of the row that is kept, or the id and the corpus of `dedup.against` that has it",
    ),
    **_of(
        "rule", "dedup",
        caption_repeated="the caption stands beside more images than `images_per_caption`; value: "
        "how many",
        pair_repeated="the pair stands on more pages than `pages_per_pair`; value: how many",
    ),
    **_of(
        "duplicate", "dedup",
        duplicate_image_url="more captions of one image than `captions_per_image`; value: the "
        "caption's rank. Or, where one sample is kept of an image, one that a corpus of "
        "`dedup.against` has; value: an id there, and the corpus",
    ),
    # -- fetch: the network
    **_of(
        "network", "fetch",
        url="the URL or a redirect's target is no valid URL; value: what is wrong with it",
        tls="the TLS handshake or the certificate's check failed; value: what failed",
        protocol="the answer is not HTTP; value: what is wrong with it",
        http_status="the final status is not 200 (408, 425, 429 and 5xx count as passing); value: "
        "the status",
        redirects="more redirects than the recipe allows; value: the limit",
    ),
    **_of(
        "access", "fetch",
        scheme="neither http nor https; value: the scheme",
        address="the host is or resolves to no public address, or the port is blocked; value: "
        "the host or port",
        no_contact="a public host, and the recipe has no `fetch.contact`; not requested; value: "
        "the host",
        robots="the server's robots.txt disallows it; not requested; value: the path",
    ),
    **_of(
        "passing", "fetch",
        dns="the host's name could not be resolved; value: the resolver's error, or timeout",
        connect="no connection, or it broke before the answer; value: the system's error",
        timeout="a time limit passed; value: connect, first_byte, read or total",
        truncated="the body ended early; value: received and declared bytes",
        robots_unreachable="the server's robots.txt cannot be had, so nothing is requested "
        "(`robots_unreachable: refuse`); value: its status, or what failed",
        host_down="not tried: the host had failed too often in a row; value: how often",
    ),
    # -- fetch: files of inputs
    **_of(
        "input", "fetch",
        missing_file="a file below `image_root` does not exist; value: its name",
        unreadable_file="a file below `image_root`, or a place in an input, cannot be read; value: "
        "the system's error",
    ),
    # -- fetch: pixels
    **_of(
        "content", "fetch",
        empty="the body or file has no bytes",
        not_image="another kind of file; value: which, or its first bytes in hexadecimal",
        unsupported="an image of a kind that is not read; value: which; `heic` and `jxl` are read "
        "where `image.more_formats` names them",
        too_many_pixels="width x height, as the header states it or as it would be written, is "
        "over the recipe's limit; value: the size",
        too_many_frames="more frames than the recipe allows; value: the limit",
        too_long_side="the image would be longer than its encoding allows; value: the size",
        hash_mismatch="the image has not the digest that its list names; value: what was found and "
        "expected",
        decode_error="truncated or damaged; value: the decoder's message",
        decode_timeout="decoding took longer than the limit; value: the seconds allowed",
        decode_memory="decoding needs more memory than the limit; value: the bytes allowed",
        decode_crash="the decoder crashed; value: the signal that ended its process",
    ),
    # -- curate
    **_of(
        "rule", "curate",
        too_few_bytes="fewer bytes than `min_bytes`; value: how many",
        too_small="the shorter side is less than `min_side`; value: the pixels",
        too_few_pixels="width × height is less than `min_pixels`; value: the pixels",
        aspect_ratio="more than `max_aspect_ratio`; value: the ratio",
        other_format="not one of `formats`; value: the format",
    ),
    **_of(
        "rule", "curate",
        evaluation_image="looks like an evaluation image (`decontaminate`); value: the set, the "
        "image, and in how many bits the hashes differ",
        evaluation_text="holds an evaluation text (`decontaminate`), whole or nearly so; value: "
        "the set, the text, and how much of it is there",
    ),
    **_of(
        "duplicate", "curate",
        duplicate_image="another sample has the same bytes of an image; value: its id, here and "
        "below with the corpus where it is one of `dedup.against`",
        near_duplicate_image="another sample has an image that looks the same; value: its id, "
        "which names the cluster of all that went for it, and in how many bits their hashes differ",
        near_duplicate_text="a better sample has nearly the same caption (`near_text`); value: its "
        "id, how similar the captions are, and the id of the best sample of the group",
    ),
}  # fmt: skip
"""Every reason of every stage, by name. A stage that writes another one is stopped. Those of the
stages filter, balance, dedup and curate stand in the order in which rows are held to them."""

_PASSING_STATUS = frozenset({"408", "425", "429"})


def class_of(reason: str, value: str | None = None) -> ReasonClass:
    """The class of a loss.

    Args:
        reason: A name of `REASONS`.
        value: What failed; decides for `http_status`, whose 408, 425, 429 and 5xx are passing.

    Raises:
        KeyError: an unknown reason.
    """
    if reason == "http_status" and value and (value in _PASSING_STATUS or value[0] == "5"):
        return "passing"
    return REASONS[reason].class_


def is_failure(name: str) -> bool:
    """Whether `name` is a class, or a reason for which a fetch fails."""
    return name in CLASSES or (name in REASONS and "fetch" in REASONS[name].stages)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A loss: its reason, and what is known of the row that is lost.

    `value` is what failed, as text (None where the reason's meaning names none). The other fields
    are those of a reject row (`septet.schemas.tables.REJECTS`).
    """

    reason: str
    value: str | None = None
    image_url: str | None = None
    caption: str | None = None
    page_url: str | None = None
    extra: str | None = None
    annotations: str | None = None


class RejectedError(Exception):
    """Raised when one record, row, page or image cannot be used; carries the `Rejected` that says
    why."""

    def __init__(self, reason: str, value: str | None = None):
        super().__init__(f"{reason}: {value}" if value else reason)
        self.rejected = Rejected(reason, value)

    @property
    def reason(self) -> str:
        """A name of `REASONS`."""
        return self.rejected.reason

    @property
    def value(self) -> str | None:
        """The value that failed, as text."""
        return self.rejected.value

    def __reduce__(self) -> tuple[type["RejectedError"], tuple[str, str | None]]:
        return type(self), (self.reason, self.value)


class UnknownReasonError(AssertionError):
    """Raised when a stage rejects rows for a reason that `REASONS` lacks: an error of
    programming."""


def require_known(reasons: list[str]) -> None:
    """Check names of reasons against the table.

    Raises:
        UnknownReasonError: one of them is not in `REASONS`.
    """
    unknown = sorted(set(reasons) - REASONS.keys())
    if unknown:
        raise UnknownReasonError(
            f"reason {unknown[0]!r} is not in schemas/reasons.py: add it there, then `make docs`"
        )


_HEAD = """# Reasons for which rows are lost

Generated from `schemas/reasons.py` by `make docs`; a test keeps it true.

Each row of a corpus' `rejects/` has a `stage`, a `reason` and a `value` (what failed, as text).
"""


def reasons_page() -> str:
    """The page of all reasons as Markdown, by stage."""
    parts = [_HEAD, "## Classes\n", "| class | meaning |\n|---|---|"]
    parts += [f"| {name} | {meaning} |" for name, meaning in CLASSES.items()]
    stages = list(dict.fromkeys(stage for reason in REASONS.values() for stage in reason.stages))
    for stage in stages:
        parts += [f"\n## {stage}\n", "| reason | class | meaning |\n|---|---|---|"]
        parts += [
            f"| `{name}` | {reason.class_} | {reason.meaning} |"
            for name, reason in REASONS.items()
            if stage in reason.stages
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(reasons_page())
