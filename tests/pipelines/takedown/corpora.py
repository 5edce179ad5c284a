"""A built corpus with a column, and what each reader shows of it."""

import json
from pathlib import Path
from typing import Any

import webdataset as wds

import septet
from septet.pipelines.takedown.remove import Taken
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_annotation, run_build, write_site
from tests.pipelines.annotate.columns_to_test import HERE

WORDS = f"{HERE}:Words"


def built(folder: Path, **site: int) -> Path:
    """The site's corpus in `folder/corpus`, with a column `words`."""
    recipe = write_site(folder, **site)
    run_build(recipe, folder / "corpus")
    run_annotation(folder / "corpus", WORDS, name="words")
    return folder / "corpus"


def records(corpus: Path) -> dict[str, dict]:
    """The `json` member of each sample that the corpus gives, by key."""
    found = [json.loads(sample["json"]) for sample in Corpus(str(corpus))]
    return {one["key"]: one for one in found}


def same_image(known: dict[str, dict], key: str) -> set[str]:
    """The samples with the image of one."""
    return {k for k, one in known.items() if one["sha256"] == known[key]["sha256"]}


def by_webdataset(corpus: Path, folder: str = "shards") -> set[str]:
    """The keys that plain webdataset reads of all tars below a folder of the corpus."""
    tars = sorted(str(path) for path in (corpus / folder).rglob("*.tar"))
    return {sample["__key__"] for sample in wds.WebDataset(tars, shardshuffle=False)}


def taken_down(corpus: Path, **what: Any) -> Taken:
    """The result of `septet.remove` with a list."""
    taken, _ = septet.remove(corpus, **what)
    assert taken is not None
    return taken
