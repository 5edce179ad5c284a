"""What the rows of a mixture really are: tasks that give way, languages, outcomes."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from septet.preprocess.shards.reader import Corpus
from septet.schemas.versioned import ManifestError
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.loop import Run, fit
from septet.trainers.engine.world import world
from septet.trainers.loader import source as sources
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.languages import language_shares
from septet.trainers.loader.source import Health, Source
from septet.trainers.loader.tally import Counted, Tally, tally_figures
from septet.trainers.task import Languages, Lengths, SampleError, Stream
from tests.trainers.corpora import write_corpus
from tests.trainers.mixture.small import LANGUAGES, TASKS, Dealt, key_of, language_of, numbers, told
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures


def source(corpora, stream="ocr", share=0.0, task=None, **options):
    mix = corpora if isinstance(corpora, list) else [(corpora, 1.0)]
    return Source(stream, task or Dealt(), mix, 3, 40, Health(share), **options)


def read(found, n):
    """Numbers and tasks of the first rows, and what is counted."""
    rows = list(found.rows(range(n)))
    tally = Tally(itertools.chain(*(counted for _, counted in rows)))
    return [(int(row["number"]), TASKS[row["of"]]) for row, _ in rows], tally


def test_a_row_that_lacks_a_column_goes_to_the_next_task(tmp_path):
    found = source(numbers(tmp_path))
    rows, tally = read(found, 60)
    assert sorted(n for n, _ in rows) == list(range(60))
    assert all(task == ("ocr" if n % 3 else "caption") for n, task in rows)
    assert tally[Counted("task", "ocr")] == 40 and tally[Counted("task", "caption")] == 20
    assert tally[Counted("moved", "ocr")] == 20 and tally[Counted("outcome", "cut")] == 5
    assert list(found.told()) == ["ocr: 20 samples have no value in codes: kept"]
    # Without others of its kind, such samples take no part.
    alone = source(numbers(tmp_path / "b"), task=Dealt(otherwise=False))
    rows, tally = read(alone, 40)
    assert sorted(n for n, _ in rows) == [n for n in range(60) if n % 3]
    assert tally == {Counted("task", "ocr"): 40}
    assert list(alone.told()) == ["ocr: 20 samples lack a column: left out"]


def test_a_corpus_of_a_mix_may_have_no_such_column(tmp_path):
    have, lack = numbers(tmp_path / "a", 60), numbers(tmp_path / "b", 60, column=False)
    _, tally = read(source([(have, 0.5), (lack, 0.5)]), 1000)
    assert tally[Counted("moved", "ocr")] == pytest.approx(500 + 500 / 3, abs=8)
    with pytest.raises(ManifestError, match="no complete column 'codes'"):
        source(lack)


def test_a_sample_that_no_task_of_the_kind_can_use_takes_no_part(tmp_path):
    """Each may need another column; who has none of them is left out before anything is read."""
    task = Dealt()
    need = Stream(("txt",), ("codes",), otherwise=("vqa",))
    task.streams = {"ocr": need, "vqa": Stream(("txt",), ("codes",))}
    rows, tally = read(source(numbers(tmp_path), task=task), 40)
    assert all(n % 3 for n, _ in rows) and tally == {Counted("task", "ocr"): 40}


def test_what_read_finds_lacking_moves_and_what_is_broken_is_replaced(tmp_path):
    corpus = numbers(tmp_path, empty={6, 7, 8}, broken={10, 12})
    rows, tally = read(source(corpus, share=0.5), 60)
    tasks = dict(rows)
    assert tasks[-1] == "vqa" and sum(n == -1 for n, _ in rows) == 3
    assert tally[Counted("task", "vqa")] == 3
    assert tally[Counted("moved", "ocr")] == sum(task != "ocr" for _, task in rows)
    assert tally[Counted("outcome", "unusable")] == 2
    # Where the last task of the kind can not use it either, the first one's reason counts.
    task = Dealt(shares=(5, 3, 0))
    task.streams = {
        "ocr": Stream(("txt",), ("codes",), otherwise=("caption",)),
        "caption": Stream(("txt",)),
    }
    found = source(corpus, share=0.5, task=task)
    found.health.report = tmp_path / "skipped.jsonl"
    rows, tally = read(found, 60)
    assert len(rows) == 60 and -1 not in dict(rows)
    lost = {name: n for (what, name), n in tally.items() if what == "outcome" and name != "cut"}
    assert lost == {"unusable": 2, "no_value": 3}
    assert (
        '"outcome": "no_value", "reason": "column codes has no value"'
        in (tmp_path / "skipped.jsonl").read_text()
    )


def test_each_task_of_a_kind_reads_its_own_members(tmp_path):
    """Half of the samples have no text: those go to a task that needs none."""
    samples = [
        (key_of(i), {"jpg": b"x", "png": b"y"} | ({"txt": b"z"} if i % 2 else {}))
        for i in range(20)
    ]
    corpus, seen = Corpus(str(write_corpus(tmp_path, samples))), []
    task = Dealt()
    task.streams = {
        "caption": Stream(("jpg",), otherwise=("vqa", "ocr")),
        "vqa": Stream(("txt",)),
        "ocr": Stream(("png|jpg",)),
    }

    def read_only_others(stream, sample, draw):
        if stream == "caption":
            raise SampleError("nothing to say", "no_answer")
        seen.append((stream, int(sample.key, 16), sorted(sample)))
        return {"number": np.int64(0)}

    task.read = read_only_others
    list(source(corpus, "caption", task=task).rows(range(20)))
    assert sorted(seen) == sorted(
        ("vqa" if i % 2 else "ocr", i, ["jpg", "png", *(["txt"] if i % 2 else [])])
        for i in range(20)
    )


def test_a_sample_without_a_member_goes_to_the_next_task(tmp_path):
    samples = [(key_of(i), {"jpg": b"x"} | ({"txt": b"z"} if i % 2 else {})) for i in range(20)]
    corpus, seen = Corpus(str(write_corpus(tmp_path, samples))), []
    task = Dealt()
    task.streams = {"caption": Stream(("txt",), otherwise=("vqa",)), "vqa": Stream(("jpg",))}

    def read_what_is_there(stream, sample, draw):
        seen.append((stream, int(sample.key, 16)))
        return {"number": np.int64(0), "of": np.int64(0)}

    task.read = read_what_is_there
    _, tally = read(source(corpus, "caption", task=task), 20)
    assert sorted(seen) == sorted(("caption" if i % 2 else "vqa", i) for i in range(20))
    assert tally[Counted("moved", "caption")] == 10


def test_a_column_that_comes_between_stop_and_resume_is_another_order(tmp_path):
    """On it depends which task reads a row, though the rows that take part are the same."""
    lack, have = numbers(tmp_path / "a", column=False), numbers(tmp_path / "b")
    assert [s.tar_sha256 for s in lack.shards] == [s.tar_sha256 for s in have.shards]
    both = [source([(corpus, 0.5), (numbers(tmp_path / "c"), 0.5)]) for corpus in (lack, have)]
    assert both[0].parts[0].digest != both[1].parts[0].digest
    assert both[0].parts[1].digest == both[1].parts[1].digest


@pytest.mark.parametrize("other,message", [
    (None, "gives what it cannot use to 'caption', which must be a stream of equal `lengths`"),
    (Stream(("txt",), lengths={"ids": Lengths((2,))}), "of equal `lengths`, as their rows"),
    (Stream(("txt",), side_files=("a.txt",)), "draws from side files a.txt: 'ocr' must name them"),
])  # fmt: skip
def test_only_tasks_of_one_kind_give_way_to_each_other(tmp_path, other, message):
    task = Dealt()
    task.streams = {"ocr": Stream(("txt",), otherwise=("caption",))}
    if other is not None:
        task.streams["caption"] = other
    with pytest.raises(ValueError, match=message):
        source(numbers(tmp_path, column=False), task=task)


# -- languages


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10 / 3, math.inf])
def test_languages_are_drawn_by_temperature(tmp_path, temperature):
    task = Dealt(languages=Languages(temperature), otherwise=False)
    found = source(numbers(tmp_path, 600, column=False, per_shard=100), "caption", task=task)
    drawn = [int(found.key(position), 16) for position in range(10_000)]
    shares = {code: share ** (1 / temperature) for code, share in LANGUAGES.items()}
    whole, counts = sum(shares.values()), Counter(map(language_of, drawn))
    for code, share in shares.items():
        # Blocks hold each share; only rounding to whole rows of a block is left.
        assert abs(counts[code] / 10_000 - share / whole) < 1e-3
        # An epoch of a language has each of its samples once.
        seen = [n for n in drawn if language_of(n) == code]
        own = [n for n in range(600) if language_of(n) == code]
        assert sorted(seen[: len(own)]) == own
    rows, tally = read(found, 100)
    assert [n for n, _ in rows] == drawn[:100]
    for code in LANGUAGES:
        assert tally[Counted("language", code)] == sum(language_of(n) == code for n in drawn[:100])


def test_a_temperature_is_the_exponent_of_the_counts():
    found = language_shares({"en": 8000, "de": 1000, "sw": 1}, 3)
    assert found == pytest.approx({"en": 20 / 31, "de": 10 / 31, "sw": 1 / 31})
    # What is of no known language is drawn as often as the corpus has it.
    found = language_shares({"en": 6000, "und": 2000}, math.inf)
    assert found == pytest.approx({"en": 3 / 4, "und": 1 / 4})
    assert language_shares({"und": 9}, 2) == {"und": 1}
    with pytest.raises(ValueError, match="above 0; found 0"):
        Languages(0)


def test_sidecars_are_read_once_for_all_streams(tmp_path, monkeypatch):
    corpus = numbers(tmp_path, 140, column=False, per_shard=2)
    reads, metadata = Counter(), Corpus.metadata
    monkeypatch.setattr(
        Corpus, "metadata", lambda c, n, *a: reads.update([n]) or metadata(c, n, *a)
    )
    task = Dealt(languages=Languages(2.0), otherwise=False)
    corpora = [Corpus(corpus.path) for _ in range(2)]
    ours = [source(c, name, task=task) for c, name in zip(corpora, ("vqa", "caption"), strict=True)]
    for found in ours:
        rows, tally = read(found, 300)
        for code in LANGUAGES:
            drawn = sum(language_of(n) == code for n, _ in rows)
            assert drawn and tally[Counted("language", code)] == drawn
    assert reads == dict.fromkeys(range(70), 1)


def test_languages_meet_columns_mixes_and_a_choice(tmp_path):
    task = Dealt(languages=Languages(math.inf, ("de", "zh")), otherwise=False)
    mix = [(numbers(tmp_path / "a", 60), 0.25), (numbers(tmp_path / "b", 180), 0.75)]
    found = source(mix, task=task)
    rows, tally = read(found, 4000)
    assert {language_of(n) for n, _ in rows} == {"de", "zh"} and all(n % 3 for n, _ in rows)
    assert tally[Counted("language", "zh")] == 2000
    english = sum(language_of(n) == "en" and n % 3 > 0 for k in (60, 180) for n in range(k))
    assert f"ocr: samples in languages that are not drawn: en {english}: left out" in found.told()
    assert sum(n >= 60 for n, _ in rows) == pytest.approx(2000, abs=100)
    with pytest.raises(ValueError, match=r"no samples of stream 'ocr' to draw in fr; it has: de"):
        source(mix, task=Dealt(languages=Languages(1, ("fr",)), otherwise=False))


def test_a_language_that_is_too_rare_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "RAREST", 0.15)
    found = source(numbers(tmp_path), "vqa", task=Dealt(languages=Languages(), otherwise=False))
    assert list(found.told()) == ["vqa: samples in languages that are not drawn: zh 6: left out"]


def test_samples_of_no_language_are_und_and_a_corpus_must_tell_them(tmp_path):
    tags = (None, "pt-BR", "%")
    texts = [(key_of(i), {"txt": str(i).encode(), "json": told(tags[i % 3])}) for i in range(12)]
    write_corpus(tmp_path / "a", texts, 5)
    write_corpus(tmp_path / "b", [(key, {"txt": members["txt"]}) for key, members in texts])
    task = Dealt(languages=Languages(), otherwise=False)
    _, tally = read(source(Corpus(str(tmp_path / "a")), "vqa", task=task), 1000)
    counts = {name: n for (what, name), n in tally.items() if what == "language"}
    assert counts == {"und": 667, "pt": 333}
    with pytest.raises(ValueError, match=r"b does not tell the languages of its samples .* build"):
        source(Corpus(str(tmp_path / "b")), "vqa", task=task)


# -- steps and runs


def load(task, corpus, steps, progress=None, **options):
    given = {name: source(corpus, name, 0.5, task) for name in task.streams}
    loader = Loader(task, given, seed=3, progress=progress or Progress(), **options)
    found = list(itertools.islice(loader, steps))
    loader.close()
    return found


def rows_of(parts):
    """Rows of a step in their order, and its tally, over ranks."""
    cuts = [batch.data for part in parts for batch in part.sub_batches[0]]
    rows = [list(zip(c["number"].tolist(), c["of"].tolist(), strict=True)) for c in cuts]
    return list(itertools.chain(*rows)), sum((part.tally for part in parts), Tally())


@pytest.mark.parametrize("world_size,micro,seed", [(2, 4, 0), (4, None, 1), (5, 8, 2)])
def test_order_and_tally_survive_a_resume_on_another_world(tmp_path, world_size, micro, seed):
    corpus = numbers(tmp_path, 120, empty={3, 50}, broken={11})
    task = Dealt(languages=Languages(2.0))
    alone = [rows_of([step]) for step in load(task, corpus, 40)]
    at = int(np.random.default_rng(seed).integers(1, 36))
    (begun,) = load(task, corpus, at)[-1:]
    assert begun.after.step == at
    parts = [
        load(
            task, corpus, 4, begun.after, rank=r, world=world_size, micro_batch=micro, workers=r % 3
        )
        for r in range(world_size)
    ]
    for step in range(4):
        assert rows_of([part[step] for part in parts]) == alone[at + step]
    tallies = sum((tally for _, tally in alone), Tally())
    rows = list(itertools.chain(*(rows for rows, _ in alone)))
    assert len(rows) == 1600
    for number, task_name in enumerate(TASKS):
        assert tallies[Counted("task", task_name)] == sum(of == number for _, of in rows)


def trained(folder, out, steps):
    corpus, task = Corpus(folder), Dealt(languages=Languages(2.0))
    train = TrainSettings(
        steps=steps,
        global_batch=40,
        log_every=4,
        save_every=6,
        max_bad_samples=0.5,
        seed=3,
        shuffle_window=40,
    )
    run = Run(
        task, train, OptimizerSettings(lr=1e-3), {n: [(corpus, 1.0)] for n in TASKS}, str(out)
    )
    with world() as ranks:
        return fit(run, ranks)


def test_the_mix_that_was_drawn_is_in_the_metrics(tmp_path):
    corpus = numbers(tmp_path / "corpus", 120, empty={3, 50}, broken={11})
    trained(corpus.path, tmp_path / "one", 6)
    trained(corpus.path, tmp_path / "one", 12)
    assert run_ranks(2, trained, corpus.path, tmp_path / "two", 12) == [0, 0]
    steps = load(Dealt(languages=Languages(2.0)), corpus, 12)
    wanted = {
        end: tally_figures(sum((s.tally for s in steps[begin:end]), Tally()), TASKS)
        for begin, end in ((0, 4), (4, 8), (8, 12))
    }
    names = {name for each in wanted.values() for name in each}
    assert {
        "share/ocr", "share/caption", "share/vqa", "moved/ocr", "moved/caption", "language/en",
        "language/de", "language/zh", "outcome/cut", "outcome/unusable",
    } == names  # fmt: skip
    for name in names:
        expected = {end: each[name] for end, each in wanted.items() if name in each}
        assert figures(tmp_path / "two", name) == pytest.approx(expected), name
        one = figures(tmp_path / "one", name)
        assert {end: one.get(end) for end in (4, 12)} == pytest.approx(
            {end: expected.get(end) for end in (4, 12)}
        ), name
    assert all(
        sum(each[f"share/{task}"] for task in TASKS) == pytest.approx(1) for each in wanted.values()
    )
