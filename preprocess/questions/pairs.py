"""A question about an image with its answer."""

from dataclasses import dataclass
from typing import Any

from septet.preprocess.columns.left_out import MALFORMED


@dataclass(frozen=True)
class Question:
    """A question-answer pair."""

    question: str
    answer: str
    """The answer that counts."""
    kind: str
    """`object`, `number`, `color`, `location`; with VQA sets what the set says, or nothing."""
    language: str = "en"
    """ISO 639 code of the question."""
    answers: tuple[tuple[str, int], ...] = ()
    """All answers that people gave, with VQA sets, and how many gave each, the most frequent
    first."""

    def to_json(self) -> dict[str, Any]:
        """The pair as JSON takes it; `answers` is left out where there are none."""
        data: dict[str, Any] = {
            "question": self.question,
            "answer": self.answer,
            "kind": self.kind,
            "language": self.language,
        }
        return data | ({"answers": [list(a) for a in self.answers]} if self.answers else {})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Question":
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is missing or of a wrong kind, the question or answer is empty, a
                count is below 1.
        """
        try:
            answers = tuple((str(text), int(count)) for text, count in data.get("answers", ()))
            found = cls(data["question"], data["answer"], data["kind"], data["language"], answers)
        except MALFORMED as error:
            raise ValueError(f"no question: {type(error).__name__}: {error}") from error
        for text in (found.kind, found.language):
            if not isinstance(text, str):
                raise ValueError(f"a kind or language that is no text: {data}")
        for text in (found.question, found.answer):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"a question or answer without text: {data}")
        if any(count < 1 for _, count in answers):
            raise ValueError(f"an answer that nobody gave: {data}")
        return found
