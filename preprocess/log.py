"""What a command says while it works: lines for a person or, with `SEPTET_LOG=json`, for a machine.

Each line is then one JSON object with `time` (UTC), `level`, `message`, `rank` where torchrun
started it, and the fields that are known: `stage` and `shard` of builds, `step` of runs.
"""

import json
import logging
import math
import os
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.text import Text

VARIABLE = "SEPTET_LOG"


def wants_json() -> bool:
    """Whether the environment asks for JSON lines."""
    return os.environ.get(VARIABLE, "").lower() == "json"


def json_line(message: str, level: str = "info", **fields: Any) -> str:
    """One line. A number that JSON does not have is its word."""
    rank = os.environ.get("RANK")
    known: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "message": message,
        **({"rank": int(rank)} if rank else {}),
        **fields,
    }
    for name, value in known.items():
        if isinstance(value, float) and not math.isfinite(value):
            known[name] = str(value)
    return json.dumps(known, ensure_ascii=False, default=str) + "\n"


class JsonConsole(Console):
    """A console that writes a JSON line a print."""

    def __init__(self, file: IO[str]):
        super().__init__(
            file=file, color_system=None, force_terminal=False, highlight=False, soft_wrap=True
        )

    def print(self, *objects: Any, **options: Any) -> None:
        """Write what a person would read as the line's message."""
        self.write({}, *objects, **options)

    def write(self, fields: dict[str, Any], *objects: Any, **options: Any) -> None:
        """The same with fields."""
        with self.capture() as shown:
            super().print(*objects, **options)
        if message := shown.get().strip():
            self.file.write(json_line(message, **fields))
            self.file.flush()


def make_console(stderr: bool = False, **options: Any) -> Console:
    """A console for a person, or one that writes JSON lines."""
    if wants_json():
        return JsonConsole(sys.stderr if stderr else sys.stdout)
    return Console(stderr=stderr, **options)


def tell(console: Console, text: str, soft_wrap: bool | None = None, /, **fields: Any) -> None:
    """Print a text, and as JSON these fields of it."""
    if isinstance(console, JsonConsole):
        console.write(fields, text)
    else:
        console.print(text, soft_wrap=soft_wrap)


def tell_error(command: str, text: str) -> None:
    """Print why a command ends, on stderr."""
    if wants_json():
        sys.stderr.write(json_line(f"{command}: {text}", "error"))
    else:
        message = Text.assemble((f"{command}:", "bold red"), " ", text)
        Console(stderr=True).print(message, soft_wrap=True)


class _Lines(logging.Handler):
    """Writes what libraries log and warn of."""

    def emit(self, record: logging.LogRecord) -> None:
        told = {"logger": record.name}
        if record.exc_info:
            told["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        sys.stderr.write(json_line(record.getMessage(), record.levelname.lower(), **told))


def _raised(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    message = f"{kind.__name__}: {error}"
    sys.stderr.write(json_line(message, "error", traceback=text))


def install() -> None:
    """Make lines of warnings, of what libraries log and of an error that ends the process, too,
    where lines are asked for."""
    if wants_json():
        logging.basicConfig(handlers=[_Lines(logging.WARNING)], force=True)
        logging.captureWarnings(True)
        sys.excepthook = _raised
