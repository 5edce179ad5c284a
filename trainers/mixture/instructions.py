"""Instructions: the texts that tell a model what it is to do, by task and language, as data.

A file `trainers/NAME/instructions.yaml` has a text a task, or one a language of the task:

    vqa: " {question}"
    caption:
      en: "what does the image describe?"
      de: "was zeigt das bild?"

`{question}` stands for a part that each sample gives; `{language}` for the language, as a text in
no language of its own may name it. Braces that are meant are doubled.
"""

import string
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from septet.schemas.languages import language_code
from septet.trainers.task import SampleError

LANGUAGE = "language"
"""The part that `fill` knows by itself."""


class Instructions:
    """Texts by task, and by language where a task has several.

    Args:
        texts: By task; of each one text for all languages, or texts by language code.
        origin: Where they are from, for messages.

    Raises:
        ValueError: a text, a language or a `{part}` is none.
    """

    def __init__(self, texts: Mapping[str, Any], origin: str = "instructions"):
        self.origin = origin
        self._texts: dict[str, dict[str | None, str]] = {}
        for task, given in texts.items():
            by_language = given if isinstance(given, dict) else {None: given}
            if not by_language or not all(isinstance(t, str) for t in by_language.values()):
                raise ValueError(
                    f"{origin}: {task} needs a text, or texts by language; found {given!r}"
                )
            found: dict[str | None, str] = {}
            for tag, text in by_language.items():
                code = tag if tag is None else language_code(str(tag))
                if code is None and tag is not None:
                    raise ValueError(f"{origin}: {task}: {tag!r} is no language code")
                if code in found:
                    raise ValueError(f"{origin}: {task} has two texts in {code}")
                _parts(text, f"{origin}: {task}")
                found[code] = text
            self._texts[str(task)] = found

    @classmethod
    def load(cls, package: str) -> "Instructions":
        """Those of a model's package, for example "septet.trainers.ofa".

        Raises:
            ValueError: they are no YAML, or see above.
        """
        file = resources.files(package) / "instructions.yaml"
        return cls.parse(file.read_text(encoding="utf-8"), str(file))

    @classmethod
    def parse(cls, text: str, origin: str = "instructions") -> "Instructions":
        """Those of a YAML text."""
        try:
            # BaseLoader: `no:` is Norwegian, not false.
            data = yaml.load(text, yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(data, dict):
            raise ValueError(f"{origin}: expected texts by task, found {type(data).__name__}")
        return cls(data, origin)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have a text."""
        return tuple(self._texts)

    def texts(self) -> list[str]:
        """All texts as they are written, with `{part}`."""
        return [text for texts in self._texts.values() for text in texts.values()]

    def languages(self, task: str) -> tuple[str, ...]:
        """The languages that a task's texts are in; none where one text is for all."""
        return tuple(code for code in self._of(task) if code is not None)

    def parts(self, task: str) -> tuple[str, ...]:
        """What a sample gives to a task's texts, each name once; `language` is not among them."""
        names = [n for text in self._of(task).values() for n in _parts(text, self.origin)]
        return tuple(name for name in dict.fromkeys(names) if name != LANGUAGE)

    def fill(self, task: str, language: str | None = None, **parts: str) -> str:
        """A task's text with a sample's parts.

        Args:
            task: Which.
            language: Tag of the language to ask in, or to ask for; `pt-BR` is `pt`.
            parts: What stands in place of `{name}`; more than the text asks for are ignored.

        Raises:
            SampleError: the task has no text in this language, or names the language and there is
                none.
            ValueError: there is no such task, or a part is missing.
        """
        texts, code = self._of(task), language_code(language) if language else None
        text = texts.get(None) or texts.get(code)
        if text is None:
            have = ", ".join(self.languages(task))
            raise SampleError(
                f"there is no instruction of {task} in language {language!r}; there are: {have}",
                "no_prompt",
            )
        wanted = _parts(text, self.origin)
        if LANGUAGE in wanted and code is None:
            raise SampleError(
                f"the instruction of {task} names a language; {language!r} is none", "no_prompt"
            )
        if missing := [n for n in wanted if n != LANGUAGE and n not in parts]:
            raise ValueError(
                f"the instruction of {task} needs {', '.join(missing)}; given "
                f"{', '.join(parts) or 'nothing'}"
            )
        return text.format(**{**parts, LANGUAGE: (code or "").upper()})

    def _of(self, task: str) -> dict[str | None, str]:
        if task not in self._texts:
            raise ValueError(
                f"{self.origin} has no task {task!r}; it has: {', '.join(self._texts)}"
            )
        return self._texts[task]


def _parts(text: str, where: str) -> list[str]:
    """The names in braces of a text."""
    try:
        found = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{where}: {error} in {text!r}; double a brace that is meant") from error
    names = []
    for _, name, spec, conversion in found:
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{where}: {{{name}}} in {text!r} is no name of a part")
        names.append(name)
    return names
