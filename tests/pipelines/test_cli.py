"""The front door, as a person uses it."""

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import webdataset as wds

from septet.pipelines.cli import COMMANDS, main
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_build, write_site

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def septet(*arguments: str) -> Done:
    """The command line within this process: starting Python and Beam anew takes seconds."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("cli"), parts=1, pages=6, images=8)


@pytest.fixture(scope="module")
def built(recipe: Path) -> Path:
    run_build(recipe, recipe.parent / "corpus")
    return recipe.parent / "corpus"


@pytest.mark.parametrize("command", ["build", "stats", "check", "index", "show", "train"])
def test_help_teaches_by_example(command: str) -> None:
    text = septet(command, "--help")
    assert text.returncode == 0
    assert f"septet {command} " in text.stdout, text.stdout


def test_build_says_what_happened_and_then_does_nothing(recipe: Path, tmp_path: Path) -> None:
    for part in recipe.parent.rglob("*.warc.gz"):  # What is just written is in no note of a build.
        os.utime(part, (1e9, 1e9))
    first = septet("build", str(recipe), "--out", str(tmp_path / "c"), "--workers", "2")
    assert first.returncode == 0, first.stderr
    lines = first.stderr.splitlines()
    for stage in ("source", "filter", "dedup", "fetch", "curate", "write", "report"):
        assert any(
            re.match(rf"{stage} +[\d,]+ in +[\d,]+ out.* [\d.]+ s$", line) for line in lines
        ), lines
    assert "WARNING" not in first.stderr and "Traceback" not in first.stderr
    second = septet("build", str(recipe), "--out", str(tmp_path / "c"))
    assert "nothing to do" in second.stderr
    # Told from the note of the build: no part of Beam or of a stage is asked.
    called: list[dict[str, object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("septet.build", lambda *_, **options: called.append(options) or 1 / 0)
        assert "nothing to do" in septet("build", str(recipe), "--out", str(tmp_path / "c")).stderr
        assert called == []
        with pytest.raises(ZeroDivisionError):
            septet("build", str(recipe), "--out", str(tmp_path / "c"), "--retry", "gone")
    assert [options["retry"] for options in called] == [["gone"]]


def test_explain_runs_nothing(recipe: Path, tmp_path: Path) -> None:
    done = septet("build", str(recipe), "--explain", "--out", str(tmp_path / "none"))
    assert done.returncode == 0 and not (tmp_path / "none").exists()
    for word in ("source", "curate", "min_chars: 5", "to do", "part-0.warc.gz"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nsource: []\n", "r.yaml:2: source: unknown key; did you mean `sources`?"),
        ("name: x\nsources: [{kind: warc, paths: ['*.nope']}]\n", "no file matches '*.nope'"),
    ],
)
def test_a_users_error_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    done = septet("build", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "c"))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert septet("build", str(tmp_path / "gone.yaml")).returncode == 2
    assert "septet index" in septet("stats", str(tmp_path)).stderr


@pytest.mark.parametrize("faults", [[], ["one.tar: is odd", "two.tar: too"]])
def test_check_hands_on_what_is_asked_and_tells_faults(
    faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import septet as front

    asked: list[dict[str, object]] = []

    def check(corpus: str, **options: object) -> list[str]:
        asked.append({"corpus": corpus} | options)
        return faults

    monkeypatch.setattr(front, "check", check)
    done = septet("check", "x", "--trust", "a:B", "--trust", "c:D", "--decode")
    assert septet("check", "y").returncode == done.returncode == (1 if faults else 0)
    assert done.stdout.splitlines() == faults
    assert ("x: no fault found" in done.stderr) is not bool(faults)
    told = [(one["corpus"], one["decode"], tuple(one["trust"])) for one in asked]  # type: ignore[call-overload]
    assert told == [("x", True, ("a:B", "c:D")), ("y", False, ())]


def test_a_dry_run_is_dataflows(recipe: Path) -> None:
    done = septet("build", str(recipe), "--dry-run")
    assert done.returncode == 2
    assert "--dry-run goes with --runner dataflow" in " ".join(done.stderr.split())


def test_flags_that_are_not_given_are_off() -> None:
    flags = {}
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        for parameter in inspect.signature(function).parameters.values():
            if isinstance(parameter.default, bool):
                flags[name, parameter.name] = parameter.default
    assert ("check", "decode") in flags and ("build", "explain") in flags
    assert not any(flags.values()), flags


def test_check_finds_a_flipped_bit(built: Path, tmp_path: Path) -> None:
    assert septet("check", str(built), "--decode").returncode == 0
    damaged = tmp_path / "damaged"
    shutil.copytree(built, damaged)
    tar = damaged / "shards/0000/0000000.tar"
    data = bytearray(tar.read_bytes())
    data[1000] ^= 1
    tar.write_bytes(data)
    result = septet("check", str(damaged))
    assert result.returncode == 1
    assert "sha256 is" in result.stdout and "CRC-32" in result.stdout


def test_show_writes_the_image(built: Path, tmp_path: Path) -> None:
    corpus = Corpus(str(built))
    done = septet("show", str(built), corpus.key(3), "--image", str(tmp_path / "p.jpg"))
    assert done.returncode == 0, done.stderr
    assert corpus[3]["txt"].decode() in " ".join(done.stdout.split())
    assert (tmp_path / "p.jpg").read_bytes() == corpus[3]["jpg"]


def img2dataset_folder(built: Path, folder: Path) -> Path:
    """The corpus's samples as img2dataset leaves them: tars in no order, keys with gaps, Parquet
    files with rows that failed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    corpus = Corpus(str(built))
    for shard in range(2):
        table = []
        with wds.TarWriter(str(folder / f"{shard:05d}.tar")) as tar:
            for i in range(shard, len(corpus), 2):
                key = f"{shard:05d}{(i * 7) % 1000:04d}"
                sample = corpus[i]
                tar.write(
                    {
                        "__key__": key,
                        "jpg": sample.get("jpg") or sample["png"],
                        "txt": sample["txt"],
                        "json": sample["json"],
                    }
                )
                table.append(
                    {
                        "key": key,
                        "url": f"http://e/{i}",
                        "status": "success",
                        "caption": sample["txt"].decode(),
                    }
                )
        table.append(
            {
                "key": f"{shard:05d}9999",
                "url": "http://e/x",
                "status": "failed_to_download",
                "caption": "x",
            }
        )
        pq.write_table(pa.Table.from_pylist(table[::-1]), folder / f"{shard:05d}.parquet")
    return folder


def test_index_makes_a_corpus_of_foreign_shards(built: Path, tmp_path: Path) -> None:
    folder = img2dataset_folder(built, tmp_path / "foreign")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = septet("index", str(folder), "--name", "foreign")
    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name in before} == before
    ours, theirs = Corpus(str(built)), Corpus(str(folder))
    assert sorted(s["txt"] for s in theirs) == sorted(s["txt"] for s in ours)
    assert [row["caption"].encode() for row in theirs.metadata(0).to_pylist()] == [
        theirs[i]["txt"] for i in range(theirs.shards[0].samples)
    ]
    assert septet("check", str(folder)).returncode == 0
    assert json.loads(septet("stats", str(folder), "--json").stdout)["samples"] == len(ours)


@pytest.mark.parametrize("fault", ["no tar", "cut", "twice"])
def test_index_refuses_what_is_no_dataset(built: Path, tmp_path: Path, fault: str) -> None:
    folder = img2dataset_folder(built, tmp_path / "foreign")
    tar = folder / "00001.tar"
    if fault == "no tar":
        for path in folder.glob("*.tar"):
            path.unlink()
    elif fault == "cut":
        (folder / "00000.tar").unlink()
        tar.write_bytes(tar.read_bytes()[:3000])
    else:
        shutil.copy(folder / "00000.tar", tar)
    done = septet("index", str(folder))
    assert done.returncode == 2
    assert {"no tar": "no .tar files", "cut": "00001.tar", "twice": "stands in 00000.tar"}[
        fault
    ] in " ".join(done.stderr.split())
    assert not (folder / "corpus.json").exists()


OPEN_CLIP_READS = """
import sys
import open_clip
from open_clip_train.data import get_wds_dataset
from open_clip_train.params import parse_args
options = parse_args(["--train-data", sys.argv[1], "--train-num-samples", "8", "--batch-size", "4",
                      "--workers", "1", "--dataset-type", "webdataset"])
options.world_size, options.rank, options.distributed = 1, 0, False
transform = open_clip.transform.image_transform(64, is_train=False)
tokenizer = open_clip.get_tokenizer("ViT-B-32")
images, texts = next(iter(get_wds_dataset(options, transform, True, tokenizer=tokenizer).dataloader))
print(tuple(images.shape), tuple(texts.shape), float(images.std()) > 0.1, bool((texts[:, 1] > 0).all()))
"""


def test_open_clips_loader_reads_the_shards_unchanged(built: Path) -> None:
    # With webdataset 1.0, open_clip 3.3's loader fails on any tar; it asks for 0.2.86 at most.
    peer = Path(sys.prefix) / "peers/webdataset-0.2.86"
    assert peer.is_dir(), "run `make setup`"
    shards = sorted((built / "shards").rglob("*.tar"))
    pattern = built / "shards/0000" / f"{{{shards[0].stem}..{shards[-1].stem}}}.tar"
    done = subprocess.run(
        [sys.executable, "-c", OPEN_CLIP_READS, str(pattern)],
        env={**os.environ, "PYTHONPATH": str(peer)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "(4, 3, 64, 64) (4, 77) True True", done.stderr


def test_plain_tar_lists_the_layout(built: Path) -> None:
    with tarfile.open(built / "shards/0000/0000000.tar") as tar:
        names = tar.getnames()
    assert [name.partition(".")[2] for name in names[:3]] in (
        ["jpg", "txt", "json"],
        ["png", "txt", "json"],
    )


def test_the_base_install_never_imports_torch() -> None:
    code = "import sys, septet.pipelines.cli, septet.pipelines.build, septet.pipelines.report.commands, septet.trainers.commands.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_main_is_the_console_script() -> None:
    from importlib.metadata import entry_points

    (script,) = [e for e in entry_points(group="console_scripts") if e.name == "septet"]
    assert script.load() is main
