"""One small pipeline of the shape of a stage: tasks, files written whole, tables grouped."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa

from septet.preprocess import files

BUCKETS = 5
ROWS = 100


def table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def bytes_table(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


class ReadTask(beam.DoFn):
    """A task's rows, cut into one table a bucket; the rows are written whole besides."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, task: str) -> Iterator[tuple[str, bytes]]:
        ids = [f"{task}-{row:03d}" for row in range(ROWS)]
        path = files.join(self.folder, "tasks", f"{task}.parquet")
        files.write_table(path, pa.table({"id": ids}))
        for bucket in range(BUCKETS):
            table = pa.table({"id": ids[bucket::BUCKETS]})
            yield f"{bucket:05d}", table_bytes(table)


class WriteBucket(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, group: tuple[str, Iterable[bytes]]) -> None:
        bucket, parts = group
        table = pa.concat_tables(bytes_table(part) for part in parts).sort_by("id")
        files.write_table(files.join(self.folder, "buckets", f"{bucket}.parquet"), table)


def small_stage(folder: str, tasks: int):
    """Writes `tasks` task files and BUCKETS bucket files below `folder`."""

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "tasks" >> beam.Create([f"{task:05d}" for task in range(tasks)])
            | "read" >> beam.ParDo(ReadTask(folder))
            | "bucket" >> beam.GroupByKey()
            | "write" >> beam.ParDo(WriteBucket(folder))
        )

    return build


class Refuse(beam.DoFn):
    def process(self, task: str) -> None:
        raise ValueError(f"task {task} has no rows")


def refusing_stage(pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(["a"]) | "filter/captions" >> beam.ParDo(Refuse())
