"""The size budgets that keep the house thin; run by `make check`."""

import subprocess
import sys
from pathlib import Path

FILE = 500
ENGINE = 2580
MODEL = 350
TASK = 150


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def main() -> int:
    names = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True)
    paths = [path for path in map(Path, names.stdout.splitlines()) if path.exists()]
    faults = [
        f"{path}: {lines(path)} lines, at most {FILE}" for path in paths if lines(path) > FILE
    ]
    engine = sum(lines(path) for path in paths if path.parts[:2] == ("trainers", "engine"))
    if engine > ENGINE:
        faults.append(f"trainers/engine: {engine} lines in all, at most {ENGINE}")
    for path in paths:
        if path.parts[0] == "trainers" and len(path.parts) == 3:
            budget = {"model.py": MODEL, "task.py": TASK}.get(path.name)
            if budget and lines(path) > budget:
                faults.append(f"{path}: {lines(path)} lines, at most {budget}")
    print("\n".join(faults) or f"budgets kept: {len(paths)} files, engine {engine} lines")
    return bool(faults)


def test_all_are_kept() -> None:
    assert not main()


if __name__ == "__main__":
    sys.exit(main())
