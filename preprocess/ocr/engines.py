"""OCR engines, which find text in images, by name.

`rapidocr` comes with Septet (extra `ocr`). A package adds its own as an entry point of the group
`septet.ocr`: the name, and a subclass of `Engine`.
"""

import importlib
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.entry_points import offered, require_single
from septet.preprocess.ocr.lines import Line

GROUP = "septet.ocr"
_BUILT_IN = {"rapidocr": "septet.preprocess.ocr.rapid:RapidOcr"}


class Engine(ABC):
    """An OCR engine, with its models loaded.

    Args:
        threads: The number of threads that it may use.

    Raises:
        ValueError: a package or model is missing; says what to do.
    """

    def __init__(self, threads: int = 1):
        self.threads = threads

    @classmethod
    def models(cls) -> dict[str, str]:
        """The digests of its models by name, without loading them.

        Raises:
            ValueError: a package or model is missing; says what to do.
        """
        return {}

    @abstractmethod
    def read(self, image: NDArray[np.uint8]) -> list[Line]:
        """Find the lines of text in an image, in any order.

        Args:
            image: uint8 [height, width, 3], RGB.
        """


def engine_class(name: str) -> type[Engine]:
    """Find the engine of a name.

    Raises:
        ValueError: there is none, what goes by that name is no `Engine`, or two packages offer
            one, of which Septet may be the one.
    """
    found = offered(GROUP)
    require_single(GROUP, name, _BUILT_IN.get(name))
    if name in found:
        engine = found[name].load()
    elif name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        engine = getattr(importlib.import_module(module), attribute)
    else:
        raise ValueError(
            f"no OCR engine {name!r}; there are {', '.join(sorted({*found, *_BUILT_IN}))}. A "
            f"package adds one by an entry point of group {GROUP}"
        )
    if not (isinstance(engine, type) and issubclass(engine, Engine)):
        raise ValueError(f"OCR engine {name!r} is no subclass of {Engine.__module__}.Engine")
    return engine
