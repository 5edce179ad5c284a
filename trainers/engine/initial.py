"""Initial values of a module that is built without memory, drawn one tensor at a time.

A module's constructors say how its tensors begin: `torch.empty`, `nn.init.normal_`, `scale *
torch.randn(…)`. They run on the meta device, where they take no memory and draw nothing, and what
they do is noted. Later each tensor's own operations are done again on the host, with torch's
generator seeded by the run's seed and the tensor's name. So a tensor begins with the same numbers
whatever the ranks, the sharding and the other tensors, and a rank holds one whole tensor at most.
Experts are drawn one by one, seeded by their number, too, and a rank draws those that it holds.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from septet.trainers.draws import generator
from septet.trainers.sharded import local_part, part_of
from septet.trainers.task import expert_parameters

_OVERWRITES = ("normal_", "uniform_", "zero_", "fill_")
"""Operations that leave nothing of what was in a tensor before."""

_ASKS_FOR_MEMORY = vars(torch._C.TensorBase)["is_meta"].__get__


@dataclass
class _Note:
    """An operation that a constructor did on the meta device."""

    function: Any
    given: tuple[Any, ...]
    options: dict[str, Any]
    made: Any
    reads: set[int]
    """Storages that it is given."""
    writes: set[int]
    """Storages that it makes or changes."""

    @property
    def overwrites(self) -> bool:
        """Whether it changes all of one storage, whatever that held."""
        if self.function._schema.name.removeprefix("aten::") not in _OVERWRITES:
            return False
        target = self.given[0]
        return bool(target.numel() * target.itemsize == target.untyped_storage().nbytes())


class _Notes:
    notes: list[_Note]

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), options: Any = None):  # type: ignore[no-untyped-def]
        options = options or {}
        made = _without_memory(function, given, options)
        reads = {_storage(x) for x in _tensors((given, options))}
        changed = {
            _storage(x)
            for argument, x in zip(function._schema.arguments, given, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for x in _tensors(x)
        }
        writes = changed | {_storage(x) for x in _tensors(made)} - reads
        if writes:
            self.notes.append(_Note(function, given, options, made, reads, writes))
        return made


def _without_memory(function: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What an operation gives on the meta device. Of those that fill a tensor it is that tensor:
    torch does many of them there in Python, which imports sympy and torch._dynamo."""
    changed = function._schema.arguments[0].alias_info if given else None
    if function._schema.name.endswith("_") and changed is not None and changed.is_write:
        return given[0]
    if function in (torch.ops.aten.randn.default, torch.ops.aten.rand.default):
        return torch.empty(*given, **options)
    return function(*given, **options)


class _Noting(_Notes, TorchDispatchMode):
    """Two classes, as torch imports all of torch._dynamo for a `__torch_dispatch__` that the mode
    itself defines."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = []


class _Constants(TorchFunctionMode):
    """`torch.tensor(…)` keeps its values, which it would lose on the meta device; and a rule that
    leaves tensors without memory alone (`nn.init.trunc_normal_`) is an error, not silence."""

    def __torch_function__(self, function: Any, types: Any, given: Any = (), options: Any = None):  # type: ignore[no-untyped-def]
        options = options or {}
        if function == _ASKS_FOR_MEMORY:
            raise TypeError(
                "a module's constructor asks whether a tensor has memory, as trunc_normal_, "
                "orthogonal_ and sparse_ of torch do: use rules that can be noted, see "
                "`nets.initial`"
            )
        if function is not torch.tensor:
            return function(*given, **options)
        value = torch.tensor(*given, **{**options, "device": "cpu"})
        return torch.empty_like(value, device="meta").copy_(value)


class Initial:
    """A module on the meta device, and how each of its tensors begins.

    Args:
        build: Makes the module; called once.
        seed: The run's.
    """

    def __init__(self, build: Callable[[], nn.Module], seed: int):
        self._seed = seed
        with torch.device("meta"), _Noting() as noting, _Constants():
            self.module = build()
        self._notes = noting.notes
        self._writers: dict[int, list[int]] = defaultdict(list)
        for number, note in enumerate(self._notes):
            for storage in note.writes:
                self._writers[storage].append(number)
        self._tensors = {
            **dict(self.module.named_parameters()),
            **dict(self.module.named_buffers()),
        }
        experts = expert_parameters(self.module)
        self._experts = {name for name, x in self.module.named_parameters() if x in experts}
        self._owners = {_storage(x): name for name, x in self._tensors.items()}
        """Whose random numbers a storage holds; for what is made on the way, its first use."""
        for name in self._tensors:
            for number in self._needed(name):
                for storage in self._notes[number].writes:
                    self._owners.setdefault(storage, name)

    def value(self, name: str, expert: int | None = None) -> Tensor:
        """A parameter's or buffer's whole value, on the host; or one expert's, [1, ...].

        Raises:
            ValueError: it has none, or that of an expert depends on more than its own draws.
        """
        target = self._tensors[name]
        needed = self._needed(name)
        real: dict[int, Tensor] = {}
        of_one = () if expert is None else (expert,)

        def resolve(x: Any) -> Any:
            if isinstance(x, torch.device):
                return torch.device("cpu")
            if not isinstance(x, Tensor) or not x.is_meta:
                return x
            found = real[_storage(x)]
            return found if of_one else found.as_strided(x.shape, x.stride(), x.storage_offset())

        draws: dict[int, int] = defaultdict(int)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for number in needed:
                note = self._notes[number]
                if torch.Tag.nondeterministic_seeded in note.function.tags:
                    storage = min(note.writes)
                    of = self._owners[storage], draws[storage], *of_one
                    draw = generator("init", self._seed, *of)
                    draws[storage] += 1
                    torch.manual_seed(int(draw.integers(2**63)))
                inputs = _on_one_expert(note, name, target) if of_one else note.given
                given, options = tree_map(resolve, (inputs, note.options))
                done = note.function(*given, **options)
                for meta, made in zip(_tensors(note.made), _tensors(done), strict=True):
                    real.setdefault(_storage(meta), made)
            made_empty = all("empty" in self._notes[n].function._schema.name for n in needed)
            if made_empty:
                raise ValueError(f"the module's constructor gives {name} no initial value")
            found: Tensor = resolve(target.detach())
            return found

    def _needed(self, name: str) -> list[int]:
        """The notes that make a tensor, in their order."""
        needed: set[int] = set()
        self._trace(_storage(self._tensors[name]), len(self._notes), needed)
        return sorted(needed)

    def _trace(self, storage: int, before: int, needed: set[int]) -> None:
        """Collect the notes that make a storage's content as it was before a note."""
        writers = [number for number in self._writers[storage] if number < before]
        last = max((i for i, n in enumerate(writers) if self._notes[n].overwrites), default=0)
        for number in {*writers[:1], *writers[last:]} - needed:
            needed.add(number)
            for read in self._notes[number].reads - {storage}:
                self._trace(read, number, needed)

    @torch.no_grad()
    def fill(
        self,
        module: nn.Module,
        given: dict[str, Callable[[], Tensor]],
        parameters: bool = True,
    ) -> None:
        """Write values into the module, whose tensors now have memory and may be sharded.

        Args:
            module: The module of this object, under its own names.
            given: What gives values in place of the initial ones; each is called once, and let go.
            parameters: Whether to write parameters; otherwise buffers alone.
        """
        named = [*(module.named_parameters() if parameters else ()), *module.named_buffers()]
        # The greatest first, while least of the module's memory is in use.
        for name, tensor in sorted(named, key=lambda item: -item[1].numel()):
            if name in self._experts and name not in given:
                held = part_of(torch.arange(len(tensor)), tensor).tolist()
                for place, expert in zip(local_part(tensor), held, strict=True):
                    place.copy_(self.value(name, expert)[0])
            else:
                whole = given.pop(name)() if name in given else self.value(name)
                local_part(tensor).copy_(part_of(whole.to(tensor.dtype), tensor))


def _on_one_expert(note: _Note, name: str, target: Tensor) -> tuple[Any, ...]:
    """The arguments of an operation on all experts' values, for one expert's.

    Raises:
        ValueError: it is no operation on tensors of the parameter's shape alone.
    """
    sizes = list(target.shape)
    if any(list(x.shape) != sizes for x in _tensors((note.given, note.options, note.made))):
        raise ValueError(
            f"{name} holds experts, which are drawn one by one: its constructor must fill it as a "
            f"whole, from tensors of its shape alone; {note.function} does something else"
        )
    one = [1, *sizes[1:]]
    return tuple(one if isinstance(x, list) and x == sizes else x for x in note.given)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _storage(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)
