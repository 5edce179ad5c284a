"""Parameter counts of all presets, from the modules themselves: writes `docs/models.md`.

python -m septet.trainers.commands.sizes > docs/models.md
"""

import importlib

import torch

from septet.trainers.commands.train import MODELS

HEAD = """# Models and their sizes

Counted on the modules of all presets by `python -m septet.trainers.commands.sizes`, which writes
this page; a test compares it with the code. *Trained* leaves out what is frozen. Each model's
README says what the counts are held to.
"""


def table() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    for model, presets in MODELS.items():
        lines += [
            f"## {model}",
            "",
            "| preset | parameters | trained | parts |",
            "|---|--:|--:|---|",
        ]
        for name, preset in importlib.import_module(presets).PRESETS.items():
            with torch.device("meta"):
                module = preset.task().build()
            own = list(module.parameters())
            parts = [
                f"{part} {sum(p.numel() for p in child.parameters()):,}"
                for part, child in module.named_children()
            ]
            trained = sum(p.numel() for p in own if p.requires_grad)
            count = sum(p.numel() for p in own)
            lines.append(f"| `{name}` | {count:,} | {trained:,} | {' · '.join(parts)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), end="")
