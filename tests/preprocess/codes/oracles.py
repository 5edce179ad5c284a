"""Archives of what reference implementations answer; see `tests/oracles/README.md`."""

import json
from pathlib import Path

from safetensors import safe_open

FOLDER = Path(__file__).parents[2] / "oracles"


class Oracle:
    """`weights`, `inputs` and `outputs` by name, and the archive's description."""

    def __init__(self, name):
        self.weights, self.inputs, self.outputs = {}, {}, {}
        with safe_open(FOLDER / f"{name}.safetensors", "pt") as archive:
            self.description = json.loads(archive.metadata()["oracle"])
            for path in archive.keys():  # noqa: SIM118 (it is no mapping)
                kind, _, tensor = path.partition("/")
                getattr(self, kind)[tensor] = archive.get_tensor(path)


def near(found, expected, relative):
    """Whether the largest difference is within `relative` of the largest value."""
    return float((found - expected).abs().max()) <= relative * float(expected.abs().max())


def count(module):
    return sum(x.numel() for x in module.parameters())
