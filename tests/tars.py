"""Tars of samples for tests."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.corpora import random_image


def tar_of(members: Iterable[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of members by name, names twice where they come twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sample_of(key: str, number: int, **told: Any) -> list[tuple[str, bytes]]:
    """A sample as img2dataset writes one."""
    caption = f"Caption {number} of the tars"
    told = {"caption": caption, "url": f"http://e.org/{number}.jpg", "key": key, **told}
    return [
        (f"{key}.jpg", random_image(number, 64, 48)),
        (f"{key}.json", json.dumps(told).encode()),
        (f"{key}.txt", caption.encode()),
    ]


def write_tars(folder: Path, tars: int = 2, samples: int = 6) -> None:
    """Tars 00000.tar and so on in `folder`, of samples that are all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for tar in range(tars):
        numbers = range(tar * samples, (tar + 1) * samples)
        members = [one for n in numbers for one in sample_of(f"{n:09d}", n, id=n)]
        (folder / f"{tar:05d}.tar").write_bytes(tar_of(members))
