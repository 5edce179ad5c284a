"""Small real builds for tests."""

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from septet.pipelines.annotate.annotate import annotate, plan_column
from septet.pipelines.build import BuildResult, build
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import Runner, make_runner
from septet.schemas.columns import ColumnManifest
from septet.schemas.recipe_file import parse_recipe
from tests.warcs import Response, html, image, write_warc

CAPTIONS = (
    "A red bicycle leaning against a brick wall number {}",
    "Ein Blick auf den alten Hafen im Winter, Aufnahme {}",
    "Une tasse de café posée sur la table numéro {}",
    "Вид на старую крепость с реки, снимок {}",
    "窗外的雪山和湖泊的风景照片第{}张",
)


def random_image(seed: int, width: int = 320, height: int = 240, kind: str = "JPEG") -> bytes:
    """A smooth random image, the same for the same seed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


def site(pages: int, images: int) -> list[Response]:
    """Pages with figures, repeated navigation icons, and the images themselves."""
    responses = []
    for page in range(pages):
        language = page % len(CAPTIONS)
        figures = "".join(
            f'<figure><img src="/img/{n}.jpg" alt="{CAPTIONS[language].format(n)}">'
            f"<figcaption>{CAPTIONS[language].format(page)} / {n}</figcaption></figure>"
            for n in ((page * 3 + k) % images for k in range(3))
        )
        icons = '<img src="/home.png" alt="Back to the first page"><img src="/x.gif"><img src="/logo.png" alt="logo">'
        responses.append(
            html(f"http://site.test/{page}.html", f"<html lang=en>{icons}{figures}</html>")
        )
    responses += [
        image(
            f"http://site.test/img/{n}.jpg",
            random_image(n % (images - 2), 300 + n, 280),
            "image/jpeg",
        )
        for n in range(images)
    ]
    responses.append(image("http://site.test/home.png", random_image(10**6, 32, 32, "PNG")))
    return responses


def write_site(folder: Path, parts: int = 3, pages: int = 24, images: int = 20) -> Path:
    """A recipe in `folder` over the site's WARCs, `parts` in all."""
    folder.mkdir(parents=True, exist_ok=True)
    responses = site(pages, images)
    for part in range(parts):
        write_warc(folder / f"part-{part}.warc.gz", responses[part::parts])
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: site\nsources:\n  - kind: warc\n    paths: ['*.warc.gz']\n"
        "dedup: {pages_per_pair: 10}\nwrite: {samples_per_shard: 12}\n"
    )
    return recipe


@contextmanager
def quiet_progress() -> Iterator[BuildProgress]:
    """Progress that is shown nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        yield BuildProgress(Console(file=nowhere))


def run_build(
    recipe: Path,
    corpus: Path | str,
    workers: int = 1,
    runner: Runner | None = None,
    retry: Sequence[str] = (),
) -> BuildResult:
    """Build without any output, on the local runner unless another is given."""
    with _runner(runner, workers, corpus) as chosen, quiet_progress() as progress:
        parsed = parse_recipe(recipe.read_text(), str(recipe))
        return build(parsed, str(recipe.parent), str(corpus), chosen, progress, retry)


def run_annotation(
    corpus: Path,
    kind: str,
    settings: dict | None = None,
    *,
    name: str = "",
    workers: int = 1,
    runner: Runner | None = None,
    only_missing: bool = False,
) -> ColumnManifest:
    """Make a column without any output, on the local runner unless another is given."""
    plan = plan_column(str(corpus), name or kind, kind, settings or {})
    with _runner(runner, workers, corpus) as chosen, quiet_progress() as progress:
        return annotate(plan, only_missing, chosen, progress)[0]


@contextmanager
def _runner(given: Runner | None, workers: int, corpus: Path | str) -> Iterator[Runner]:
    """The given runner, else a local one; checked."""
    with given or make_runner("local", workers, [], str(corpus)) as runner:
        runner.check()
        yield runner


def digests(corpus: Path) -> dict[str, str]:
    """SHA-256 of every file that a build promises to write alike: all but `stages/` and `store/`,
    which hold intermediate files, and the wall times with the page that shows them."""
    return {
        str(path.relative_to(corpus)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(corpus.rglob("*"))
        if path.is_file()
        and path.relative_to(corpus).parts[0] not in ("stages", "store")
        and path.name not in ("build.json", "report.html")
    }


def rows(corpus: Path, folder: str) -> list[dict]:
    """All rows of the Parquet files in a folder of the corpus."""
    import pyarrow.parquet as pq

    return [
        row
        for path in sorted((corpus / folder).rglob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
