"""`septet browse` on synthetic sidecars: its first page, a filter, and DuckDB alone beside it.

    python -m benchmarks.browse [--rows 10000000] [--rounds 5] [--folder FOLDER] [--warm 120]
        [--demo CORPUS]

Sidecars of 10,000 samples each, with columns as builds write them, and no tars: what is asked is
what the sidecars say. After the first page the server's copy in memory is waited for (`--warm 0`:
it is not). `filter` is the overview and the first page of samples under a condition that
was not asked before. `bare` is the same asked of DuckDB alone, as one writes it who knows it: as
many threads, footers kept, the counts of all facets and histograms by one statement with grouping
sets, after one for the ends (least and greatest values, without the percentile of the pages). In
turns; ratios are of CPU time, as other work decides wall time. With a corpus that has
images, too: the time from the command to the first.
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urljoin

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from septet.pipelines.browse import database
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.pipelines.report.sections import SECTIONS
from septet.preprocess.shards.heads import write_corpus
from septet.schemas.manifest import Shard
from septet.schemas.tables import MEMBERS, SAMPLES

_A_SHARD = 10_000
_FACETS = ("language", "caption_from", "format", "source")
_NUMBERS = ("width", "height")
_OTHERS = {
    "nearly all": "width >= 201", "half": "language_score >= 0.5", "a third": "caption_from == alt",
    "a share": "width top 10%", "words": "caption contains harbour and width < 400",
    "a bar": "width >= 512 and width < 600", "words alone": "caption contains bridge",
}  # fmt: skip
_LANGUAGES = ["en", "de", "fr", "zh", "ru", "es", "ja", "fi", "ko", None]
_WORDS = ["harbour", "winter", "light", "bridge", "bicycle", "wall", "boat", "lake", "market"]


def write_sidecars(folder: Path, rows: int) -> None:
    """Write a corpus's sidecars and lists, the same for the same number of rows."""
    shards = []
    for number in range(-(-rows // _A_SHARD)):
        count = min(_A_SHARD, rows - number * _A_SHARD)
        draw = np.random.default_rng(number)
        places = range(number * _A_SHARD, number * _A_SHARD + count)
        keys = [f"{place:032x}" for place in places]
        spoken = [
            pa.array(_WORDS).take(pa.array(one))
            for one in draw.integers(0, len(_WORDS), (count, 9)).T
        ]
        width, height = draw.integers(200, 4000, (2, count)).astype(np.int32)
        values = {
            "key": keys,
            "url": [f"https://cdn.example.org/{key}.jpg" for key in keys],
            "caption": pc.binary_join_element_wise(*spoken, " "),
            "caption_from": draw.choice(["alt", "figcaption", "title"], count),
            "page_url": [f"https://www.site-{place % 997}.example/" for place in places],
            "source": [f"part-{number % 20}.warc.gz"] * count,
            "language": [_LANGUAGES[one] for one in draw.integers(0, len(_LANGUAGES), count)],
            "language_score": draw.random(count, np.float32),
            "language_from": ["model"] * count,
            "format": draw.choice(["jpeg", "png", "webp"], count),
            "width": width, "height": height, "original_width": width, "original_height": height,
            "original_bytes": draw.integers(5_000, 900_000, count),
            "reencoded": draw.random(count) < 0.5,
            "sha256": [f"{one:064x}" for one in draw.integers(0, 2**62, count)],
        }  # fmt: skip
        sizes = np.stack([values["original_bytes"], 20 + width % 90, 400 + height % 90], axis=1)
        values["members"] = pa.ListArray.from_arrays(
            pa.array(np.arange(0, 3 * count + 1, 3).astype(np.int32)),
            pa.StructArray.from_arrays(
                [
                    pa.array(["jpg", "txt", "json"] * count),
                    pa.array(np.cumsum(sizes.ravel() + 512)),
                    pa.array(sizes.ravel()),
                    pa.array(draw.integers(0, 2**32, 3 * count, np.uint32)),
                ],
                fields=list(MEMBERS.value_type),
            ),
        )
        columns = {
            one.name: pa.array(values.get(one.name, [None] * count), one.type) for one in SAMPLES
        }
        table = pa.table(columns)
        sidecar = f"shards/{number // 1000:05d}/{number:08d}.parquet"
        (folder / sidecar).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / sidecar, compression="zstd")
        shards.append(
            Shard(tar=sidecar.replace(".parquet", ".tar"), sidecar=sidecar, samples=count, bytes=0,
                  tar_sha256="", sidecar_sha256="", first_key=keys[0], last_key=keys[-1])
        )  # fmt: skip
    write_corpus(str(folder), shards, name="synthetic", septet="0", sorted_keys=True)


def bare(db: duckdb.DuckDBPyConnection, least: int) -> None:
    """What the two pages show under a condition, asked of DuckDB alone."""
    where = f"WHERE width >= {least} AND language IN ('de', 'fr')"
    ends = ", ".join(f"min({name}), max({name})" for name in _NUMBERS)
    _, *found = db.execute(f"SELECT count(*), {ends} FROM s {where}").fetchall()[0]
    fields = [*_FACETS]
    for low, high, name in zip(found[::2], found[1::2], _NUMBERS, strict=True):
        width = (high - low) / 24 or 1
        fields.append(f"CAST(floor(({name} - {low}) / {width}) AS INTEGER)")
    names = [f"v{number}" for number in range(len(fields))]
    selected = ", ".join(f"{one} AS {name}" for one, name in zip(fields, names, strict=True))
    db.execute(
        f"SELECT grouping_id({', '.join(names)}) AS which, count(*) AS n, {', '.join(names)} "
        f"FROM (SELECT {selected} FROM s {where}) GROUP BY GROUPING SETS ((), "
        f"{', '.join(f'({name})' for name in names)}) ORDER BY n DESC"
    ).fetchall()
    db.execute(f"SELECT count(*) FROM s {where}").fetchall()
    db.execute(
        f"SELECT key, caption, url, language, width, height FROM s {where} "
        "ORDER BY file_index, file_row_number LIMIT 60"
    ).fetchall()


def first_image(corpus: Path) -> float:
    """Seconds from the command to the bytes of the first thumbnail."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "septet", "browse", str(corpus), "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            link = next(line for line in process.stderr if "token=" in line).strip()
            with httpx.Client(follow_redirects=True, timeout=60) as client:
                client.get(link).raise_for_status()
                page = client.get(urljoin(link, "/samples")).raise_for_status().text
                image = re.search(r'src="(/thumbnails/[^"]*)"', page)
                assert image is not None, "no sample of the first page has an image"
                client.get(urljoin(link, image[1])).raise_for_status()
            return time.perf_counter() - start
        finally:
            process.terminate()


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call: of the clock, and of CPUs."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    database.QUERY_SECONDS = 600.0  # other work on the machine is to end nothing
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the sidecars are kept for another run")
    parser.add_argument(
        "--warm",
        type=float,
        default=120.0,
        help="seconds that what is kept in memory is waited for",
    )
    parser.add_argument("--demo", type=Path, help="a corpus with images")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch) / "corpus"
        if not (folder / "corpus.json").exists():
            write_sidecars(folder, chosen.rows)
        start, cpu = time.perf_counter(), time.process_time()
        tables = Tables(str(folder), Path(scratch))
        client = TestClient(Site(tables).app())

        def show(path: str) -> None:
            assert client.get(path).status_code == 200, path

        show("/")
        print(f"{chosen.rows:,} rows: first page after {time.perf_counter() - start:.2f} s, "
              f"{time.process_time() - cpu:.2f} s of CPUs")  # fmt: skip
        start, cpu = time.perf_counter(), time.process_time()
        while not tables.held.is_ready and time.perf_counter() < start + chosen.warm:
            time.sleep(0.05)
        print(f"warm: {tables.held.is_ready}, after another {time.perf_counter() - start:.2f} s, "
              f"{time.process_time() - cpu:.2f} s of CPUs; "
              f"{tables.database.held_bytes() / 2**20:,.0f} MB")  # fmt: skip
        for name, keep in _OTHERS.items():
            wall, cpu = timed(partial(show, f"/?{urlencode({'keep': keep})}"))
            print(f"overview, {name}: {wall:.2f} s, {cpu:.2f} s of CPUs")
        for name in SECTIONS:
            for keep in ("", "width >= 201", "language_score >= 0.5"):
                query = urlencode({"figures": name, "keep": keep})
                wall, cpu = timed(partial(show, f"/?{query}"))
                print(f"{name}, {keep or 'all'}: {wall:.2f} s, {cpu:.2f} s of CPUs")
        paths = sorted(str(path) for path in folder.glob("shards/*/*.parquet"))
        db = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
        db.execute("SET parquet_metadata_cache = true")
        db.execute(
            "CREATE VIEW s AS SELECT *, file_index, file_row_number FROM "
            f"read_parquet([{', '.join(map(repr, paths))}])"
        )
        bare(db, 1)  # it is warm, too
        ratios = []
        for number in range(chosen.rounds):
            least = 500 + 37 * number
            query = "?" + urlencode({"keep": f"width >= {least} and language in de,fr"})
            pages = [timed(partial(show, page + query)) for page in ("/", "/samples")]
            theirs = timed(partial(bare, db, least))
            ratios.append(sum(cpu for _, cpu in pages) / theirs[1])
            told = [
                f"{name} {wall:.2f} s ({cpu:.2f} of CPUs)"
                for name, (wall, cpu) in zip(
                    ("overview", "samples", "bare"), [*pages, theirs], strict=True
                )
            ]
            print(", ".join(told))
        tables.held.end()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"this process, DuckDB alone included: at most {peak:,.0f} MB")
        if chosen.demo:
            print(f"{chosen.demo}: first image {first_image(chosen.demo):.2f} s after the command")
        print(f"ratio filter_vs_bare_duckdb {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
