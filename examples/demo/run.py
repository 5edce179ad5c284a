"""`make demo`: from pages and images to a corpus, its report and a CLIP that trains.

    python examples/demo/run.py [--out FOLDER] [--steps N]

Does what a user would, command by command, and says how long each took and where everything is.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the commands of the demo; ends with the status of the first that fails."""
    parser = argparse.ArgumentParser(description="Septet's demo")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    options = parser.parse_args()
    corpus, run = options.out / "corpus", options.out / "clip"
    recipe = ROOT / "examples/recipes/demo.yaml"
    commands = [
        f"build {recipe} --out {corpus}",
        f"check {corpus} --decode",
        f"stats {corpus}",
        f"train clip {corpus} --preset debug --steps {options.steps} --out {run}",
    ]
    walls = []
    for command in commands:
        print(f"\n$ septet {command}", flush=True)
        start = time.monotonic()
        septet = [sys.executable, "-m", "septet", *shlex.split(command)]
        done = subprocess.run(septet, cwd=ROOT, check=False)
        walls.append((command.split()[0], time.monotonic() - start))
        if done.returncode:
            return done.returncode
    print("\nwall time: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in walls))
    for what, where in {
        "corpus": corpus,
        "report": corpus / "stats/report.html",
        "checkpoint": run / "checkpoints",
        "metrics": run / "metrics.jsonl",
        "TensorBoard": run / "tensorboard",
    }.items():
        print(f"{what:<12}{where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
