"""Columns through the engine of `septet annotate`, without it, and beside a peer.

    python -m benchmarks.columns [--quick] [--only NAME ...]

Each column annotates the same samples (640 x 480 JPEGs with boxes and captions, those of
`benchmarks.scene_graphs`) of one shard, in one process, on one thread, with random weights: of the
published shapes, or with --quick of smaller networks of the same kinds. Timed in turns are

- engine: what a worker does for a shard (`AnnotateWork.run`): read the samples from the shard,
  batch them, call the column, write tar and sidecar. Beam and the start of processes are left out.
- column: the column's class alone on the same batches, read beforehand.
- peer: the plain loop that one would write without Septet, see `--help`; a `-` where there is
  none to speak of.

Loading models is in none of them. Figures are medians of CPU time; ratios are medians of the
rounds' ratios. `engine_overhead` is engine / column: at most 1.10 is the aim for columns that run a
network. What the engine itself needs for a sample shows where there is little else (boxes and
objects). `vs_peer` is peer / engine: above 1 where Septet is the faster.
"""

import argparse
import functools
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.images import made_image
from benchmarks.scene_graphs import captions
from septet.pipelines.annotate.annotate import plan_column
from septet.pipelines.annotate.work import AnnotateWork, read_items
from septet.preprocess import files
from septet.preprocess.columns.base import Item
from septet.preprocess.columns.registry import make_column
from septet.preprocess.scene_graphs.pipeline import PIPELINE, load_pipeline
from septet.preprocess.shards.heads import write_corpus
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas.layout import MANIFEST
from septet.schemas.manifest import Shard
from septet.schemas.tables import SHARD_INDEX
from tests.corpora import run_annotation

Peer = Callable[[Sequence[Item]], Any]
"""The samples' work without Septet's column."""
Made = tuple[dict[str, Any], Peer | None]
"""Settings of a column, and its peer."""


WAYS = ("engine", "column", "peer")


@dataclass(frozen=True)
class Row:
    """A column of the table."""

    name: str
    kind: str
    make: Callable[[Path, bool], Made]
    """Writes weights into a folder; small ones if so told."""
    peer: str
    samples: tuple[int, int]
    """How many, quick and else."""
    unit: str = "images"


def save(module: nn.Module, folder: Path) -> str:
    """A module's weights as a file."""
    path = str(folder / f"{type(module).__name__}.pt")
    torch.save(module.state_dict(), path)
    return path


def one_by_one(one: Callable[[bytes], Any]) -> Peer:
    """One JPEG at a time."""
    return lambda items: [one(item.members["jpg"]) for item in items]


def loop(module: Callable[[Tensor], Tensor], look: Callable[[Image.Image], Tensor]) -> Peer:
    """Decode with Pillow, transform, run: one image at a time."""

    def one(data: bytes) -> Tensor:
        with Image.open(io.BytesIO(data)) as image, torch.inference_mode():
            return module(look(image.convert("RGB")))

    return one_by_one(one)


def unit(image: Image.Image) -> Tensor:
    """[1, 3, h, w] in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255


def ocr(folder: Path, quick: bool) -> Made:
    from rapidocr import RapidOCR

    threads = {
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    engine = RapidOCR(params=threads | {"Global.log_level": "critical"})
    return {}, one_by_one(engine)


def regions(folder: Path, quick: bool) -> Made:
    from safetensors.torch import save_file

    from septet.preprocess.regions.c4 import C4Detector
    from septet.preprocess.regions.network import C4Options
    from tests.preprocess.regions.reference import random_state

    path = str(folder / "c4.safetensors")
    save_file(random_state(classes=80 if quick else 1600), path)
    shortest, proposals = (160, 10) if quick else (480, 100)
    sizes = {"shortest": shortest, "proposals": proposals}
    detector = C4Detector(path, C4Options(proposals=proposals), shortest)

    def one(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            return detector.detect([np.array(image.convert("RGB"))])

    return {"weights": path, **sizes}, one_by_one(one)


def vqgan(folder: Path, quick: bool) -> Made:
    from septet.preprocess.codes.vqgan import Vqgan, VqganSettings

    module = Vqgan(VqganSettings(channels=32 if quick else 128), decoder=False)

    def look(image: Image.Image) -> Tensor:
        edge = (image.width - image.height) // 2
        square = image.crop((edge, 0, edge + image.height, image.height))
        return unit(square.resize((256, 256), Image.Resampling.LANCZOS).crop((64, 64, 192, 192)))

    settings = {"weights": save(module, folder), "augmentation": "ofa"}
    return settings, loop(module.codes, look)


def dvae(folder: Path, quick: bool) -> Made:
    from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

    module = FlavaImageCodebook(FlavaImageCodebookConfig(hidden_size=64 if quick else 256)).eval()

    def look(image: Image.Image) -> Tensor:
        return unit(image.resize((112, 112), Image.Resampling.LANCZOS)) * 0.8 + 0.1

    settings = {"tokenizer": "dvae", "augmentation": "flava", "weights": save(module, folder)}
    return settings, loop(module.get_codebook_indices, look)


def vqkd(folder: Path, quick: bool) -> Made:
    from timm.models.vision_transformer import VisionTransformer

    from septet.preprocess.codes.vqkd import Vqkd, VqkdSettings

    sizes = {"width": 192 if quick else 768, "depth": 12}
    heads = sizes["width"] // 64
    module = Vqkd(VqkdSettings(**sizes, heads=heads, mlp=4 * sizes["width"])).eval()
    trunk = VisionTransformer(
        embed_dim=sizes["width"], depth=12, num_heads=heads, num_classes=0, global_pool=""
    ).eval()

    def codes(x: Tensor) -> Tensor:
        features = module.encode_task_layer(trunk(2 * x - 1)[:, 1:])
        return module.quantize(features)

    def look(image: Image.Image) -> Tensor:
        return unit(image.resize((224, 224), Image.Resampling.BICUBIC))

    settings = {"tokenizer": "vqkd", "augmentation": "beit", "weights": save(module, folder)}
    return settings, loop(codes, look)


def patches(folder: Path, quick: bool) -> Made:
    from torchvision.models import resnet50
    from torchvision.transforms.v2.functional import normalize

    network = resnet50().eval()
    side = 192 if quick else 448
    settings = {"weights": save(network, folder), "size": side}
    trunk = nn.Sequential(*list(network.children())[:-1])

    def look(image: Image.Image) -> Tensor:
        x = unit(image.resize((side, side), Image.Resampling.BICUBIC))
        x = normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        rows = x.unflatten(3, (4, side // 4)).unflatten(2, (4, side // 4)).permute(0, 2, 4, 1, 3, 5)
        return rows.flatten(0, 2)

    return settings, loop(trunk, look)


def clip(folder: Path, quick: bool) -> Made:
    import open_clip

    name = "ViT-S-32" if quick else "ViT-B-32"
    model, _, transform = open_clip.create_model_and_transforms(name, load_weights=False)
    settings = {"weights": save(model, folder), "model": name}
    model.eval()
    return settings, loop(
        lambda x: model.encode_image(x, normalize=True), lambda image: transform(image)[None]
    )


def spacy_alone(folder: Path, quick: bool) -> Made:
    """Tags and dependencies, by which both columns of captions begin."""
    nlp = load_pipeline(PIPELINE, exclude=["ner"])
    return {}, lambda items: list(nlp.pipe([item.caption for item in items], batch_size=256))


ROWS = (
    Row("scene_graphs", "scene-graphs", spacy_alone, "spaCy without NER", (256, 1024), "captions"),
    Row("questions", "questions", spacy_alone, "spaCy without NER", (256, 1024), "captions"),
    Row("ocr", "ocr", ocr, "rapidocr", (2, 8)),
    Row("regions", "regions", regions, "the detector's network", (2, 4)),
    Row("codes_vqgan", "codes", vqgan, "the module alone", (4, 6)),
    Row("codes_dvae", "codes", dvae, "transformers' FlavaImageCodebook", (4, 6)),
    Row("codes_vqkd", "codes", vqkd, "timm's ViT and a codebook", (4, 6)),
    Row("patches", "patches", patches, "torchvision's resnet50", (4, 6)),
    Row("clip", "clip", clip, "open_clip's encode_image", (6, 16)),
    Row("boxes", "boxes", lambda _, __: ({}, None), "-", (128, 512)),
    Row("objects", "objects", lambda _, __: ({"source": "boxes", "form": "boxes"}, None), "-",
        (128, 512)),
)  # fmt: skip
"""A further column is a row here, and a function that gives its settings and its peer."""


@functools.cache
def photographs() -> list[bytes]:
    return [made_image(640, 480, seed) for seed in range(16)]


def make_corpus(folder: Path, samples: int) -> Corpus:
    """One shard of images with captions and boxes; images repeat after 16."""
    images = photographs()
    texts = captions("clean", samples)
    boxes = {"boxes": [[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]], "labels": ["dog", "cat"]}
    tar, sidecar = "shards/00000.tar", "shards/00000.parquet"
    with files.open_atomic(str(folder / tar)) as out:
        writer = ShardWriter(out)
        rows: list[dict[str, Any]] = []
        for i in range(samples):
            members = {"jpg": images[i % 16], "txt": texts[i].encode()}
            key = f"{i:032x}"
            rows.append(
                {"key": key, "members": writer.add(key, members), "extra": json.dumps(boxes)}
            )
        size, digest = writer.close()
    schema = SHARD_INDEX.append(pa.field("extra", pa.string()))
    files.write_table(str(folder / sidecar), pa.Table.from_pylist(rows, schema))
    shard = Shard(tar=tar, sidecar=sidecar, samples=samples, bytes=size, tar_sha256=digest,
                  sidecar_sha256=files.sha256(str(folder / sidecar)), first_key=rows[0]["key"],
                  last_key=rows[-1]["key"])  # fmt: skip
    write_corpus(str(folder), [shard], name="bench", septet="0", sorted_keys=True)
    return Corpus(str(folder))


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(row: Row, folder: Path, quick: bool, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way, a figure a round."""
    (folder / "weights").mkdir(parents=True)
    settings, peer = row.make(folder / "weights", quick)
    path = str(folder / "corpus")
    corpus = make_corpus(folder / "corpus", row.samples[0 if quick else 1])
    for other in make_column(row.kind, settings).columns():
        run_annotation(folder / "corpus", other)
    work = engine(path, row.name, row.kind, settings)
    column = make_column(row.kind, settings)
    column.setup()
    items = list(read_items(corpus, 0, column))
    size = column.settings.batch_size
    batches = [items[i : i + size] for i in range(0, len(items), size)]
    ways: dict[str, Callable[[], object]] = {
        "engine": lambda: work.run(0),
        "column": lambda: [column.annotate(batch) for batch in batches],
    }
    if peer is not None:
        ways["peer"] = lambda: peer(items)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # warm
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(cpu_seconds(way))
    return found


def engine(path: str, name: str, kind: str, settings: dict[str, Any]) -> AnnotateWork:
    """A worker's work for a column, its model loaded."""
    plan = plan_column(path, name, kind, settings)
    digest = files.sha256(files.join(path, MANIFEST))
    work = AnnotateWork(path, digest, name, kind, settings, plan.fingerprint)
    work.setup()
    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="; ".join(f"{row.name}: {row.peer}" for row in ROWS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 3 if options.quick else 5
    print(f"{'column':<12}{'a second':>9}{'engine':>9}{'column':>9}{'peer':>9}   CPU ms a sample")
    ratios = []
    for row in ROWS:
        if options.only and row.name not in options.only:
            continue
        samples = row.samples[0 if options.quick else 1]
        with tempfile.TemporaryDirectory() as folder:
            found = measure(row, Path(folder), options.quick, rounds)
        each = {name: statistics.median(times) / samples for name, times in found.items()}
        cells = [f"{each[n] * 1e3:9.2f}" if n in each else f"{'-':>9}" for n in WAYS]
        print(f"{row.name:<12}{1 / each['engine']:9.1f}{''.join(cells)}   {row.unit}; {row.peer}")
        claims = {"engine_overhead": ("engine", "column"), "vs_peer": ("peer", "engine")}
        for claim, (over, under) in claims.items():
            if over in found:
                pairs = zip(found[over], found[under], strict=True)
                ratio = statistics.median(a / b for a, b in pairs)
                ratios.append(f"ratio {row.name}_{claim} {ratio:.3f}")
    print("\n".join(ratios))


if __name__ == "__main__":
    main()
