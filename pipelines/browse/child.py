"""A command that is kept running and answers JSON lines: heavy work outside of the server.

It is started when something is first asked, answers one question at a time, and is ended where an
answer takes too long or is not waited for; the next question starts it anew.
"""

import json
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

from septet.pipelines.browse.stopping import stoppable
from septet.pipelines.report import readable

_MOST_BYTES = 64 * 2**20
"""The most bytes of an answer."""


class ChildError(ValueError):
    """Raised when there is no answer; says why."""


class Child:
    """A command that reads a JSON object a line and writes one for each.

    Args:
        command: The command with its arguments.
        seconds: The most time for an answer, with the time it takes to start.
        environment: Its environment; None for the same as this one's.
    """

    def __init__(
        self, command: Sequence[str], seconds: float, environment: dict[str, str] | None = None
    ):
        self._command, self._seconds, self._environment = [*command], seconds, environment
        self._asking = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (as long as this)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            ChildError: another question is not answered in time, this one is not, or it fails.
        """
        ends = time.monotonic() + self._seconds
        if not self._asking.acquire(timeout=self._seconds):
            raise ChildError("another question is being answered: ask again")
        try:
            with stoppable(self._kill):
                answer = self._exchange(json.dumps(question).encode() + b"\n", ends)
        except BaseException:
            self.end()
            raise
        finally:
            self._asking.release()
        if "error" in answer:
            raise ChildError(readable.one_line(str(answer["error"]), 400))
        return answer

    def _exchange(self, line: bytes, ends: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            self._said.truncate(0)
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
                env=self._environment, bufsize=0,
            )  # fmt: skip
        assert process.stdin and process.stdout
        try:
            process.stdin.write(line)
        except BrokenPipeError:
            raise ChildError(self._why()) from None
        found = bytearray()
        while not found.endswith(b"\n"):
            left = ends - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise ChildError(f"no answer within {self._seconds:g} seconds: it was given up")
            part = os.read(process.stdout.fileno(), 1 << 16)
            found += part
            if not part:
                raise ChildError(self._why())
            if len(found) > _MOST_BYTES:
                raise ChildError("the answer is too large")
        try:
            answer = json.loads(found)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ChildError(
                f"no answer, but {readable.one_line(found.decode(errors='replace'), 200)}"
            )
        return answer

    def _why(self) -> str:
        """What the command said last."""
        process = self._process
        if process is not None:
            process.wait(10)
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - 4000))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return readable.one_line(lines[-1], 400) if lines else "it ended without an answer"

    def _kill(self) -> None:
        """End the command from another thread: who reads its answer finds that there is none."""
        if process := self._process:
            process.kill()

    def end(self) -> None:
        """End the command; the next question starts it anew."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
