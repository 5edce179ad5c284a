"""`septet export`: a run's weights, as other libraries load them; a corpus's samples as plain
tars."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from septet.preprocess import files
from septet.preprocess.scratch import scratch_folder
from septet.preprocess.shards.export import export_tars
from septet.preprocess.shards.reader import Corpus
from septet.trainers.commands.train import has_corpus
from septet.trainers.commands.trained import Trained


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of the run, with its run.json; or a corpus, or PATH@VIEW."
        ),
    ],
    out: Annotated[str, typer.Argument(help="Folder or URL to write to.")],
    form: Annotated[str, typer.Option(help="Whose form: hf, or open_clip for CLIP.")] = "hf",
    samples_per_tar: Annotated[int, typer.Option(help="Of a corpus: samples of a tar.")] = 10_000,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Of a corpus: a column whose values go with the samples."),
    ] = None,
) -> None:
    """Write a run's newest weights for another library; their moving average if it has one.

    Of a corpus or a view, PATH@VIEW: write its samples as plain tars, which any reader of
    WebDataset takes.

    **Examples**

    septet export runs/clip-debug exported/

    septet export corpora/demo@best tars/
    """
    try:
        if has_corpus(run):
            tars, samples = export_tars(Corpus(run), out, samples_per_tar, column or ())
            typer.echo(f"{run}: {samples:,} samples in {tars:,} tars in {out}")
            return
        trained = Trained(run)
        task, module = trained.task, trained.module()
        with _folder(out) as folder:
            written = task.export(module.state_dict(), folder, form)
            paths = [files.join(out, str(path.relative_to(folder))) for path in written]
    except (ValueError, OSError) as error:
        typer.secho(f"septet export: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{trained.name} of {run}: {', '.join(paths)}")
    if task.forms is not None:
        for note in task.forms.named(form).notes(task.settings):
            typer.secho(f"note: {note}", fg="yellow", err=True)


@contextmanager
def _folder(out: str) -> Iterator[Path]:
    """A local folder whose files go to `out`: `out` itself, or one whose files are sent there."""
    if files.is_local(out):
        yield files.local_path(out)
        return
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as made:
        folder = Path(made)
        yield folder
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with (
                path.open("rb") as given,
                files.open_atomic(files.join(out, str(path.relative_to(folder)))) as kept,
            ):
                shutil.copyfileobj(given, kept)
