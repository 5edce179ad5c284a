"""Near-duplicate captions over shards: the same survivors everywhere, no better ones lost."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.near_captions import labelled_captions, score
from septet.pipelines.runners import make_runner
from septet.pipelines.stages.curate import compared
from septet.preprocess.dedup import ANNOTATED
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.text.ids import sample_id, split_ids
from septet.schemas.recipe_file import RecipeError
from tests.corpora import digests, rows, run_build
from tests.kills import build_through_kills

SET = [one for one in labelled_captions(True) if one.language in ("en", "de", "ru", "zh", "ja")]
RECIPE = (
    "name: near\nsources: [{{kind: list, paths: ['list-*.parquet'], url_col: null}}]\n"
    "filter: {{min_words: 0, min_chars: 1, language_score: 0}}\n"
    "curate: {{near_text: {}}}\nwrite: {{samples_per_shard: 120}}\n"
)


def write_lists(folder: Path, captions: list[str], seed: int, parts: int = 5) -> Path:
    """A recipe over lists of texts, in an order of their own."""
    folder.mkdir(parents=True)
    texts = captions.copy()
    random.Random(seed).shuffle(texts)
    for part in range(parts):
        pq.write_table(pa.table({"caption": texts[part::parts]}), folder / f"list-{part}.parquet")
    (folder / "recipe.yaml").write_text(RECIPE.format("everywhere"))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("near") / "in", [one.caption for one in SET], 1)


@pytest.fixture(scope="module")
def built(recipe: Path) -> Path:
    run_build(recipe, recipe.parent.parent / "corpus")
    return recipe.parent.parent / "corpus"


def test_near_copies_go_and_others_stay(built: Path) -> None:
    cleaned = {clean_caption(one.caption): one for one in SET}  # of equal ones one is left before
    captions = list(cleaned.values())
    number = {sample_id(None, caption): i for i, caption in enumerate(cleaned)}
    stays = {row["key"] for row in rows(built, "shards")}
    kept_of = list(range(len(captions)))
    for row in rows(built, "rejects"):
        if row["reason"] == "near_duplicate_text":
            kept, similarity, group = row["value"].split(", ")
            if row["id"] in number and kept in number:
                kept_of[number[row["id"]]] = number[kept]
            assert 0.5 <= float(similarity.split()[1]) <= 1
            assert group.split()[1] in stays
    assert {id_ for id_, i in number.items() if kept_of[i] == i} == stays
    found = score(captions, kept_of, lambda one: one.script)
    assert found.recall > 0.88 and found.precision > 0.99 and found.lost < 0.005


def test_the_longest_of_near_captions_stays(built: Path) -> None:
    length = {row["key"]: len(row["caption"]) for row in rows(built, "shards")}
    lost = [row for row in rows(built, "rejects") if row["reason"] == "near_duplicate_text"]
    assert len(lost) > 200
    assert all(length[row["value"][:32]] >= len(row["caption"]) for row in lost)
    kept = {row["value"][:32] for row in lost}
    assert kept <= length.keys(), "who goes is near to one that stays"


@pytest.mark.parametrize("workers", [2, 4])
def test_worker_counts_make_no_difference(
    recipe: Path, built: Path, tmp_path: Path, workers: int
) -> None:
    run_build(recipe, tmp_path / "corpus", workers=workers)
    assert digests(tmp_path / "corpus") == digests(built)


def test_a_beam_runner_makes_no_difference(recipe: Path, built: Path, tmp_path: Path) -> None:
    with make_runner("embedded", 1, [], str(tmp_path / "corpus")) as runner:
        run_build(recipe, tmp_path / "corpus", runner=runner)
    assert digests(tmp_path / "corpus") == digests(built)


def test_the_order_of_rows_makes_no_difference(built: Path, tmp_path: Path) -> None:
    recipe = write_lists(tmp_path / "in", [one.caption for one in SET], 2, parts=3)
    run_build(recipe, tmp_path / "corpus", workers=2)
    told = [(row["key"], row["caption"]) for row in rows(tmp_path / "corpus", "shards")]
    assert told == [(row["key"], row["caption"]) for row in rows(built, "shards")]
    lost = [
        sorted((row["id"], row["value"]) for row in rows(corpus, "rejects")
               if row["reason"] == "near_duplicate_text")
        for corpus in (built, tmp_path / "corpus")
    ]  # fmt: skip
    assert lost[0] == lost[1]


@pytest.mark.slow
def test_killed_and_resumed(recipe: Path, built: Path, tmp_path: Path) -> None:
    corpus, log = tmp_path / "corpus", tmp_path / "kills"
    codes = build_through_kills(recipe, corpus, log)
    assert codes[-1] == 0
    assert {"curate: first", "curate: words: first", "curate: near text: first"} <= {
        *log.read_text().splitlines()
    }
    assert digests(corpus) == digests(built)


def sample(url: str | None, caption: str, width: int = 0, annotations: str | None = None) -> dict:
    return {
        "id": sample_id(url, caption, annotations), "image_url": url, "caption": caption,
        "annotations": annotations, "original_width": width or None, "language_score": None,
        "original_height": 10 if width else None,
    }  # fmt: skip


def test_which_captions_are_compared_and_which_is_better() -> None:
    samples = [
        sample("https://a.example.org/1.jpg", "x", 10),
        sample("https://b.example.org/2.jpg", "xx", 30),
        sample("https://example.com/3.jpg", "xxx", 20, "{}"),
        sample(None, "a text"),
        sample(None, "a longer text"),
    ]
    types = {
        "original_width": pa.int32(),
        "original_height": pa.int32(),
        "language_score": pa.float32(),
    }
    table = pa.Table.from_pylist(samples)
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    groups = {}
    for near_text in ("same_image", "same_domain", "everywhere"):
        found = compared(table, near_text)
        groups[near_text] = np.unique(found["scope"].to_numpy(), return_inverse=True)[1].tolist()
    same = {name: [of.index(one) for one in of] for name, of in groups.items()}
    assert same == {
        "same_image": [0, 1, 2, 3, 3],
        "same_domain": [0, 0, 2, 3, 3],
        "everywhere": [0, 0, 0, 3, 3],
    }
    better = compared(table, "everywhere")["better"].to_numpy()
    assert np.argsort(better).tolist() == [3, 4, 0, 1, 2]
    assert ((better & ANNOTATED) > 0).tolist() == [False, False, True, False, False]
    scopes = compared(table, "same_image")["scope"].to_numpy()
    assert (scopes[:3] == split_ids(table["id"])[0][:3]).all()


def test_without_numba_a_recipe_says_what_is_missing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septet.pipelines.build.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"near_text: numba is not installed; .*septet\[near\]"):
        run_build(recipe, tmp_path / "corpus")


NUMBERED = {
    "en": ("Figure 3.2. The harbour at night", "Figure 17. The harbour at night"),
    "de": ("Abb. 4: Der Hafen bei Nacht", "Abbildung 12.1. Der Hafen bei Nacht"),
    "fr": ("Figure 2. Le port la nuit", "Fig. 31 : Le port la nuit"),
    "es": ("Figura 5. El puerto de noche", "Figura 8-1: El puerto de noche"),
    "pl": ("Rysunek 7. Port nocą", "Rys. 21. Port nocą"),
    "ru": ("Рис. 2. Гавань ночью в городе", "Рисунок 14. Гавань ночью в городе"),
    "hu": ("3. ábra: A kikötő éjjel", "18. ábra: A kikötő éjjel"),
    "tr": ("Şekil 2. Gece limanı manzarası", "Şekil 19. Gece limanı manzarası"),
    "vi": ("Hình 1.2: Bến cảng ban đêm", "Hình 7: Bến cảng ban đêm"),
    "zh": ("图 3-2 夜晚的港口和渔船", "图 11 夜晚的港口和渔船"),
    "ja": ("図3 夜の港と漁船の風景", "図12 夜の港と漁船の風景"),
    "ko": ("그림 2. 밤의 항구 풍경", "그림 13. 밤의 항구 풍경"),
    "ar": ("شكل 3: الميناء في الليل", "شكل 22: الميناء في الليل"),
    "hi": ("चित्र 4: रात में बंदरगाह", "चित्र 15: रात में बंदरगाह"),
}
APART = ["Figure 3. Dose 10 mg after two days", "Figure 3. Dose 80 mg after two days"]


def test_captions_are_compared_without_figure_numbers(tmp_path: Path) -> None:
    """One of each pair stays, as it is written; numbers elsewhere keep captions apart."""
    captions = [caption for pair in NUMBERED.values() for caption in pair]
    recipe = write_lists(tmp_path / "in", captions + APART, 3)
    run_build(recipe, tmp_path / "corpus")
    kept = {row["caption"] for row in rows(tmp_path / "corpus", "shards")}
    assert {code: len(kept & set(pair)) for code, pair in NUMBERED.items()} == dict.fromkeys(
        NUMBERED, 1
    )
    assert kept >= set(APART)
    assert len(kept) == len(NUMBERED) + len(APART)
