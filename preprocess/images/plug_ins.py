"""The kinds of images that plug-ins of Pillow read, where a recipe asks for them."""

from collections.abc import Collection
from importlib.util import find_spec

OPTIONAL = ("heic", "jxl")
"""The kinds, as `image.more_formats` names them."""
_PACKAGES = {"heic": "pillow-heif", "jxl": "pillow-jxl-plugin"}
_MODULES = {"heic": "pillow_heif", "jxl": "pillow_jxl"}


def missing_packages(kinds: Collection[str]) -> list[str]:
    """The packages that some kinds need and that are not installed."""
    return [_PACKAGES[kind] for kind in kinds if find_spec(_MODULES[kind]) is None]
