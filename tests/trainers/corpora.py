"""Small corpora of scenes for tests, in the form that a build writes."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import pyarrow as pa

from septet.preprocess import files
from septet.preprocess.shards import heads
from septet.preprocess.shards.tar import ShardWriter
from septet.preprocess.synthetic.scenes import FEW, captions, make_scene, render
from septet.preprocess.synthetic.sets import caption_pairs, language_of
from septet.schemas.manifest import Shard
from septet.schemas.tables import SHARD_INDEX


def write_corpus(
    folder: Path, samples: list[tuple[str, dict[str, bytes]]], per_shard: int = 500
) -> Path:
    """Samples (key, members), sorted by key, as a corpus."""
    samples = sorted(samples)
    shards = []
    schema = SHARD_INDEX
    if all(told(members) for _, members in samples):
        schema = SHARD_INDEX.append(pa.field("language", pa.string()))
        schema = schema.append(pa.field("extra", pa.string()))
    for number, start in enumerate(range(0, len(samples), per_shard)):
        part = samples[start : start + per_shard]
        tar, sidecar = (f"shards/{number:05d}.{ext}" for ext in ("tar", "parquet"))
        with files.open_atomic(str(folder / tar)) as out:
            writer = ShardWriter(out)
            rows = [
                {"key": key, "members": writer.add(key, members), **told(members)}
                for key, members in part
            ]
            size, digest = writer.close()
        files.write_table(str(folder / sidecar), pa.Table.from_pylist(rows, schema))
        shards.append(
            Shard(
                tar=tar,
                sidecar=sidecar,
                samples=len(part),
                bytes=size,
                tar_sha256=digest,
                sidecar_sha256=files.sha256(str(folder / sidecar)),
                first_key=part[0][0],
                last_key=part[-1][0],
            )
        )
    heads.write_corpus(str(folder), shards, name="scenes", septet="test", sorted_keys=True)
    return folder


def told(members: dict[str, bytes]) -> dict[str, str]:
    """What a build writes of a sample's metadata beside it."""
    found = json.loads(members.get("json", b"{}"))
    if not isinstance(found, dict) or "extra" not in found:
        return {}
    return {"language": found["language"], "extra": json.dumps(found["extra"])}


def scenes_corpus(
    folder: Path,
    seed: int,
    count: int,
    first: int = 0,
    size: int = 64,
    per_shard: int = 500,
    change: Callable[[int, dict[str, bytes]], dict[str, bytes]] = lambda i, members: members,
    things: tuple[int, int] = FEW,
    languages: Sequence[str] = ("en",),
    signs: bool = False,
) -> Path:
    """Scenes `first` to `first + count` of `seed` as a corpus; `change` may spoil samples. The
    metadata hold the scene's truth and the caption's language, as a build writes them."""
    samples = []
    pairs = caption_pairs(seed, first, count, size, things, languages, signs)
    for i, (scene, png, caption) in enumerate(pairs):
        told = {"language": language_of(scene, languages), "extra": scene.truth()}
        truth = json.dumps(told).encode()
        members = {"png": png, "txt": caption.encode(), "json": truth}
        key = hashlib.blake2b(f"{seed}/{scene.index}".encode(), digest_size=16).hexdigest()
        samples.append((key, change(i, members)))
    return write_corpus(folder, samples, per_shard)


def one_thing_corpus(folder: Path, first: int, count: int) -> Path:
    """Scenes of one thing each, with what can be said of it."""
    samples = []
    for index in range(first, first + count):
        scene = make_scene(5, index, things=(1, 1))
        png = cv2.imencode(".png", render(scene)[:, :, ::-1])[1].tobytes()
        members = {"png": png, "txt": captions(scene)[0].encode()}
        samples.append((f"{index:032x}", members))
    return write_corpus(folder, samples)
