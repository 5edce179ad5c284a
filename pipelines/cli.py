"""The command line `septet`. Each command's code is imported only when it is called."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from septet.preprocess.entry_points import offered, package_of, require_single

_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": "markdown",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

COMMANDS = {
    "build": ("septet.pipelines.commands:build",
              "Build a corpus from a recipe; resume it; or do nothing where it is up to date."),
    "crawl": ("septet.pipelines.crawl.commands:crawl",
              "Crawl pages from seeds and keep them as WARC files, which a recipe reads at no "
              "cost."),
    "rules": ("septet.pipelines.rules.commands:rules",
              "List the rules and the named sets of them, or print the thresholds and sources of "
              "one."),
    "try": ("septet.pipelines.rules.commands:try_recipe",
            "Show what each rule of a recipe would drop, with examples, without building."),
    "index": ("septet.pipelines.commands:index",
              "Give any folder of WebDataset shards sidecars and a manifest, so that it is a "
              "corpus."),
    "check": ("septet.pipelines.commands:check",
              "Check a corpus and its columns against their manifests."),
    "clean": ("septet.pipelines.commands:clean",
              "List the files of a corpus folder that nothing needs any more, and remove them."),
    "remove": ("septet.pipelines.takedown.commands:remove",
               "Take samples down: no reader gives them any more, and no build brings them back."),
    "curate": ("septet.pipelines.views.commands:curate",
               "Choose samples by what is known of them: a view, without computing or copying "
               "any."),
    "annotate": ("septet.pipelines.annotate.commands:annotate",
                 "Make a column: one annotation of every sample, beside the base shards."),
    "columns": ("septet.pipelines.annotate.commands:columns",
                "List the kinds of columns that are installed, or the settings of one."),
    "stats": ("septet.pipelines.report.commands:stats",
              "Count what a corpus holds and what its build dropped."),
    "show": ("septet.pipelines.report.commands:show",
             "Print one sample: its caption, its metadata and what the tar holds of it."),
    "browse": ("septet.pipelines.browse.commands:browse",
               "See, filter and cut a corpus in a browser."),
}  # fmt: skip
"""Name, where the code is, and the first line of its help."""

ENTRY_POINTS = "septet.commands"
"""Group of entry points of further commands, Septet's own trainers' and other packages'."""
TRAINERS = {
    "train": "Train a model on a corpus.",
    "predict": "Ask a trained model.",
    "export": "Write a run's newest weights for another library; their moving average if it has "
    "one.",
    "weights": "Say what a file of weights holds of a model, and convert it.",
    "sizes": "Print the sizes of all presets, as docs/models.md has them.",
}
"""The first lines of the trainers' commands."""


class LazyGroup(TyperGroup):
    """A group of commands whose code is imported when one is called, and not for the group's own
    help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._listing = False
        self._elsewhere = offered(ENTRY_POINTS)
        for name, entry in self._elsewhere.items():
            text = TRAINERS.get(name, f"A command of {package_of(entry)}.")
            self.commands[name] = TyperCommand(name, help=text)
        for name, (_, text) in COMMANDS.items():  # last: no package's replaces Septet's own
            self.commands[name] = TyperCommand(name, help=text)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported unless only its first line is wanted.

        Raises:
            ValueError: two packages offer it, of which Septet may be the one.
        """
        if cmd_name not in self.commands or self._listing:
            return self.commands.get(cmd_name)
        own = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else None
        require_single(ENTRY_POINTS, cmd_name, own)
        if own is None:
            function = self._elsewhere[cmd_name].load()
        else:
            module, _, attribute = own.partition(":")
            function = getattr(importlib.import_module(module), attribute)
        return _command(cmd_name, function)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the group's help, without importing a command."""
        self._listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names of commands that begin so, without importing one."""
        self._listing = True
        return super().shell_complete(ctx, incomplete)


def _command(name: str, function: Callable[..., Any]) -> Any:
    alone = typer.Typer(add_completion=False, **_SETTINGS)
    alone.command(name, cls=getattr(function, "command_class", None))(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="septet",
    cls=LazyGroup,
    help="From crawled pages to vision-language pretraining: one corpus engine, seven recipes.\n\n"
    "A first round: septet build examples/recipes/demo.yaml, then septet stats corpora/demo, "
    "then septet train clip corpora/demo --preset debug.",
    no_args_is_help=True,
    **_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"septet {version('septet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True,
                     help="Print the version and end."),
    ] = False,
) -> None:  # fmt: skip
    """Options of `septet` itself."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's error is one message and status 2."""
    if os.environ.get("SEPTET_LOG"):  # else nothing is imported for it
        from septet.preprocess.log import install

        install()
    try:
        app(arguments)
    except (ValueError, OSError) as error:
        _fail(error)
    except RuntimeError as error:
        # Imported only here: whoever raised it has imported it.
        base = sys.modules.get("septet.pipelines.runners.base")
        if base is None or not isinstance(error, base.StageFailed):
            raise
        _fail(error)


def _fail(error: Exception) -> None:
    from septet.pipelines.report.readable import clean
    from septet.preprocess.log import tell_error

    tell_error("septet", clean(str(error)))
    sys.exit(2)


if __name__ == "__main__":
    main()
