"""Septet: from crawled pages to vision-language pretraining.

What the command `septet` does, as functions:

```python
import septet

result = septet.build("recipe.yaml")
corpus = septet.open(result.corpus)
sample = corpus[0]  # {"jpg": b"...", "txt": b"...", "json": b"..."}
```

Importing `septet` imports nothing else: each function imports what it needs when it is called. A
user's mistake is a `ValueError` that says what was expected, what was found and what to do.
"""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from septet.pipelines.browse.notebook import ShownSample
    from septet.pipelines.build import BuildResult
    from septet.pipelines.clean import Leftover
    from septet.pipelines.crawl.crawl import Figures
    from septet.pipelines.index import Indexed
    from septet.pipelines.report.figures import Statistics
    from septet.pipelines.takedown.compact import Compacted
    from septet.pipelines.takedown.remove import Taken
    from septet.preprocess.shards.reader import Corpus
    from septet.schemas.columns import ColumnManifest
    from septet.schemas.view import View

__all__ = [
    "annotate", "build", "check", "clean", "crawl", "curate", "index", "open", "remove", "show",
    "stats", "train",
]  # fmt: skip

Path = str | PathLike[str]
"""A local path, or a URL that fsspec knows (`s3://…`, `gs://…`)."""


def open(corpus: Path) -> "Corpus":
    """A corpus, for reading: a sequence of samples, each a dict of extension to bytes. A notebook
    shows it with its figures and some of its samples.

    Args:
        corpus: A folder that `septet build` or `septet index` made; PATH@VIEW for some of its
            samples.

    Raises:
        ValueError: it is no corpus, or of a newer format than this version reads.
    """
    from septet.pipelines.browse.notebook import ShownCorpus

    return ShownCorpus(fspath(corpus))


def build(
    recipe: Path,
    out: Path | None = None,
    *,
    runner: str = "local",
    workers: int | None = None,
    beam: Sequence[str] = (),
    retry: Sequence[str] = (),
    console: "Console | None" = None,
) -> "BuildResult":
    """Build a corpus from a recipe; resume it; or do nothing where it is up to date.

    Args:
        recipe: The recipe, a YAML file.
        out: The corpus folder; `corpora/NAME` when absent.
        runner: Where the stages run: local, embedded, prism, spark or dataflow.
        workers: Worker processes of the local runner; one a core when absent.
        beam: Flags for Beam on any other runner.
        retry: Classes of failures, or reasons (`docs/reasons.md`), whose images are fetched again.
        console: Where progress is printed; nowhere when absent.

    Raises:
        ValueError: the recipe, an input or a flag is not as it should be, or another process is at
            work in the folder.
        OSError: an input cannot be read, or there was no network for most of the fetches.
        septet.pipelines.runners.StageFailed: a stage failed; what it finished is kept.
    """
    from pathlib import Path as LocalPath

    from septet.pipelines import up_to_date
    from septet.pipelines.annotate.from_recipe import unresolved_columns
    from septet.pipelines.build import build as run_build
    from septet.pipelines.progress import BuildProgress
    from septet.pipelines.runners import make_runner
    from septet.schemas.recipe_file import parse_recipe
    from septet.schemas.recipe_text import read_recipe

    file = LocalPath(fspath(recipe))
    text = read_recipe(file)
    parsed = parse_recipe(text, str(file))
    folder = str(file.absolute().parent)
    corpus = up_to_date.find_corpus(text, fspath(out) if out is not None else None)
    corpus = corpus or str(LocalPath("corpora") / parsed.name)
    patterns = [str(path) for source in parsed.sources for path in source.paths]
    before = up_to_date.look(patterns, file)
    columns = unresolved_columns(parsed, folder)
    column_files = up_to_date.column_files(columns.values())
    named = up_to_date.named_files(parsed, folder)
    named = None if named is None or column_files is None else named | column_files
    with make_runner(runner, workers, beam, corpus, patterns) as chosen:
        chosen.check()
        up_to_date.forget(corpus)
        progress = BuildProgress(console or _nowhere())
        result = run_build(parsed, folder, corpus, chosen, progress, retry)
    figures = {"samples": result.manifest.samples, "shards": result.manifest.shards}
    if parsed.fetch.retry_failed:  # there is always something to try
        return result
    up_to_date.note(corpus, file, text, before, result.inputs, result.image_roots, figures,
                    columns, named)  # fmt: skip
    return result


def crawl(
    seeds: "Path | Sequence[str]",
    out: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    retry: bool = False,
    console: "Console | None" = None,
) -> "Figures":
    """Crawl pages from seeds and keep them as WARC files; go on with a crawl that was stopped.

    Args:
        seeds: A text file of URLs, one a line, or the URLs.
        out: The folder of the crawl, on a local disk.
        settings: Settings of `septet.pipelines.crawl.settings.CrawlSettings`, such as `{"depth": 2,
            "fetch": {"contact": "crawler@example.org"}}`.
        retry: Ask again for what failed and may succeed by now.
        console: Where progress is printed; nowhere when absent.

    Raises:
        ValueError: a seed or a setting is not as it should be, no contact is set, or another crawl
            is at work in the folder.
    """
    from pathlib import Path as LocalPath

    from septet.pipelines.crawl.commands import read_seeds
    from septet.pipelines.crawl.crawl import crawl as run_crawl
    from septet.pipelines.crawl.progress import watch
    from septet.pipelines.crawl.settings import parse_settings

    one_path = isinstance(seeds, str | PathLike)
    urls = read_seeds(LocalPath(fspath(seeds))) if one_path else list(seeds)  # type: ignore[arg-type]
    chosen = parse_settings(settings or {})
    folder = LocalPath(fspath(out))
    folder.mkdir(parents=True, exist_ok=True)
    with watch(console or _nowhere()) as told:
        return run_crawl(urls, folder, chosen, told, retry)


def curate(
    corpus: Path,
    name: str,
    *,
    keep: Sequence[str] = (),
    by: str | None = None,
    split: Mapping[str, float] | None = None,
    out: Path | None = None,
    force: bool = False,
    console: "Console | None" = None,
) -> "list[View]":
    """Choose samples of a corpus by what is known of them: a view, without copying any.

    Args:
        corpus: A corpus folder, or PATH@VIEW.
        name: The view's name; PATH@NAME then stands for its samples.
        keep: Conditions that all must be met, such as "width >= 200" or "clip.similarity top 30%".
        by: A field: `top` and `bottom` are taken within each of its values.
        split: Shares that are held out, as views NAME-PART; NAME is the rest.
        out: Folder for the views; the corpus's own when absent.
        force: Write over views of the same names that were chosen otherwise.
        console: Where progress is printed; nowhere when absent.

    Returns:
        The views that were written, the rest last.

    Raises:
        ValueError: a condition, name or share that cannot be, a name that a view has which was
            chosen otherwise, or no corpus.
    """
    from septet.pipelines.views.curate import Wish
    from septet.pipelines.views.curate import curate as choose

    folder = None if out is None else fspath(out)
    wish = Wish(name, tuple(keep), by, tuple((split or {}).items()), folder, force)
    return choose(fspath(corpus), wish, console or _nowhere())


def annotate(
    corpus: Path,
    column: str,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    only_missing: bool = False,
    runner: str = "local",
    workers: int | None = None,
    beam: Sequence[str] = (),
    console: "Console | None" = None,
) -> "ColumnManifest":
    """Make a column: one annotation of every sample, beside the base shards.

    Args:
        corpus: A corpus folder; PATH@VIEW makes values of a view's samples alone.
        column: Kind of column, or "module:Class" of one of your own.
        name: Its name in this corpus; the kind when absent.
        settings: Settings of the column.
        only_missing: Refuse to make anew what was made with other settings or models.
        runner: Where it runs, as in `build`.
        workers: Worker processes of the local runner; one a core when absent.
        beam: Flags for Beam on any other runner.
        console: Where progress is printed; nowhere when absent.

    Raises:
        ValueError: no such kind, settings or models that do not fit, or another process is at work
            in the folder.
        septet.pipelines.runners.StageFailed: it failed; shards that were finished are kept.
    """
    from septet.pipelines.annotate.annotate import annotate as run_annotate
    from septet.pipelines.annotate.annotate import plan_column
    from septet.pipelines.progress import BuildProgress
    from septet.pipelines.report.current import is_current
    from septet.pipelines.runners import make_runner

    plan = plan_column(fspath(corpus), name or column, column, settings or {})
    path = plan.corpus.path
    with make_runner(runner, workers, beam, path) as chosen:
        chosen.check()
        progress = BuildProgress(console or _nowhere())
        manifest, worked = run_annotate(plan, only_missing, chosen, progress)
    if not is_current(path):
        from septet.pipelines.report.page import refresh_report  # only here: plotting and templates

        refresh_report(path, {plan.name: plan.column})
    if not worked and console is not None:
        console.print(f"{plan.folder} is up to date: nothing to do", soft_wrap=True)
    return manifest


def index(folder: Path, name: str | None = None, *, console: "Console | None" = None) -> "Indexed":
    """Give any folder of WebDataset shards sidecars and a manifest, so that it is a corpus.

    Args:
        folder: Holds `*.tar`, which are read once and left as they are.
        name: Name of the corpus; the folder's when absent.
        console: Where progress is printed; nowhere when absent.

    Returns:
        The corpus's head, the tars that were left out, and notes of what else the folder holds.

    Raises:
        ValueError: the shards are not such that a corpus can be made of them.
    """
    from septet.pipelines.index import index_folder

    return index_folder(fspath(folder), name, console or _nowhere())


def check(
    corpus: Path,
    *,
    decode: bool = False,
    trust: Sequence[str] = (),
    console: "Console | None" = None,
) -> list[str]:
    """Check a corpus and its columns against their manifests.

    Args:
        corpus: A corpus folder.
        decode: Decode every image, too.
        trust: Classes ("module:Class") of columns that may be imported to check their values;
            nothing else that the corpus names is.
        console: Where progress is printed; nowhere when absent.

    Returns:
        A sentence for each fault; empty where there is none.
    """
    from septet.pipelines.annotate.check import check_columns
    from septet.pipelines.check import check_corpus

    path, where = fspath(corpus), console or _nowhere()
    return check_corpus(path, decode, where) + check_columns(path, where, trust)


def clean(
    corpus: Path,
    *,
    remove: bool = False,
    only: Sequence[str] = ("settings", "images", "shards", "unfinished", "sites"),
    console: "Console | None" = None,
) -> "list[Leftover]":
    """List the files of a corpus folder that nothing needs any more, and remove them.

    Args:
        corpus: A corpus folder.
        remove: Remove the files; without it they are only listed.
        only: Kinds of files (`septet.pipelines.clean.KINDS`).
        console: Where progress is printed; nowhere when absent.

    Returns:
        The files by kind, with their bytes.

    Raises:
        ValueError: it is no corpus, there is no such kind, or a build is at work in the folder.
    """
    from septet.pipelines.clean import find_leftovers, remove_leftovers

    path = fspath(corpus)
    if remove:
        return remove_leftovers(path, only, console or _nowhere())
    return find_leftovers(path, only)


def remove(
    corpus: Path,
    *,
    ids: "Path | None" = None,
    urls: "Path | None" = None,
    domain: "Path | None" = None,
    phash: "Path | None" = None,
    compact: bool = False,
    note: str = "",
    who: str = "",
    console: "Console | None" = None,
) -> "tuple[Taken | None, Compacted | None]":
    """Take samples down: from now on no reader gives them, and no build brings their images back.

    Whoever names a sample of an image means the image: all samples with its URL or its bytes go.

    Args:
        corpus: A corpus folder.
        ids: A file of keys of samples, one a line.
        urls: A file of URLs of images or pages, one a line.
        domain: A domain, or a file of them: all images and pages there and below.
        phash: An image, or a file of paths of images and of perceptual hashes: what looks like
            them.
        compact: Write the shards and columns anew that still hold bytes of removed samples, and
            overwrite those in the fetch store.
        note: Why, for the corpus's log.
        who: Who asks for it, for the log; the user when absent.
        console: Where progress is printed; nowhere when absent.

    Returns:
        What was removed, None where no list was given; and what was compacted.

    Raises:
        ValueError: several lists, a list that cannot be read, no corpus, or another process is at
            work in the folder.
        OSError: a shard to be compacted is damaged.
    """
    from septet.pipelines.takedown.compact import compact as write_anew
    from septet.pipelines.takedown.remove import read_asked
    from septet.pipelines.takedown.remove import remove as take_down

    given = {"ids": ids, "urls": urls, "domain": domain, "phash": phash}
    lists = {how: fspath(value) for how, value in given.items() if value is not None}
    if len(lists) > 1 or not (lists or compact):
        raise ValueError("give one of ids, urls, domain and phash: a file with a value a line")
    path, where = fspath(corpus), console or _nowhere()
    wanted = [read_asked(path, how, file) for how, file in lists.items()]  # type: ignore[arg-type]
    taken = [take_down(path, one, who, note, where) for one in wanted]
    done = write_anew(path, who, note, where) if compact else None
    return (taken[0] if taken else None), done


def show(corpus: "Path | Corpus", sample: int | str) -> "ShownSample":
    """A sample that shows itself in a notebook: its image with boxes, its texts, and the values
    of its columns.

    Args:
        corpus: A corpus that `open` gave, or its folder, or PATH@VIEW.
        sample: The sample's index, or its key or the beginning of it.

    Raises:
        ValueError: there is no such sample, or several keys begin so.
    """
    from septet.pipelines.browse.notebook import show as draw
    from septet.preprocess.shards.reader import Corpus

    return draw(corpus if isinstance(corpus, Corpus) else Corpus(fspath(corpus)), sample)


def stats(corpus: Path) -> "Statistics":
    """What a corpus holds and what its build dropped: the figures that its build counted, where
    they are kept; else counted anew.

    Args:
        corpus: A corpus folder.

    Raises:
        ValueError: it is no corpus.
    """
    from septet.pipelines.report.statistics import known_statistics

    return known_statistics(fspath(corpus))


def train(
    model: str,
    corpora: Path | Sequence[Path],
    *,
    preset: str = "debug",
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    held_out: Path | None = None,
    initial: Sequence[Path] = (),
    resume: bool = True,
) -> int:
    """Train a model on a corpus; a run that was stopped goes on where it was.

    Args:
        model: beit3, clip, ernie_vil, flava, m6, ofa or pali.
        corpora: A corpus folder, or several, as `septet train` takes them (PATH@WEIGHT,
            STREAM=PATH).
        preset: Size and recipe; `debug` runs on a laptop.
        out: Folder of the run; `runs/MODEL-PRESET` when absent.
        settings: Changes of settings, such as {"train.steps": 100}.
        held_out: Corpus to measure on.
        initial: Files of weights to start from, on disk or at URLs.
        resume: Go on from the newest checkpoint in the folder.

    Returns:
        0, or another status where the run was ended by a signal and its state is saved.

    Raises:
        ValueError: no such model, preset or setting, or a corpus that does not fit.
    """
    from septet.trainers.commands.train import train_model

    several = [corpora] if isinstance(corpora, str | PathLike) else corpora
    return train_model(
        model,
        [fspath(corpus) for corpus in several],
        preset,
        ([] if held_out is None else [fspath(held_out)], None, None),
        fspath(out) if out is not None else None,
        tuple(fspath(part) for part in initial),
        resume,
        [],
        [f"{key}={value}" for key, value in (settings or {}).items()],
        None,
    )


def _nowhere() -> "Console":
    from rich.console import Console

    return Console(quiet=True)
