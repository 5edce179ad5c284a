"""Files of weights with their configuration, as libraries load them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor


def write_with_config(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str = ""
) -> list[Path]:
    """Write `config.json` and `model.safetensors`, names with a prefix; the files."""
    config_path, path = folder / f"{prefix}config.json", folder / f"{prefix}model.safetensors"
    config_path.write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: x.contiguous() for name, x in state.items()}, path, {"format": "pt"})
    return [config_path, path]
