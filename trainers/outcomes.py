"""What may become of a sample that a task reads, by name; a run's figures count them."""

from typing import Literal, get_args

Loss = Literal[
    "unusable",
    "damaged",
    "no_member",
    "no_value",
    "bad_image",
    "bad_text",
    "empty_text",
    "no_answer",
    "no_box",
    "no_prompt",
    "other_language",
    "too_long",
]
"""Why a task cannot use a sample (`SampleError.outcome`)."""

Change = Literal["cut", "box_outside"]
"""What happened to a sample that is used (`inputs.members.note`)."""

Outcome = Loss | Change

MEANING: dict[Outcome, str] = {
    "unusable": "a reason without a name of its own",
    "damaged": "bytes that are not what the corpus says they are",
    "no_member": "a member that the task reads is missing",
    "no_value": "a column that the task reads has no value, or none that it can read",
    "bad_image": "the image cannot be decoded, or is too large",
    "bad_text": "the text is not UTF-8",
    "empty_text": "the text has no word",
    "no_answer": "a question without an answer, or an answer without a question",
    "no_box": "no box, or none within the image",
    "no_prompt": "a language that the task has no instruction in, or no language",
    "other_language": "a text in none of the languages that the model reads",
    "too_long": "longer than the limit, where that is not cut",
    "cut": "longer than the limit, and cut there",
    "box_outside": "a box outside the image left out; others stay",
}
"""Of the names. All but the last two are samples that the task does not use."""

LACKING: frozenset[Loss] = frozenset(
    ("no_member", "no_value", "empty_text", "no_answer", "no_box", "no_prompt", "other_language",
     "too_long")
)  # fmt: skip
"""What a sample lacks for one task and may have for another (`Stream.otherwise`)."""

OUTCOMES: tuple[Outcome, ...] = (*get_args(Loss), *get_args(Change))
