"""Files of weights with their configuration, as libraries load them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from septet.trainers.standard_json import to_json


def write_with_config(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str = ""
) -> list[Path]:
    """Write `config.json` and `model.safetensors`, names with a prefix; the files."""
    config_path, path = folder / f"{prefix}config.json", folder / f"{prefix}model.safetensors"
    config_path.write_text(to_json(config, indent=2) + "\n", encoding="utf-8")
    save_file({name: x.contiguous() for name, x in state.items()}, path, {"format": "pt"})
    return [config_path, path]
