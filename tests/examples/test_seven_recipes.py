"""The recipes of the seven papers' data, over small inputs in the published formats."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import septet
from septet.pipelines.cli import main
from septet.preprocess.columns.reader import column_names, read_manifest
from septet.preprocess.columns.registry import column_kinds
from septet.schemas.recipe_file import parse_recipe
from septet.trainers.commands.models import MODELS, presets_of
from septet.trainers.settings.overrides import override
from tests.corpora import rows, run_build
from tests.examples.published_sets import Sets, served
from tests.http_server import HostileServer

FOLDER = Path(__file__).parents[2] / "examples/recipes"
SETS = {
    "ernie-vil": "cc3m sbu",
    "clip": "common_crawl coyo_700m metaclip",
    "m6": "wukong clue_corpus",
    "flava": "coco sbu open_images cc3m visual_genome wit cc12m redcaps yfcc100m imagenet_1k texts",
    "ofa": "cc12m cc3m sbu coco visual_genome open_images objects365 imagenet_21k pile",
    "beit3": "cc12m cc3m sbu coco visual_genome imagenet_21k texts",
    "pali": "mc4 common_crawl wit cc3m open_images visual_genome objects365",
}
"""Published sets that each recipe reads, and that lie in its folder here."""


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer(served()) as running:
        yield running


def commands(name: str, command: str) -> list[list[str]]:
    """The words of each such command in the head of a recipe."""
    text = (FOLDER / f"{name}.yaml").read_text()
    return [shlex.split(line) for line in re.findall(rf"^# +septet ({command} .*)$", text, re.M)]


def written(name: str, folder: Path, server: HostileServer) -> Path:
    """A recipe over its sets, changed in the hosts alone that it may ask."""
    Sets(folder / "data", server.url)(*SETS[name].split())
    recipe = folder / f"examples/recipes/{name}.yaml"
    recipe.parent.mkdir(parents=True)
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.count("\nfetch:\n") == 1
    recipe.write_text(text.replace("\nfetch:\n", f"\nfetch:\n  allowed_hosts: ['{server.host}']\n"))
    return recipe


def built(name: str, folder: Path, server: HostileServer) -> Path:
    """The corpus of a recipe over its sets."""
    run_build(written(name, folder, server), folder / "corpus")
    return folder / "corpus"


def kept(corpus: Path) -> list[tuple[str, str]]:
    """File name of the image, and text, of all samples; empty where there is none."""
    return sorted(
        ((row["url"] or "").rpartition("/")[2], row["caption"] or "")
        for row in rows(corpus, "shards")
    )


def lost(corpus: Path) -> list[tuple[str, str]]:
    """Reason and text of all rows that were lost."""
    return sorted((row["reason"], row["caption"] or "") for row in rows(corpus, "rejects"))


def views(name: str, corpus: Path) -> dict[str, int]:
    """Samples of each view that the head of a recipe makes, but those that need a further column."""
    found = {}
    for words in commands(name, "curate"):
        assert words[:2] == ["curate", f"corpora/{name}"] and words[-2] == "--name"
        keep = [words[at + 1] for at, word in enumerate(words) if word == "--keep"]
        if "clip.similarity" not in keep[0]:
            found[words[-1]] = septet.curate(corpus, words[-1], keep=keep)[-1].samples
    return found


CC3M = [
    ("cc3m-coat.jpg", "person in a red coat"), ("cc3m-dog.jpg", "a dog runs on the beach"),
    ("cc3m-sunset.jpg", "sunset"),
]  # fmt: skip
"""What stays where no rule of text runs: the fourth row is the first again, the fifth image is gone."""
CC3M_LOST = [
    ("duplicate_pair", "a dog runs on the beach"), ("http_status", "a boat on a calm lake"),
]  # fmt: skip
CC12M = [
    ("cc12m-ball.jpg", "Two children play with a ball"),
    ("cc12m-bridge.jpg", "A wooden bridge over a small river"),
]
SBU = [("sbu-cat.jpg", "My cat asleep in the window of our old house")]
SBU_LOST = [("list_row", "")]
"""The second caption is empty."""
COCO = "A man is in a kitchen making pizzas."
CLOCK = "a green clock on the tower"
NEWS = "The harbour was opened again on Monday after the storm."
PLANE, PERSON = "0001eeaf4aed83f9.jpg", "objects365_v2_00908726.jpg"


def test_ernie_vil_reads_its_sets_as_they_were_filtered(tmp_path, server) -> None:
    corpus = built("ernie-vil", tmp_path, server)
    assert kept(corpus) == [*CC3M, *SBU]
    assert lost(corpus) == [*CC3M_LOST, *SBU_LOST]


def test_clip_keeps_english_texts_that_hold_an_entry(tmp_path, server) -> None:
    corpus = built("clip", tmp_path, server)
    assert kept(corpus) == [
        ("alt-flat.jpg", "A long lighthouse wall beside the sea"),  # MetaCLIP asks no shape
        ("alt-mail.jpg", "A lighthouse to rent, mail keeper@example.org"),
        ("alt-tower.jpg", "A lighthouse on a rock in the evening"),
        ("coyo-lamp.jpg", "An oil lamp in a lighthouse"),
    ]
    assert lost(corpus) == [
        ("language", "Der alte Leuchtturm auf einem Felsen am Meer"),
        ("no_entry", "Something quite different in the morning"),
    ]


def test_m6_counts_characters_and_cleans_chinese(tmp_path, server) -> None:
    corpus = built("m6", tmp_path, server)
    assert kept(corpus) == [
        ("", "港口在暴风雨之后重新开放。 船只又可以出海了。"),
        ("zh-lake.jpg", "窗外的雪山和湖泊的风景照片"),
        ("zh-markup.jpg", "春天的花园里开满了花！"),
    ]
    assert lost(corpus) == [
        ("aspect_ratio", "长城在秋天的早晨"),  # 320 x 70: 4.6 is more than 4
        # Five Chinese letters of some sixty are less than half.
        ("other_script", "A lake in the snow near the old town, photographed in winter 雪山和湖泊"),
        ("too_few_ideographs", "完。"),
        ("too_few_ideographs", "雪山湖泊"),  # four
        ("too_few_pixels", "一只小猫在沙发上睡觉"),  # 60 x 60: 3,600 are less than 5,000
    ]
    assert views("m6", corpus) == {"pairs": 2, "texts": 1}


def test_flava_keeps_english_of_three_words(tmp_path, server) -> None:
    corpus = built("flava", tmp_path, server)
    assert kept(corpus) == [
        ("", NEWS), ("000000000009.jpg", COCO),
        (PLANE, "In this image there is an airplane in the sky."), ("1.jpg", CLOCK),
        *CC12M, *CC3M[:2], ("n01440764_10026.JPEG", ""),
        ("redcaps-puppy.jpg", "my puppy after his first bath"), *SBU,
        ("wit-mill.jpg", 'The "old" mill beside the river'),
        ("yfcc-boats.jpg", "Boats in the harbour at night"),
    ]  # fmt: skip
    assert lost(corpus) == [
        *CC3M_LOST,
        ("language", "El viejo molino junto al río de la ciudad"),
        ("language", "Sonnenuntergang über dem alten Hafen von Hamburg"),
        *SBU_LOST,
        ("too_few_words", "A kitchen."), ("too_few_words", "Harbour 2041"),
        ("too_few_words", "Storm over"), ("too_few_words", "red car"), ("too_few_words", "sunset"),
    ]  # fmt: skip
    assert views("flava", corpus) == {"pairs": 11, "images": 1, "texts": 1}


def test_ofa_reads_what_sets_say_of_their_images(tmp_path, server) -> None:
    corpus = built("ofa", tmp_path, server)
    coco = "COCO_train2014_000000000009.jpg"
    assert kept(corpus) == [
        ("", "The harbour was opened again."), (PLANE, ""), ("1.jpg", ""),
        (coco, "A kitchen."), (coco, COCO), *CC12M, *CC3M, ("n00004475_6590.JPEG", ""),
        (PERSON, ""), *SBU,
    ]  # fmt: skip
    assert lost(corpus) == [*CC3M_LOST, *SBU_LOST]
    assert views("ofa", corpus) == {"images": 12, "texts": 1}
    # Of COCO's image both samples, of Visual Genome's, Open Images' and Objects365's the one.
    values = {name: read_manifest(str(corpus), name).values for name in column_names(str(corpus))}
    assert values == {"boxes": 5, "phrases": 1, "questions": 3}


def test_beit3_reads_its_sets_as_they_were_filtered(tmp_path, server) -> None:
    corpus = built("beit3", tmp_path, server)
    coco = "COCO_train2014_000000000009.jpg"
    assert kept(corpus) == [
        ("", "Storm over"), ("", NEWS), ("1.jpg", CLOCK), ("1.jpg", "red car"),
        (coco, "A kitchen."), (coco, COCO), *CC12M, *CC3M, ("n00004475_6590.JPEG", ""), *SBU,
    ]  # fmt: skip
    assert lost(corpus) == [*CC3M_LOST, *SBU_LOST]
    assert views("beit3", corpus) == {"pairs": 10, "images": 1, "texts": 2}


JOBS = dict.fromkeys(SETS, 11) | {"clip": 13, "ofa": 17, "pali": 13}
"""Pipelines of a build: two more where texts are balanced, and for each column."""


@pytest.mark.parametrize("name", SETS)
def test_a_dry_run_for_dataflow(name, tmp_path, server, capsys) -> None:
    """No account, and no address but the server's here."""
    recipe = written(name, tmp_path, server)
    with pytest.raises(SystemExit) as end:
        main(["build", "--runner", "dataflow", "--dry-run", str(recipe)])
    out = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0, out
    assert f"{name} on Dataflow: {JOBS[name]} jobs, one a pipeline" in out
    assert "write: 2 steps, 1 shuffles" in out and "Dataflow needs a project" in out


def test_pali_keeps_all_languages_and_no_address(tmp_path, server) -> None:
    corpus = built("pali", tmp_path, server)
    assert kept(corpus) == [
        ("", "Der Hafen wurde am Montag wieder geöffnet."), (PLANE, ""), ("1.jpg", ""),
        ("alt-german.jpg", "Der alte Leuchtturm auf einem Felsen am Meer"),
        ("alt-none.jpg", "Something quite different in the morning"),
        ("alt-tower.jpg", "A lighthouse on a rock in the evening"),
        *CC3M, (PERSON, ""),
        ("wit-mill.jpg", 'The "old" mill beside the river'),
        ("wit-molino.jpg", "El viejo molino junto al río de la ciudad"),
    ]  # fmt: skip
    assert lost(corpus) == [
        ("aspect_ratio", "A long lighthouse wall beside the sea"),  # 4.6 is more than 3
        ("contact", "A lighthouse to rent, mail keeper@example.org"),
        ("contact", "Schreiben Sie an hafen@example.org und fragen Sie."),
        *CC3M_LOST,
    ]
    assert views("pali", corpus) == {"images": 11, "texts": 1}
    assert read_manifest(str(corpus), "boxes").values == 3


@pytest.mark.parametrize("name", SETS)
def test_nobody_is_asked_by_accident(name: str) -> None:
    fetch = parse_recipe((FOLDER / f"{name}.yaml").read_text()).fetch
    assert fetch.contact is None and fetch.without_contact == "reject"


@pytest.mark.parametrize("name", SETS)
def test_heads_say_how_to_train(name: str) -> None:
    """Model, preset, settings and streams of the line are such that there are; so are its views and
    the columns of the lines before."""
    (words,) = commands(name, "train")
    preset = words.index("--preset")
    changes = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    model, corpora = words[1], words[2:preset]
    assert model in MODELS and model.replace("_", "-") == name
    found = override(presets_of(model)[words[preset + 1]], changes)
    made = {line[-1] for line in commands(name, "curate")}
    for corpus in corpora:
        stream, _, path = corpus.rpartition("=")
        assert not stream or stream in found.task().streams
        folder, _, view = path.partition("@")
        assert folder == f"corpora/{name}" and (not view or view in made)
    for line in commands(name, "annotate"):
        assert line[1] == f"corpora/{name}" and line[line.index("--column") + 1] in column_kinds()
