"""Forms of weights: how a library names and shapes a model's weights.

A model says which forms it knows (`Forms`). A file's form is told by its names; then its weights
are renamed, resized where they may be, and compared with the model's. To export is to write one of
these forms.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from septet.preprocess.weights import read_state
from septet.trainers.settings.base import Settings
from septet.trainers.weights.fit import MisfitError, require_fit

State = dict[str, Tensor]
"""Weights by name."""

S = TypeVar("S", bound=Settings)


class Form(ABC, Generic[S]):
    """One library's names and shapes for a model's weights, or for a part's."""

    name: str
    """What messages call it; of a form that is written, what `septet export --form` calls it."""
    written = False
    """Whether `write` is there."""

    @abstractmethod
    def recognises(self, names: Collection[str]) -> bool:
        """Whether a file with these names is of this form."""

    def unused(self, name: str, s: S) -> bool:
        """Whether a name of such a file is of something that the model has no use for."""
        return False

    @abstractmethod
    def to_ours(self, state: Mapping[str, Tensor], s: S) -> State:
        """Weights of such a file, without the unused ones, under the model's names.

        Raises:
            ValueError: some have no place in the model; as a `MisfitError` where another size of
                the model may have one.
        """

    def write(self, state: Mapping[str, Tensor], s: S, folder: Path) -> list[Path]:
        """Write the model's weights in this form, with the configuration that belongs to them.

        Args:
            state: Under the model's names.
            s: The model's settings.
            folder: An existing folder.

        Returns:
            The files.

        Raises:
            ValueError: the form has no place for such a model.
        """
        raise NotImplementedError

    def notes(self, s: S) -> list[str]:
        """What the form has no place for, a sentence each."""
        return []


@dataclass(frozen=True)
class Found:
    """What a file of weights gave."""

    form: str
    """The name of its form."""
    weights: State
    """Under the model's names."""
    lacking: list[str]
    """Names of the model's that the file has nothing for: they start at random."""
    unread: list[str]
    """Names of the file's that the model has no use for."""


def _everything(name: str, found: Collection[str]) -> bool:
    return True


@dataclass(frozen=True)
class Forms(Generic[S]):
    """All forms of a model's weights."""

    model: str
    """The model's name in messages."""
    build: Callable[[S], nn.Module]
    forms: Sequence[Form[S]]
    """A file is of the first one that recognises it."""
    needed: Callable[[str, Collection[str]], bool] = _everything
    """Whether a weight of the model may not be missing, given the names that a file has."""
    adapt: Callable[[State, S], State] = lambda state, s: state
    """Resizes what may be of another size: positions, tables."""
    load: Callable[[str], State] = read_state
    """Reads a file."""
    hint: Callable[[Collection[str], S], str] = lambda names, s: ""
    """What else to say of a file that does not fit."""

    def shapes(self, s: S) -> dict[str, torch.Size]:
        """The model's names with their shapes."""
        with torch.device("meta"):
            return {name: x.shape for name, x in self.build(s).state_dict().items()}

    def convert(self, state: Mapping[str, Tensor], s: S, path: Path | str = "it") -> Found:
        """What of the model's weights a file's have.

        Args:
            state: The file's weights.
            s: The model's settings.
            path: The file, for messages.

        Raises:
            MisfitError: they are of other sizes, or some are missing.
            ValueError: they are of no known form.
        """
        form = next((form for form in self.forms if form.recognises(state.keys())), None)
        if form is None:
            names = ", ".join(form.name for form in self.forms)
            raise ValueError(
                f"{path} holds no {self.model} of a form that is known ({names}); it begins with "
                f"{', '.join(list(state)[:3])}"
            )
        unread = [name for name in state if form.unused(name, s)]
        used = {name: x for name, x in state.items() if name not in set(unread)}
        try:
            original = form.to_ours(used, s)
        except MisfitError as error:
            raise MisfitError(f"{path} ({form.name}): {error}", error.found) from error
        except ValueError as error:
            raise ValueError(f"{path} ({form.name}): {error}") from error
        found, expected = self.adapt(original, s), self.shapes(s)
        require_fit(
            f"{path} ({form.name})",
            found,
            expected,
            lambda name: self.needed(name, found.keys()),
            self.hint(state.keys(), s),
            original,
        )
        lacking = [name for name in expected if name not in found]
        return Found(form.name, found, lacking, unread)

    def read(self, path: Path | str, s: S) -> Found:
        """Read a file on disk or at a URL; see `convert`.

        Raises:
            MisfitError: see `convert`.
            ValueError: see `convert`; or it is no file of weights.
        """
        return self.convert(self.load(str(path)), s, path)

    def named(self, name: str) -> Form[S]:
        """The form that is written under a name.

        Raises:
            ValueError: there is none.
        """
        written = {form.name: form for form in self.forms if form.written}
        if name not in written:
            names = " or ".join(written)
            raise ValueError(f"{self.model} can be exported as {names}; found {name!r}")
        return written[name]

    def write(self, state: Mapping[str, Tensor], s: S, folder: Path, name: str) -> list[Path]:
        """Write weights in a form; the files. The folder is made where it is not there.

        Raises:
            ValueError: there is no such form, or it has no place for the model.
        """
        form = self.named(name)
        folder.mkdir(parents=True, exist_ok=True)
        return form.write(state, s, folder)
