"""`septet show`: one sample of a corpus, found by its key or the beginning of it."""

import json
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from septet.pipelines.report.gallery import caption_of, find_image
from septet.pipelines.report.readable import number, one_line, size
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus

_NAMED = 5


def resolve_key(corpus: Corpus, key: str) -> int:
    """Find the index of the sample whose key is `key`, else of the only one whose key begins so.

    Raises:
        ValueError: no sample has such a key, or several begin so.
    """
    found: list[tuple[int, str]] = []
    several = 0
    for number_ in corpus.shards_with(key) if key else ():
        keys = corpus.metadata(number_, ["key"])["key"]
        rows = pc.indices_nonzero(pc.starts_with(keys, key)).to_pylist()
        places = ((corpus.index(number_, row), keys[row].as_py()) for row in rows)
        places = ((corpus.index(number_, row), keys[row].as_py()) for row in rows)
        there = [(index, name) for index, name in places if index is not None]
        if exact := [index for index, name in there if name == key]:
            return exact[0]
        several += len(there)
        found += there[:_NAMED]
    if several == 1:
        return found[0][0]
    if not found:
        near = ""
        if len(corpus):
            shard, row = corpus.locate(0)
            near = f"; its first key is {one_line(corpus.shard(shard).key(row), 80)}"
        raise ValueError(
            f"{corpus.label} has no sample whose key is or begins with {key!r}"
            f" ({len(corpus):,} samples{near})"
        )
    named = ", ".join(one_line(match, 80) for _, match in found[:_NAMED])
    rest = f" and {several - _NAMED:,} more" if several > _NAMED else ""
    raise ValueError(f"{key!r} begins {several:,} keys: {named}{rest}; give more of the key")


def print_sample(corpus: Corpus, index: int, console: Console) -> None:
    """Print a sample's caption, metadata and members."""
    number_, row = corpus.locate(index)
    facts = corpus.metadata(number_).take(pa.array([row])).to_pylist()[0]
    members = facts.pop("members", None) or []
    sample = corpus[index]
    key = str(facts.pop("key"))
    caption = caption_of(facts, sample)
    facts.pop("caption", None)
    console.print(
        Panel(Text(one_line(caption, 4000) or "(no caption)"), title=Text(key, style="bold cyan"),
              title_align="left", border_style="dim", padding=(1, 2))
    )  # fmt: skip
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(one_line(name, 40), Text(_value(name, value)))
    shard = corpus.shards[number_]
    table.add_row("shard", Text(f"{shard.tar}, row {number(row)}"))
    for member in members:
        place = f"{size(member['size'])} at {number(member['offset'])}"
        table.add_row("." + one_line(member["ext"], 40), Text(place))
    console.print(table)


def _value(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return size(value) if name.endswith("bytes") else str(value)
    if isinstance(value, (dict, list)):
        return one_line(json.dumps(value, ensure_ascii=False, default=str), 2000)
    return one_line(str(value), 2000)


def write_image(corpus: Corpus, index: int, path: str) -> tuple[str, int]:
    """Write a sample's image to a file as it is stored; returns the file's path and size in bytes.

    Args:
        corpus: The corpus.
        index: The sample.
        path: A file name; where it is a folder the key is the name, and where it has no extension
            the image's is added.

    Raises:
        ValueError: the sample has no image, or `path` ends in another format's extension.
    """
    key = corpus.key(index)
    found = find_image(corpus[index])
    if found is None:
        raise ValueError(f"sample {key} has no image in its tar")
    ext, data = found
    if path.endswith("/") or (files.is_local(path) and files.local_path(path).is_dir()):
        path = files.join(path, f"{PurePosixPath(key).name}.{ext}")
    given = PurePosixPath(path).suffix.removeprefix(".").lower()
    if not given:
        path = f"{path}.{ext}"
    elif given != ext.lower() and {given, ext.lower()} != {"jpg", "jpeg"}:
        raise ValueError(f"the image of {key} is stored as {ext}: expected {path} to end in .{ext}")
    files.write_bytes(path, data)
    return path, len(data)
