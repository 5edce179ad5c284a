"""Answers to questions on standard input, a JSON object a line: heavy work in a process of its own,
for programs that are not to hold it."""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, TextIO


def answer_lines(
    answer: Callable[[dict[str, Any]], dict[str, Any]], questions: TextIO, answers: TextIO
) -> None:
    """Answer questions until there are no more, each by a line: a JSON object, which has `error`
    where there is no answer.

    Args:
        answer: Gives the answer to a question, JSON without NaN and infinities. Raises ValueError
            or OSError where there is none.
        questions: Lines of JSON objects.
        answers: Where a line is written for each.
    """
    with redirect_stdout(sys.stderr):  # whatever libraries print is no answer
        for line in questions:
            try:
                asked = json.loads(line)
                if not isinstance(asked, dict):
                    raise ValueError("expected a JSON object")
                found = answer(asked)
            except (ValueError, OSError) as error:
                found = {"error": str(error)}
            answers.write(json.dumps(found, allow_nan=False) + "\n")
            answers.flush()
