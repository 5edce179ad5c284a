"""The command `septet remove`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from septet.pipelines.takedown.remove import Taken

_SHOWN = 20


def remove(
    corpus: Annotated[str, typer.Argument(help="A corpus folder.")],
    ids: Annotated[
        str | None, typer.Option(
            metavar="FILE", help="Keys of samples, one a line; or the `ids.npy` of a view."
        ),
    ] = None,
    urls: Annotated[
        str | None, typer.Option(metavar="FILE", help="URLs of images or pages, one a line.")
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Domains, one a line, or one domain itself: all images "
                     "and pages there and below."),
    ] = None,
    phash: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="An image; or a list of paths of images, or of "
                     "perceptual hashes (16 hex digits, as ImageHash prints them), one a line: all "
                     "images that look the same."),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Write the shards and columns anew that still hold bytes of "
                     "removed samples, and overwrite those in the fetch store."),
    ] = False,
    note: Annotated[str, typer.Option(help="Why, for the log.")] = "",
    who: Annotated[str, typer.Option(help="Who asks for it, for the log; the user.")] = "",
) -> None:  # fmt: skip
    """Take samples down: no reader gives them any more, and no build brings them back.

    Whoever names a sample of an image means the image: all samples with its URL or its bytes go. A
    training run that goes on puts other samples in their places. What names no sample is counted
    and named, and is no error; a list may be given again. Later builds of this corpus drop all that
    was ever asked for, whatever brings it. `removed/log.jsonl` says when, by whom and why.

    With `--compact` their bytes leave shards, columns and fetch store, though not the inputs that
    builds read. A run that trains from these shards at that moment ends, and goes on when it is
    started again.

    **Examples**

    septet remove corpora/demo --ids keys.txt --note "asked for by its photographer"

    septet remove corpora/demo --domain example.org

    septet remove corpora/demo --phash photo.jpg

    septet remove corpora/demo --compact
    """
    from rich.console import Console

    import septet
    from septet.pipelines.report.readable import size

    console = Console(stderr=True)
    taken, done = septet.remove(
        corpus,
        ids=ids,
        urls=urls,
        domain=domain,
        phash=phash,
        compact=compact,
        note=note,
        who=who,
        console=console,
    )

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if taken is not None:
        _tell(corpus, taken, say)
    if done is not None:
        say(
            f"{corpus}: {done.samples:,} samples taken out of {done.shards:,} shards, "
            f"{size(done.bytes)} less; {done.stored:,} images overwritten in the fetch store"
        )


def _tell(corpus: str, taken: "Taken", say: Callable[[str], None]) -> None:
    from septet.pipelines.report.readable import one_line

    if taken.unknown:
        shown = ", ".join(one_line(line, 120) for line in taken.unknown[:_SHOWN])
        more = len(taken.unknown) - _SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        say(f"{len(taken.unknown):,} lines name no sample: {shown}{rest}")
        say("later builds drop what they name")
    if taken.before:
        say(f"{taken.before:,} lines name samples that were removed before")
    if not taken.removed:
        say(f"{corpus}: nothing to remove; {taken.left:,} samples as before")
        return
    more = taken.with_others
    others = f" ({more:,} not named, with an image of one that was)" if more else ""
    say(f"{corpus}: removed {taken.removed:,} samples{others}; {taken.left:,} are left")
