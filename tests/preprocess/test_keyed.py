import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from septet.preprocess import files
from septet.preprocess.keyed import (
    Keyed,
    KeyedWriter,
    cache_folder,
    cached,
    open_stamped,
    write_keyed,
)


def fill(writer: KeyedWriter) -> dict[str, Any]:
    for n in range(25_000):  # more than are written at once
        writer.add(str(n % 10_000), {"n": n}, n % 2)
    repeated = writer.lay_aside("side", [("a", 1), ("\ud800", 2), ("a", None), ("a", [3])])
    found = writer.aside("side", "a"), writer.aside("side", "\ud800"), writer.aside("other", "a")
    return {"told": [repeated, *found, writer.keys(1)]}


@pytest.mark.parametrize("where", ["{}/records.sqlite", "memory://keyed/records.sqlite"])
def test_records_come_back_by_key(tmp_path: Path, where: str) -> None:
    path = where.format(tmp_path)
    write_keyed(path, "1", fill)
    found = Keyed(path)
    assert found.told == {"stamp": "1", "told": [2, [3], 2, None, 5000]} and len(found) == 10_000
    assert found.get("4321") == [(1, {"n": 4321}), (1, {"n": 14_321}), (1, {"n": 24_321})]
    assert found.get("9000") == [(0, {"n": 9000}), (0, {"n": 19_000})]
    assert found.get("x") == found.get("") == []
    assert [row["n"] for row in found.first(3)] == [0, 1, 2]
    assert open_stamped(path, "1") and not open_stamped(path, "2")
    assert open_stamped(path + "x", "1") is None
    child = os.fork()
    if child == 0:  # a child has a connection of its own
        os._exit(found.get("9000") != [(0, {"n": 9000}), (0, {"n": 19_000})])
    assert os.waitpid(child, 0)[1] == 0
    for odd in (b"no database", b"SQLite format 3\0 but cut", b""):
        files.write_bytes(path, odd)
        assert open_stamped(path, "1") is None


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fails(writer: KeyedWriter) -> dict[str, Any]:
        writer.add("a", 1)
        raise ValueError("odd")

    write_keyed(str(tmp_path / "a"), "1", fill)
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="odd"):
            write_keyed(str(tmp_path / name), "2", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert open_stamped(str(tmp_path / "a"), "1")


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    made = []

    def filled(writer: KeyedWriter) -> dict[str, Any]:
        made.append(1)
        return fill(writer)

    for _ in range(2):
        assert cached("a", filled).get("9000")
    assert made == [1]
    folder = tmp_path / "cache/records"
    old = time.time() - 40 * 24 * 3600
    for name in ("a.sqlite", ".b.sqlite.00.septet-tmp"):
        (folder / name).touch()
        os.utime(folder / name, (old, old))
    cached("c", filled)
    assert sorted(path.name for path in folder.iterdir()) == ["c.sqlite", "writer.lock"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "file"))
    assert cache_folder().is_dir() and cache_folder() != tmp_path / "file"


SCRIPT = """
import json, resource, sys
from pathlib import Path
from septet.preprocess.questions.sources import read_questions
questions, images = sys.argv[1], sys.argv[2:]
found = read_questions(questions)
pairs = [[p.to_json() for p in found.of(image)[0]] for image in images]
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0])  # of this program; ru_maxrss is also its parent's
print(json.dumps([pairs, peak, found.rows]))
"""


def questions(path: Path, images: int) -> str:
    """A plain list of five questions an image, about 0.6 kB an image."""
    with path.open("w") as out:
        for n in range(images):
            for q in range(5):
                row = {
                    "image_id": n,
                    "question": f"Question {q} of {n}? {'x' * 40}",
                    "answer": "yes",
                }
                out.write(("[" if n == q == 0 else ",\n") + json.dumps(row))
        out.write("]")
    return str(path)


def worker(cache: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "SEPTET_CACHE": str(cache)},
    )  # fmt: skip


def test_memory_does_not_grow_with_the_annotations(tmp_path: Path) -> None:
    """Neither of the worker that reads a file nor of one that finds it read."""
    peaks, told = [], []
    for images in (2_000, 20_000):
        path = questions(tmp_path / f"{images}.json", images)
        for _ in range(2):
            pairs, peak, rows = json.loads(
                worker(tmp_path / "c", path, "7", "1999").communicate()[0]
            )
            assert rows == {"questions": {"given": 5 * images, "used": 5 * images}}
            peaks.append(peak)
            told.append(pairs)
    assert len(told[0]) == 2 and len(told[0][1]) == 5 and told.count(told[0]) == 4
    assert told[0][1][4]["question"].startswith("Question 4 of 1999?")
    reading, finding, reading_ten, finding_ten = peaks  # kB
    assert Path(path).stat().st_size > 10e6  # which json.loads makes 60 MB of
    assert finding_ten - finding < 3_000 and reading_ten - reading < 20_000


def test_a_killed_reader_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    path, cache, moments = questions(tmp_path / "q.json", 10_000), tmp_path / "c", random.Random(1)
    killed = 0
    for _ in range(4):
        one = worker(cache, path, "7")
        deadline = time.monotonic() + 60
        while not list(cache.glob("records/.*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        if not list(cache.glob("records/*.sqlite")):
            killed += 1
        one.send_signal(signal.SIGKILL)
        one.communicate()
        for whole in cache.glob("records/*.sqlite"):
            assert len(Keyed(str(whole))) == 10_000
            whole.unlink()
    assert killed >= 2
    both = [worker(cache, path, "7") for _ in range(2)]  # at once: one reads, the other waits
    found = [json.loads(one.communicate()[0])[0] for one in both]
    assert found[0] == found[1] and len(found[0][0]) == 5
    assert len(list(cache.glob("records/*.sqlite"))) == 1
