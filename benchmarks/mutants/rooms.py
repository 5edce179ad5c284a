"""Which files are changed, and which tests are those of a file's room."""

from pathlib import Path

ROOTS = {
    "data": ("pipelines", "preprocess", "schemas"),
    "trainers": (
        "trainers/engine", "trainers/loader", "trainers/generate", "trainers/inputs",
        "trainers/measures", "trainers/mixture", "trainers/nets", "trainers/settings",
        "trainers/weights", "trainers/draws.py", "trainers/outcomes.py", "trainers/task.py",
    ),
}  # fmt: skip
"""What is changed: the data code, and the engine, the loader and what the models share."""

OUTSIDE = ("preprocess/annotators/", "preprocess/columns/", "preprocess/boxes/",
           "preprocess/codes/", "preprocess/ocr/", "preprocess/questions/", "preprocess/regions/",
           "preprocess/scene_graphs/", "preprocess/synthetic/", "preprocess/tokenizers/",
           "preprocess/weights.py", "pipelines/annotate/")  # fmt: skip
"""Columns have tests that run models, minutes each; they are drawn with `--only`."""

_BUILDS = [
    f"tests/pipelines/test_{name}.py"
    for name in ("build", "fetch_store", "hostile", "inputs_in_builds", "kinds_of_samples")
]
_MODELS = ["tests/trainers/test_clip.py", *(f"tests/trainers/{model}" for model in (
    "beit3", "flava", "ernie_vil", "ofa", "pali", "m6"))]  # fmt: skip
TESTS = (
    ("preprocess/members.py", ["tests/preprocess/warc", "tests/preprocess/lists"]),
    ("preprocess/identical_images.py", ["tests/preprocess/test_dedup.py"]),
    ("preprocess/domains.py", ["tests/preprocess/test_urls.py"]),
    ("preprocess/answering.py", ["tests/trainers/test_predict.py",
                                 "tests/pipelines/browse/test_sample.py"]),
    ("preprocess/sets/", ["tests/pipelines/sources/test_annotated.py"]),
    ("preprocess/", ["tests/preprocess/{room}", "tests/preprocess/test_{stem}.py"]),
    ("pipelines/sources/", ["tests/pipelines/sources", "tests/pipelines/test_inputs.py"]),
    ("pipelines/store/", ["tests/pipelines/store", *_BUILDS]),
    ("pipelines/stages/", ["tests/pipelines/stages", *_BUILDS]),
    ("pipelines/check.py", ["tests/pipelines/test_stranger.py", "tests/test_golden.py"]),
    ("pipelines/input_cache.py", ["tests/pipelines/test_inputs.py",
                                  "tests/pipelines/test_inputs_in_builds.py"]),
    ("pipelines/", ["tests/pipelines/{room}", "tests/pipelines/test_{stem}.py"]),
    ("pipelines/", [*_BUILDS, "tests/pipelines/test_cli.py"]),
    ("schemas/", ["tests/schemas", "tests/preprocess/shards", "tests/test_golden.py"]),
    ("trainers/loader/overlap.py", ["tests/trainers/test_overlap.py"]),
    ("trainers/loader/", [f"tests/trainers/{name}.py" for name in (
        "test_loader", "test_loader_threads", "test_buffers", "test_order", "test_streams",
        "test_members",
        "test_health", "test_languages", "test_side", "test_tally", "mixture/test_drawn",
        "pali/test_languages", "test_config")]),
    ("trainers/engine/experts.py", ["tests/trainers/experts", "tests/trainers/test_two_ranks.py"]),
    ("trainers/engine/", [f"tests/trainers/test_{name}.py" for name in (
        "adafactor", "checkpoint", "config", "initial", "metrics", "optim", "parallel",
        "reductions", "resume", "run", "run_lock", "run_store", "signals", "small_runs", "start",
        "stages", "streams", "tracking", "two_ranks", "update", "cli", "clip", "captioner",
        "distributed")]),
    ("trainers/optimizers/", ["tests/trainers/test_optim.py", "tests/trainers/test_adafactor.py"]),
    ("trainers/inputs/", ["tests/trainers/test_images.py", "tests/trainers/test_masks.py",
                          "tests/trainers/test_codes.py", "tests/trainers/test_loader.py",
                          *_MODELS]),
    ("trainers/measures/", ["tests/trainers/test_measures.py", "tests/trainers/test_captioner.py",
                            "tests/trainers/test_written_measures.py",
                            "tests/trainers/test_likelier.py",
                            "tests/trainers/test_measure_parts.py",
                            "tests/trainers/test_two_ranks.py", "tests/trainers/test_predict.py",
                            *_MODELS]),
    ("trainers/nets/", ["tests/trainers/test_token_loss.py", "tests/trainers/experts/test_layer.py",
                        "tests/trainers/test_t5.py", "tests/trainers/test_config.py",
                        "tests/trainers/test_two_ranks.py", "tests/trainers/generate", *_MODELS]),
    ("trainers/generate/", ["tests/trainers/generate", "tests/trainers/test_captioner.py",
                            "tests/trainers/test_two_ranks.py", *_MODELS]),
    ("trainers/mixture/", ["tests/trainers/mixture"]),
    ("trainers/", ["tests/trainers/test_{stem}.py", "tests/trainers/test_padding.py",
                   "tests/trainers/test_abilities.py", "tests/trainers/test_cli.py",
                   "tests/trainers/test_config.py", "tests/trainers/test_streams.py",
                   "tests/trainers/test_run.py", "tests/trainers/test_update.py",
                   "tests/trainers/test_initial.py", "tests/trainers/test_clip_weights.py",
                   *_MODELS]),
)  # fmt: skip
"""The tests of a file's room: those that exist of the first entry that fits and has any."""


MARKS = {"data": "", "trainers": "not slow"}
"""Marks of the tests that count. A slow one of trainers is a run of many steps."""


def find_tests(path: str) -> list[str]:
    """The test files of a file's room; none where nobody wrote any."""
    names = {"room": Path(path).parts[1], "stem": Path(path).stem}
    for prefix, targets in TESTS:
        found = [Path(target.format(**names)) for target in targets]
        found = [target for target in found if target.exists()]
        if path.startswith(prefix) and found:
            files = [
                f for t in found for f in ([t] if t.is_file() else sorted(t.rglob("test_*.py")))
            ]
            return list(dict.fromkeys(map(str, files)))
    return []


def find_files(what: str, only: list[str]) -> list[str]:
    """The files to draw from: of `data` or `trainers`, or those below `only`."""
    return [
        str(path)
        for root in only or ROOTS[what]
        for path in ([Path(root)] if root.endswith(".py") else sorted(Path(root).rglob("*.py")))
        if only or not str(path).startswith(OUTSIDE)
    ]
