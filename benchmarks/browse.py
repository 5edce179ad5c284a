"""`septet browse` on synthetic sidecars: its first page, a filter, and DuckDB alone beside it.

    python -m benchmarks.browse [--rows 10000000] [--rounds 5] [--folder FOLDER]

Sidecars of 10,000 samples each, with columns as builds write them, and no tars: what is asked is
what the sidecars say. `filter` is the overview and the first page of samples under a condition that
was not asked before. `bare` are the same predicate, counts and aggregates for DuckDB alone with as
many threads, a statement each. In turns; ratios are of wall time, two threads each.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.preprocess.shards.heads import write_corpus
from septet.schemas.manifest import Shard
from septet.schemas.tables import SAMPLES

_A_SHARD = 10_000
_LANGUAGES = ["en", "de", "fr", "zh", "ru", "es", "ja", "fi", "ko", None]
_WORDS = ["harbour", "winter", "light", "bridge", "bicycle", "wall", "boat", "lake", "market"]


def write_sidecars(folder: Path, rows: int) -> None:
    """Write a corpus's sidecars and lists, the same for the same number of rows."""
    shards = []
    for number in range(-(-rows // _A_SHARD)):
        count = min(_A_SHARD, rows - number * _A_SHARD)
        draw = np.random.default_rng(number)
        keys = [f"{number * _A_SHARD + row:032x}" for row in range(count)]
        words = draw.integers(0, len(_WORDS), (count, 9))
        width, height = draw.integers(200, 4000, (2, count)).astype(np.int32)
        values = {
            "key": keys,
            "url": [f"https://cdn.example.org/{key}.jpg" for key in keys],
            "caption": [" ".join(_WORDS[word] for word in row) for row in words],
            "caption_from": draw.choice(["alt", "figcaption", "title"], count),
            "page_url": [f"https://www.site-{int(key, 16) % 997}.example/" for key in keys],
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
    for _ in range(2):  # each page says how many there are
        db.execute(f"SELECT count(*) FROM s {where}").fetchall()
    db.execute("SELECT count(*) FROM s").fetchall()
    for name in ("language", "caption_from", "format", "source"):
        db.execute(
            f"SELECT {name}, count(*) AS n FROM s {where} GROUP BY 1 ORDER BY n DESC LIMIT 20"
        ).fetchall()
    for name in ("width", "height", "original_bytes", "language_score"):
        low, high, _ = db.execute(
            f"SELECT min({name}), max({name}), approx_quantile({name}, 0.99) FROM s {where}"
        ).fetchall()[0]
        width = (high - low) / 24 or 1
        db.execute(
            f"SELECT floor(({name} - {low}) / {width}) AS bin, count(*) FROM s {where} GROUP BY 1"
        ).fetchall()
    db.execute(
        f"SELECT key, caption, url, language, width, height FROM s {where} "
        "ORDER BY file_index, file_row_number LIMIT 60"
    ).fetchall()


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the sidecars are kept for another run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch) / "corpus"
        if not (folder / "corpus.json").exists():
            write_sidecars(folder, chosen.rows)
        start = time.perf_counter()
        tables = Tables(str(folder), Path(scratch))
        client = TestClient(Site(tables).app())

        def show(path: str) -> None:
            assert client.get(path).status_code == 200, path

        show("/")
        print(f"{chosen.rows:,} rows: first page after {time.perf_counter() - start:.2f} s")
        print(f"first page again {timed(partial(show, '/')):.2f} s")
        paths = sorted(str(path) for path in folder.glob("shards/*/*.parquet"))
        db = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
        db.execute(
            "CREATE VIEW s AS SELECT *, file_index, file_row_number FROM "
            f"read_parquet([{', '.join(map(repr, paths))}])"
        )
        ours, theirs = [], []
        for number in range(chosen.rounds):
            least = 500 + 37 * number
            query = f"?keep=width+%3E%3D+{least}+and+language+in+de,fr"
            pages = [timed(partial(show, page + query)) for page in ("/", "/samples")]
            ours.append(sum(pages))
            theirs.append(timed(partial(bare, db, least)))
            print(f"overview {pages[0]:.2f} s, samples {pages[1]:.2f} s, bare {theirs[-1]:.2f} s")
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"this process, DuckDB alone included: at most {peak:,.0f} MB")
        print(f"ratio filter_vs_bare_duckdb {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
