"""A reader of other people's pickles that runs none of their code.

A pickle is a program. This reader lets it build plain values and NumPy arrays and nothing else:
whatever else it names is refused before it is imported.
"""

import io
import pickle
from typing import Any

_ALLOWED = {
    (module, name)
    for root in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{root}.multiarray", "_reconstruct"),
        (f"{root}.multiarray", "scalar"),
        (f"{root}.numeric", "_frombuffer"),
    )
} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how bytes are pickled in protocol 2
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not plain data")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside of itself")


def loads_plain(data: bytes) -> Any:
    """Load a pickle of plain data: numbers, text, bytes, lists, dicts, NumPy arrays.

    Text that Python 2 wrote is read as Latin-1, which is what NumPy's arrays need.

    Raises:
        ValueError: no pickle, or one that holds or does anything else.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a hostile or broken pickle can raise anything
        raise ValueError(f"no pickle of plain data: {error}") from error
