"""A writer of the fetch store: blocks of images with their tables."""

import hashlib
import json
import secrets
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.folders import path_of
from septet.pipelines.store.looks import LOOKS
from septet.pipelines.store.store import LIMITS_FOOTER
from septet.preprocess import files
from septet.preprocess.bounded import Patience
from septet.preprocess.http.client import Fetched
from septet.preprocess.images.process import process_image
from septet.schemas import tables
from septet.schemas.reasons import Rejected, class_of
from septet.schemas.recipe import Image

IMAGES_A_BLOCK = 4000
_BYTES_A_BLOCK = 256 * 2**20
_SECONDS_A_BLOCK = 30.0
"""The greatest age of a block, from its first image on: so much work is lost at most when a task is
killed."""
_DECODE_WALL_SECONDS = 1200.0
"""The time of one image on the clock: more than its bound of CPU time in a process of its own takes
on a busy machine."""
SILENT = frozenset({"dns", "connect", "timeout", "host_down"})
"""Reasons of failures in which no answer came from the host."""
_DESCRIBED = (
    "format", "ext", "width", "height", "original_width", "original_height", "reencoded",
)  # fmt: skip


class StoreWriter:
    """A writer of images, taken in any order and from several threads; it decodes them and stores
    their bytes.

    A context manager. What is in a finished block is stored whatever happens later: a task that
    is killed loses the images of its last block.

    Args:
        corpus: The corpus folder.
        folder: The folder of the generation, within the corpus.
        task: Name of the task, a digest; files are named by it and by a token of this attempt.
        limits: See `Store.limits`.
        settings: The recipe's `image` section.
        hashes: See `Store.hashes`.
        apart: Whether each image is decoded in another process, which may crash.
    """

    def __init__(
        self,
        corpus: str,
        folder: str,
        task: str,
        limits: dict[str, Any],
        settings: Image,
        hashes: Sequence[str] = (),
        apart: bool = False,
    ):
        self.counts = Counts()
        """The figures of what was put, whether its block is complete or not."""
        self._in_block = Counts()
        self._corpus, self._limits, self._settings = corpus, limits, settings
        self._hashes, self._apart = hashes, apart
        self._stem = f"{path_of(folder, task)}-{secrets.token_hex(4)}"
        self._block = 0
        self._rows: list[dict[str, Any]] = []
        self._opened: AbstractContextManager[BinaryIO] | None = None
        self._out: BinaryIO | None = None
        self._end = 0
        self._since = 0.0
        self._lock = threading.Lock()
        self._patience = Patience(_DECODE_WALL_SECONDS)

    def __enter__(self) -> Self:
        self._patience.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patience.__exit__()
        if kind is None:
            self._close_block()
        elif self._opened is not None:
            self._opened.__exit__(kind, error, trace)  # removes the temporary file

    def put(self, got: Fetched, digest: str | None = None) -> None:
        """Process one result of a fetch, image or failure.

        Args:
            got: The body, or why there is none.
            digest: The digest of the input or folder that it was read from; None for the network.
        """
        row: dict[str, Any] = {
            "image_url": got.url, "reason": got.reason, "value": got.value, "digest": digest,
        }  # fmt: skip
        data = b""
        if got.body is not None:
            row["original_bytes"] = len(got.body)
            for name in ("sha256", *self._hashes):
                row[name] = hashlib.new(name, got.body, usedforsecurity=False).hexdigest()
            # Apart, a decode has bounds of its own.
            with nullcontext() if self._apart else self._patience.call():
                image = process_image(got.body, self._settings, self._apart)
            if isinstance(image, Rejected):
                row |= {"reason": image.reason, "value": image.value}
            else:
                row |= {name: getattr(image, name) for name in _DESCRIBED}
                row |= {name: getattr(image.appearance, name) for name in LOOKS}
                data = image.data
        with self._lock:
            self._append(row, data)

    def _append(self, row: dict[str, Any], data: bytes) -> None:
        if not self._rows:
            self._since = time.monotonic()
        counts = Counts(rows_in=1)
        if row["reason"] is None:
            if self._out is None:
                self._opened = files.open_atomic(files.join(self._corpus, self._path("bin")))
                self._out = self._opened.__enter__()
                self._end = 0
            self._out.write(data)
            row |= {
                "file": self._path("bin"), "offset": self._end, "size": len(data),
                "crc32": zlib.crc32(data),
            }  # fmt: skip
            self._end += len(data)
            counts.rows_out += 1
            counts.other["bytes"] += row["original_bytes"]
        else:
            counts.rejected[row["reason"]] += 1
        if row["digest"] is None:
            counts.other["asked"] += 1
            passing = row["reason"] and class_of(row["reason"], row["value"]) == "passing"
            counts.other["passing"] += bool(passing)
            counts.other["unanswered"] += row["reason"] in SILENT
        self.counts.add(counts)
        self._in_block.add(counts)
        self._rows.append(row)
        if (
            len(self._rows) >= IMAGES_A_BLOCK
            or self._end >= _BYTES_A_BLOCK
            or time.monotonic() - self._since >= _SECONDS_A_BLOCK
        ):
            self._close_block()

    def _path(self, ext: str) -> str:
        return f"{self._stem}-{self._block:04d}.{ext}"

    def _close_block(self) -> None:
        """Finish a block: first the images, then the table that makes them count."""
        if not self._rows:
            return
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
        rows = sorted(self._rows, key=lambda row: (row["image_url"], row["digest"] or ""))
        files.write_table(
            files.join(self._corpus, self._path("parquet")),
            pa.Table.from_pylist(rows, tables.STORED),
            metadata={LIMITS_FOOTER: json.dumps(self._limits)} | self._in_block.to_metadata(),
        )
        self._in_block = Counts()
        self._rows, self._opened, self._out, self._end = [], None, None, 0
        self._block += 1
