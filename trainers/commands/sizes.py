"""`septet sizes`: parameter counts of all presets, from the modules themselves; makes
`docs/models.md`."""

import importlib

import torch
import typer

from septet.trainers.commands.models import MODELS

HEAD = """# Models and their sizes

Counted on the modules of all presets by `septet sizes`, which writes
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


def sizes() -> None:
    """Print the sizes of all presets, as docs/models.md has them."""
    typer.echo(table(), nl=False)
