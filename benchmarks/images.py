"""Decode, resize, encode: Septet's process_image beside img2dataset's Resizer.

    python -m benchmarks.images [--quick]

Both make the short side 256 (img2dataset's keep_ratio, area averages, JPEG of quality 95) of the
same JPEGs of 800x600 to 1600x1200 pixels, one thread each, in processes of their own, in turns.
The figures are CPU time, best of the rounds; the ratio is the median of the rounds' ratios.

img2dataset's pins conflict with Septet's, so it lives in an environment of its own, which
`make peers` makes (Python 3.13 cannot import it). Elsewhere: --peer-python PATH.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

PEER = Path(".venv/peers/img2dataset/bin/python")
SIZES = [(800, 600), (1024, 768), (900, 1200), (1200, 900), (1600, 1200)]

# A worker reads the images once; for each line that it gets it processes them all and answers
# with the CPU seconds that this took.
WORKER = """
import sys, time
from pathlib import Path
images = [path.read_bytes() for path in sorted(Path(sys.argv[1]).glob("*.jpg"))]
{setup}
print("ready", flush=True)
for _ in sys.stdin:
    start = time.process_time()
    for data in images:
        {call}
    print(time.process_time() - start, flush=True)
"""
SEPTET = WORKER.format(
    setup="from septet.preprocess.images.process import process_image\n"
    "from septet.schemas.recipe import Image\npolicy = Image()",
    call="assert process_image(data, policy).reencoded",
)
IMG2DATASET = WORKER.format(
    setup="import io\nimport cv2\nfrom img2dataset.resizer import Resizer\ncv2.setNumThreads(1)\n"
    "resizer = Resizer(256, 'keep_ratio', True)",
    call="assert resizer(io.BytesIO(data))[5] is None",
)


def made_image(width: int, height: int, seed: int) -> bytes:
    """A JPEG with the falling spectrum of a photograph and some hard edges."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128, np.float32)
    for octave in range(1, 9):
        coarse = rng.normal(0, 80 / 1.7**octave, (2**octave, 2**octave, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels += rng.normal(0, 3, pixels.shape)
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    for _ in range(30):
        left, top = (int(rng.integers(0, side)) for side in (width, height))
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.circle(image, (left, top), int(rng.integers(5, 80)), colour, 2, cv2.LINE_AA)
    return simplejpeg.encode_jpeg(image, quality=88, colorsubsampling="420")


class Worker:
    """A process that processes all images whenever it is asked."""

    def __init__(self, python: str, program: str, folder: str):
        environment = dict(os.environ, PYTHONPATH=str(Path.cwd()), NO_ALBUMENTATIONS_UPDATE="1")
        self._process = subprocess.Popen(
            [python, "-c", program, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if self._answer() != "ready":
            raise SystemExit(f"{python} could not start; its message is above")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self) -> float:
        """CPU seconds for all images."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._answer()
        if not answer:
            raise SystemExit("a worker ended; its message is above")
        return float(answer)

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--peer-python", type=Path, default=PEER)
    options = parser.parse_args()
    if not options.peer_python.exists():
        raise SystemExit(
            f"{options.peer_python} is missing: `make peers` installs img2dataset there"
        )
    count, rounds = (20, 5) if options.quick else (60, 15)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            data = made_image(*SIZES[i % len(SIZES)], seed=i)
            (Path(folder) / f"{i:04d}.jpg").write_bytes(data)
        workers = {
            "septet": Worker(sys.executable, SEPTET, folder),
            "img2dataset": Worker(str(options.peer_python), IMG2DATASET, folder),
        }
        times: dict[str, list[float]] = {name: [] for name in workers}
        for worker in workers.values():
            worker.run()  # warm
        for _ in range(rounds):
            for name, worker in workers.items():
                times[name].append(worker.run())
        for worker in workers.values():
            worker.close()
    print(f"{'':12} {'ms/image':>9} {'images/s/core':>14}")
    for name, spent in times.items():
        print(f"{name:12} {min(spent) / count * 1e3:9.2f} {count / min(spent):14.0f}")
    paired = zip(times["img2dataset"], times["septet"], strict=True)
    ratio = statistics.median(peer / ours for peer, ours in paired)
    print(f"ratio image_resize_vs_img2dataset {ratio:.2f}")


if __name__ == "__main__":
    main()
