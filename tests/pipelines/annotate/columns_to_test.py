"""Columns with which the mechanism is tested."""

import hashlib
import io
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field

import septet
from septet.preprocess.columns.base import Column, Drawing, Mark, NoValue, Settings, Value
from septet.preprocess.columns.members import pack_arrays, pack_json
from septet.schemas.columns import ArrayFormat, MemberFormat

HERE = "tests.pipelines.annotate.columns_to_test"
WORDS = f"{HERE}:Words"


class LoadsSettings(Settings):
    loads: str = Field(
        default="", description="A file that gets a line for each setup: its process."
    )
    indifferent = Settings.indifferent | {"loads"}

    def note_load(self):
        if self.loads:
            with Path(self.loads).open("a") as out:
                out.write(f"{os.getpid()}\n")


class WordsSettings(LoadsSettings):
    seconds: float = Field(default=0.0, description="Sleep for each batch.")
    refuse: str = Field(default="", description="Raise for captions with this word.")
    upper: bool = Field(default=False, description="In capitals.")
    note: str = Field(default="", description="Noted of the values.")
    indifferent = LoadsSettings.indifferent | {"seconds", "note"}


class Words(Column):
    """The words of a caption; none for a German one."""

    version = 1
    Settings = WordsSettings
    members = ("txt",)
    facts = pa.schema([("words", pa.int32())])

    @property
    def member(self):
        notes = {"note": self.settings.note} if self.settings.note else {}
        return MemberFormat(ext="words.json", kind="json", notes=notes)

    def setup(self):
        self.settings.note_load()

    def annotate(self, items):
        time.sleep(self.settings.seconds)
        found = []
        for item in items:
            if self.settings.refuse and self.settings.refuse in item.caption:
                raise RuntimeError(f"cannot take {item.caption}")
            if item.metadata.get("language") == "de":
                found.append(NoValue("language_not_supported", "de"))
                continue
            words = item.caption.upper() if self.settings.upper else item.caption
            found.append(Value(pack_json(words.split()), {"words": len(words.split())}))
        return found

    def check(self, data):
        if not data.startswith(b"["):
            raise ValueError("no list of words")


class Broken(Words):
    """A column that takes nothing."""

    def annotate(self, items):
        raise RuntimeError("cannot take anything")


class Numbers(Column):
    """One number; for every other sample one that JSON does not have."""

    version = 1
    members = ("txt",)
    member = MemberFormat(ext="numbers.json", kind="json")

    def annotate(self, items):
        odd = [len(item.caption) % 2 for item in items]
        return [Value(pack_json([float("nan") if one else 1.5])) for one in odd]


class Hashes(Column):
    """Arrays made of another column's values."""

    version = 1
    Settings = LoadsSettings
    facts = pa.schema([])
    member = MemberFormat(
        ext="hashes.safetensors",
        kind="safetensors",
        arrays={
            "digest": ArrayFormat(dtype="uint8", shape=(32,)),
            "sizes": ArrayFormat(dtype="int32", shape=("words",), least=1, greatest=1000),
        },
    )

    def columns(self):
        return ("words",)

    def setup(self):
        self.settings.note_load()

    def annotate(self, items):
        found = []
        for item in items:
            data = item.columns["words"]
            if not data:
                found.append(NoValue("no_words"))
                continue
            sizes = [len(word) for word in data.decode().strip("[]").split(",")]
            arrays = {
                "digest": np.frombuffer(hashlib.sha256(data).digest(), np.uint8),
                "sizes": np.array(sizes, np.int32),
            }
            found.append(Value(pack_arrays(arrays)))
        return found


class Bytes(Column):
    """The caption, a number, twice as a byte; none for multiples of three."""

    version = 1
    members = ("txt",)
    member = MemberFormat(
        ext="bytes.u8", kind="raw", arrays={"twice": ArrayFormat(dtype="uint8", shape=(2,))}
    )

    def annotate(self, items):
        numbers = [int(item.caption) for item in items]
        return [Value(bytes([n, n])) if n % 3 else NoValue("three") for n in numbers]


class Drawn(Column):
    """Values that draw everything there is to draw, with hostile text."""

    version = 1
    member = MemberFormat(ext="drawn.json", kind="json")

    def annotate(self, items):
        return [Value(pack_json({"key": item.key})) for item in items]

    def drawing(self, data):
        out = io.BytesIO()
        Image.new("RGB", (4, 4), "red").save(out, "PNG")
        return Drawing(
            marks=[Mark((0.25, 0.5, 0.75, 1.0), HOSTILE)],
            nodes=["man", "horse", HOSTILE],
            edges=[(0, "ride", 1), (2, HOSTILE, 0)],
            image=out.getvalue(),
            lines=[HOSTILE],
        )


HOSTILE = "<script>alert(1)</script>"


def slow_words(corpus: Path, workers: int) -> None:
    """Make the words of a corpus, 16 in 0.02 s."""
    settings = {"seconds": 0.02, "batch_size": 16}
    septet.annotate(corpus, WORDS, name="words", settings=settings, workers=workers)
