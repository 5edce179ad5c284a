"""A stand-in for podman, for `infra/dataflow/launch.sh`: it builds a container file as a virtual
environment.

`FROM` makes an empty one of the base image's Python, and its `pip` is uv. What an image has without
it, above all Beam and what Beam's image adds, is not there unless the file installs it. IMAGES is
the folder of the images, each below its own name.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

BASE = re.compile(r"docker\.io/apache/beam_python(\d+\.\d+)_sdk:(\d+\.\d+\.\d+)")
UV = Path(sys.executable).with_name("uv")


def image_folder(images: Path, name: str) -> Path:
    """The folder of an image, with its environment in `venv`."""
    return images / re.sub(r"[^\w.-]", "_", name)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a container file, in order: name and argument."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (head, rest) for head, _, rest in (x.partition(" ") for x in joined.splitlines()) if head
    ]


def take_compiled(venv: Path) -> None:
    """Give an environment what the tests' own has compiled of the very same files: uv links the
    files of both from its cache, and to compile Beam takes longer than all else of an image."""
    theirs, ours = (
        Path(sysconfig.get_path("purelib", vars={"base": str(one)})) for one in (venv, sys.prefix)
    )
    for package in os.scandir(theirs):
        for folder, _, names in os.walk(package.path) if package.is_dir() else ():
            own = ours / os.path.relpath(folder, theirs)
            compiled = own / "__pycache__"
            if not compiled.is_dir():
                continue
            there = Path(folder) / "__pycache__"
            there.mkdir(exist_ok=True)
            for name in names:
                cached = f"{name.removesuffix('py')}{sys.implementation.cache_tag}.pyc"
                with suppress(FileNotFoundError, FileExistsError):
                    if (own / name).samefile(Path(folder) / name):
                        (there / cached).hardlink_to(compiled / cached)


class Build:
    """A container file that is built, one instruction after the other."""

    def __init__(self, root: Path, context: Path, given: dict[str, str]):
        self.root, self.context, self.given = root, context, given
        self.names: dict[str, str] = {}
        self.copied: set[str] = set()

    def run(self, text: str) -> None:
        """Build all of it."""
        for name, argument in instructions(text):
            getattr(self, "do_" + name.lower())(argument)

    def do_arg(self, argument: str) -> None:
        """ARG: a value of the command line, else the one in the file, else the one before FROM."""
        name, _, default = argument.partition("=")
        before = self.names.get(name, "")
        self.names[name] = self.given.get(name, default.strip('"') or before)

    def do_from(self, argument: str) -> None:
        """FROM: Beam's image of this Python and this Beam."""
        base = BASE.fullmatch(self.expanded(argument))
        assert base, f"another base image: {argument}"
        python = ".".join(map(str, sys.version_info[:2]))
        assert base[1] == python, f"the image has Python {base[1]}, who launches {python}"
        shutil.rmtree(self.root, ignore_errors=True)
        venv = [UV, "venv", "--quiet", "--python", sys.executable, self.root / "venv"]
        subprocess.run(venv, check=True)

    def do_copy(self, argument: str) -> None:
        """COPY: files, or what is in folders, links as links."""
        *sources, to = shlex.split(argument)
        target = self.root / to.lstrip("/")
        self.copied.add("/" + target.relative_to(self.root).parts[0])
        for source in sources:
            here = self.context / source
            if here.is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(here, target, symlinks=True, dirs_exist_ok=True, ignore=skip)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, target / here.name)

    def do_run(self, argument: str) -> None:
        """RUN: by bash, with the image's folders instead of this machine's."""
        for folder in self.copied:
            argument = re.sub(rf'(?<=[\s"=]){folder}\b', str(self.root) + folder, argument)
        python = shlex.quote(str(self.root / "venv/bin/python"))
        pip = f'pip() {{ {shlex.quote(str(UV))} pip "$1" -q --python {python} "${{@:2}}"; }}'
        # The cache of this machine is what makes it a matter of seconds.
        command = f"set -eu; {pip}; {argument.replace('--no-cache-dir', '')}"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(["bash", "-c", command], env=environment | self.names, check=True)
        take_compiled(self.root / "venv")

    def do_env(self, argument: str) -> None:
        """ENV: set for whatever runs in the image."""
        with (self.root / "environment").open("a") as out:
            out.write(argument + "\n")

    def do_entrypoint(self, argument: str) -> None:
        """ENTRYPOINT: what Dataflow starts, Beam's boot program."""
        assert argument == '["/opt/apache/beam/boot"]', argument

    def expanded(self, text: str) -> str:
        """A text with the values of its names."""
        return re.sub(r"\$\{(\w+)\}", lambda name: self.names[name[1]], text)


def main() -> None:
    """`build` as podman has it; `push` of an image that was built."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build")
    build.add_argument("-f", dest="file", type=Path, required=True)
    build.add_argument("-t", dest="image", required=True)
    build.add_argument("--build-arg", action="append", default=[])
    build.add_argument("context", type=Path)
    push = commands.add_parser("push")
    push.add_argument("image")
    chosen = parser.parse_args()
    root = image_folder(Path(os.environ["IMAGES"]), chosen.image)
    if chosen.command == "build":
        given = dict(argument.split("=", 1) for argument in chosen.build_arg)
        Build(root, chosen.context, given).run(chosen.file.read_text())
    elif not (root / "venv").is_dir():
        sys.exit(f"there is no image {chosen.image}")


if __name__ == "__main__":
    main()
