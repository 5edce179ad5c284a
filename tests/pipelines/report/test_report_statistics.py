import itertools
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tldextract
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.pipelines.report import frequent
from septet.pipelines.report import statistics as module
from septet.pipelines.report.domains import count_domains, registered_domain
from septet.pipelines.report.figures import TOP, Category, Statistics
from septet.pipelines.report.frequent import MOST, Frequent
from septet.pipelines.report.statistics import (
    ShardStatistics,
    chunks,
    corpus_statistics,
    shard_statistics,
)
from septet.pipelines.report.stored import read_statistics, write_statistics
from septet.preprocess import files
from septet.preprocess.shards.heads import write_corpus
from septet.schemas import tables
from septet.schemas.versioned import ManifestError
from tests.pipelines.report.corpora import REJECTS, build_corpus

REGISTERED = {
    "docs.example.org": "example.org",
    "images.example.co.uk": "example.co.uk",
    "cdn.museum.example.com": "example.com",
    "127.0.0.1:8080": "127.0.0.1",
    "static.wiki.example.net": "example.net",
    "localhost": "localhost",
}


def domain(url: str) -> str:
    return REGISTERED[url.split("/")[2]]


@pytest.fixture(scope="module")
def found(truth):
    return corpus_statistics(truth.path)


def test_totals_and_members_are_those_of_the_files(truth, found):
    tars = list(Path(truth.path, "shards").glob("*.tar"))
    assert (found.name, found.samples, found.shards) == ("harbour", 180, 3)
    assert found.bytes == sum(tar.stat().st_size for tar in tars)
    members = {member.ext: (member.count, member.bytes) for member in found.members}
    for ext in ("jpg", "png", "webp"):
        images = [row["_image"] for row in truth.rows if row["_ext"] == ext]
        assert members[ext] == (len(images), sum(map(len, images)))
    assert members["txt"] == (180, sum(len(row["caption"].encode()) for row in truth.rows))
    assert found.notes == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language", lambda row: row["language"]),
        ("language_from", lambda row: row["language_from"]),
        ("caption_from", lambda row: row["caption_from"]),
        ("chinese", lambda row: "simplified" if row["language"] == "zh" else None),
        ("format", lambda row: row["format"]),
        ("reencoded", lambda row: str(row["reencoded"]).lower()),
        ("image_domain", lambda row: domain(row["url"])),
        ("page_domain", lambda row: row["page_url"] and domain(row["page_url"])),
    ],
)
def test_categories_are_those_of_a_plain_count(truth, found, name, value):
    expected = Counter(value(row) for row in truth.rows)
    missing = expected.pop(None, 0)
    category = found.categories[name]
    assert {entry.value: entry.count for entry in category.values} == expected
    could = missing if name != "chinese" else 0  # what is not Chinese lacks no script
    assert (category.missing, category.count) == (could, 180 - missing)
    assert category.distinct == len(expected)
    counts = [entry.count for entry in category.values]
    assert counts == sorted(counts, reverse=True)
    assert all(entry.share == round(entry.count / category.count, 6) for entry in category.values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("caption_chars", lambda row: len(row["caption"])),
        ("width", lambda row: row["width"]),
        ("height", lambda row: row["height"]),
        ("original_width", lambda row: row["original_width"]),
        ("original_height", lambda row: row["original_height"]),
        ("original_short_side", lambda row: min(row["original_width"], row["original_height"])),
        ("original_bytes", lambda row: row["original_bytes"]),
        ("image_bytes", lambda row: len(row["_image"])),
    ],
)
def test_measures_are_those_of_a_plain_count(truth, found, name, value):
    values = [value(row) for row in truth.rows]
    histogram = found.measures[name]
    assert (histogram.count, histogram.missing) == (180, 0)
    assert (histogram.min, histogram.max) == (min(values), max(values))
    assert histogram.mean == round(sum(values) / 180, 3)
    bounds = [*histogram.edges[1:], float("inf")]
    expected = [
        sum(low <= value < high for value in values)
        for low, high in zip(histogram.edges, bounds, strict=True)
    ]
    assert histogram.counts == expected
    middle = np.quantile(values, 0.5, method="inverted_cdf")
    assert histogram.median == pytest.approx(middle, rel=0.002)


def test_aspect_ratio_is_of_the_original_image_to_a_thousandth(truth, found):
    ratios = [row["original_width"] / row["original_height"] for row in truth.rows]
    histogram = found.measures["aspect_ratio"]
    assert histogram.max == pytest.approx(max(ratios), abs=0.001)
    assert histogram.min == pytest.approx(min(ratios), abs=0.001)
    assert histogram.mean == pytest.approx(sum(ratios) / 180, abs=0.001)


def test_words_of_captions_count_in_every_script():
    captions = ["a red boat", "设置面板的屏幕截图", "منظر لغروب الشمس", "", None]
    table = pa.table({"key": list("abcde"), "caption": captions})
    words = shard_statistics(table).measures["caption_words"]
    assert words.counts == Counter({3: 2, 5: 1, 0: 1})


def test_rejects_are_counted_by_stage_and_reason_in_build_order(found):
    expected: Counter = Counter()
    for stage, reason, count, _ in REJECTS:
        expected[stage, reason] += count
    assert {(r.stage, r.reason): r.count for r in found.rejects} == expected
    stages = list(dict.fromkeys(reason.stage for reason in found.rejects))
    assert stages == ["source", "filter", "dedup", "fetch", "curate"]
    assert {(r.stage, r.reason): r.count for r in found.duplicates} == {
        ("dedup", "duplicate_pair"): 121,
        ("curate", "duplicate_image"): 18,
    }


def test_fetch_failures_are_told_by_class_and_by_domain(truth, found):
    classes = {failure.failure: failure.count for failure in found.fetch_failures}
    assert classes == {
        "network": 52, "passing": 9 + 21 + 11, "content": 13 + 2, "access": 6,
    }  # fmt: skip
    reasons = {name for failure in found.fetch_failures for name in failure.reasons}
    assert {"http_status 404", "http_status 503", "timeout total", "dns"} <= reasons
    lost = Counter(domain(r["image_url"]) for r in truth.rejects if r["stage"] == "fetch")
    assert {entry.value: entry.count for entry in found.failed_domains.values} == lost


def test_the_funnel_is_as_the_build_wrote_it(truth, found):
    stages = [stage.stage for stage in found.funnel]
    assert stages == ["source", "filter", "dedup", "fetch", "curate", "write"]
    assert found.funnel[0].rows_in == found.candidates == 180 + len(truth.rejects)
    assert found.funnel[-1].rows_out == 180
    assert found.funnel[0].counts == {"pages": 412, "images_without_caption": 903}
    for stage in found.funnel:
        assert stage.rows_in - stage.rows_out == sum(stage.rejected.values())


def test_json_is_equal_for_equal_corpora_wherever_they_lie(tmp_path):
    texts = []
    for place in ("here", "elsewhere"):
        build_corpus(tmp_path / place, samples=40, shards=2)
        texts.append(corpus_statistics(str(tmp_path / place)).to_json())
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]


def test_json_round_trips_and_refuses_what_it_is_not(found):
    text = found.to_json()
    assert Statistics.from_json(text) == found
    assert Statistics.from_json(text).to_json() == text
    with pytest.raises(ValueError, match=r"x\.json is not JSON"):
        Statistics.from_json("<html>", "x.json")
    with pytest.raises(ValueError, match="does not have the form of `septet stats --json`"):
        Statistics.from_json("{}")
    newer = json.dumps({**json.loads(text), "format_version": 99})
    with pytest.raises(ValueError, match=r"format version 99.*upgrade Septet"):
        Statistics.from_json(newer)


def test_what_does_not_add_up_is_said(own):
    Path(own.path, "rejects/curate-00001.parquet").unlink()
    funnel = json.loads(Path(own.path, "stats/funnel.json").read_text())
    funnel["stages"][-1]["out"] = 181
    Path(own.path, "stats/funnel.json").write_text(json.dumps(funnel))
    notes = corpus_statistics(own.path).notes
    assert "the funnel ends at 181, the shards hold 180" in notes
    assert any("stage curate says it dropped 18 as duplicate_image" in note for note in notes)


def test_damage_is_named_with_its_file(own):
    with pytest.raises(ManifestError, match="septet build"):
        corpus_statistics(own.path + "/nothing")
    Path(own.path, "shards/00001.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(ValueError, match=r"00001\.parquet is no sidecar that can be read"):
        corpus_statistics(own.path)


@pytest.mark.parametrize("name", ["stats/funnel.json", "rejects/fetch-00000.parquet"])
def test_damaged_statistics_and_rejects_are_named_too(own, name):
    Path(own.path, name).write_text("[]")
    with pytest.raises(ValueError, match=name.rsplit("/", 1)[-1]):
        corpus_statistics(own.path)


def test_an_empty_corpus_has_figures_too(tmp_path):
    write_corpus(str(tmp_path), [], name="none", septet="0.1.0", sorted_keys=True)
    found = corpus_statistics(str(tmp_path))
    assert (found.samples, found.bytes, found.categories, found.measures) == (0, 0, {}, {})


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.text("abcdef", min_size=1, max_size=4),
            "url": st.one_of(
                st.none(),
                st.sampled_from(
                    ["https://a.b.co.uk/x", "http://u:p@h:80/?q", "ftp://x.y", "c/d.jpg"]
                ),
            ),
            "caption": st.one_of(st.none(), st.text(max_size=20)),
            "language": st.sampled_from([None, "en", "zh", "und"]),
            "width": st.one_of(st.none(), st.integers(0, 5000)),
            "height": st.one_of(st.none(), st.integers(0, 5000)),
            "original_width": st.one_of(st.none(), st.integers(0, 5000)),
            "original_height": st.one_of(st.none(), st.integers(0, 5000)),
        }
    ),
    max_size=24,
)
FOREIGN = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "url", "caption", "language")),
        *((name, pa.int32()) for name in ("width", "height", "original_width", "original_height")),
    ]
)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.lists(st.integers(0, 24), max_size=4))
def test_statistics_of_parts_add_up_to_those_of_the_whole_in_any_grouping(rows, cuts):
    table = pa.Table.from_pylist(rows, schema=FOREIGN)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [
        shard_statistics(table.slice(low, high - low)) for low, high in itertools.pairwise(bounds)
    ]
    whole = shard_statistics(table)
    for order in (parts, parts[::-1]):
        total = ShardStatistics()
        for part in order:
            total += part
        assert total == whole
    ratios = sum(
        (row["original_width"] or 0) > 0 < (row["original_height"] or 0)
        or (row["width"] or 0) > 0 < (row["height"] or 0)
        for row in rows
    )
    ratio = whole.measures.get("aspect_ratio")
    assert (ratio.count if ratio else 0) == ratios


def test_batches_of_rows_give_what_the_whole_sidecar_gives(truth, found, monkeypatch):
    monkeypatch.setattr(module, "_BATCHES_AT_ONCE", 7)
    assert corpus_statistics(truth.path) == found


def test_foreign_shards_give_what_their_columns_allow():
    nothing = shard_statistics(pa.table({"key": ["a", "b"]}))
    assert nothing == ShardStatistics(samples=2)
    member = {"ext": "jpg", "offset": 512, "size": 900, "crc32": 1}
    bare = pa.table({"key": ["a", "b"], "members": pa.array([[member], [member]], tables.MEMBERS)})
    found = shard_statistics(bare)
    assert found.categories == {"format": Frequent.of({"jpeg": 2})}
    assert found.measures["image_bytes"].counts == Counter({900: 2})
    img2dataset = pa.table(
        {
            "key": ["000", "001", "002"],
            "url": pa.array(["https://a.example.com/1.jpg", None, "x"], pa.large_string()),
            "caption": pa.array(["one", "two", None]).dictionary_encode(),
            "status": ["success", "success", "failed_to_resize"],
            "width": pa.array([256, 200, None], pa.float64()),
            "height": pa.array([256, 100, None], pa.int16()),
            "original_width": ["512", "400", None],
            "original_height": pa.array([float("nan"), 200.0, None]),
        }
    )
    found = shard_statistics(img2dataset)
    assert found.categories["status"] == Frequent.of({"success": 2, "failed_to_resize": 1})
    assert found.categories["image_domain"] == Frequent.of({"example.com": 1})
    assert found.measures["caption_chars"].counts == Counter({3: 2})
    assert found.measures["width"].counts == Counter({256: 1, 200: 1})
    assert "original_width" not in found.measures
    assert found.measures["original_height"].counts == Counter({200: 1})
    assert found.measures["aspect_ratio"].counts == Counter({1000: 1, 2000: 1})


@pytest.mark.parametrize(("shards", "least", "runs"), [
    (0, 1, []), (3, 1, [1, 1, 1]), (5, 2, [2, 2, 1]), (1024, 1, [1] * 1024),
    (1025, 1, [2] * 512 + [1]),
])  # fmt: skip
def test_shards_are_counted_in_at_most_1024_runs(shards, least, runs):
    found = chunks(shards, least)
    assert [len(run) for run in found] == runs
    assert [shard for run in found for shard in run] == list(range(shards))


def test_domains_need_no_network_and_no_scheme_confuses_them():
    urls = [
        "https://user:secret@IMG.Example.co.uk:8443/a?u=http://other.org/",
        "//cdn.example.com/x", "data:image/png;base64,AAAA", "photos/1.jpg", None,
        "http://[2001:db8::1]/a.jpg", "HTTP://例子.测试/画", "https://example.com./a",
    ]  # fmt: skip
    found = count_domains(pa.array(urls))
    assert found["example.co.uk"] == 1
    assert found["example.com"] == 1
    assert "other.org" not in found
    assert found.total() == 4
    assert registered_domain("github.io") == "github.io"


def test_rare_values_are_counted_together():
    counts = {f"host{i:04d}.example": 1 + (i == 700) for i in range(TOP + 900)}
    category = Category.of(Frequent.of(counts), sum(counts.values()))
    assert len(category.values) == TOP
    assert category.values[0].value == "host0700.example"
    assert category.others == 901 - 1
    assert category.distinct == TOP + 900


def test_a_corpus_without_rejects_funnel_and_columns_is_measured(own):
    for name in ("rejects", "stats"):
        shutil.rmtree(Path(own.path, name))
    for path in Path(own.path, "shards").glob("*.parquet"):
        files.write_table(str(path), files.read_table(str(path), ["key", "members"]))
    found = corpus_statistics(own.path)
    assert (found.samples, found.funnel, found.rejects, found.candidates) == (180, [], [], None)
    assert list(found.measures) == ["image_bytes"]


def test_domains_are_those_of_the_public_suffix_list_for_any_host():
    rng = random.Random(0)
    rules = [rule.lstrip("!") for rule in tldextract.TLDExtract(suffix_list_urls=()).tlds]
    labels = ["a", "www", "img-1", "x_y", "com", "co", "uk", "kawasaki", "city", "jp", "ck"]
    hosts = [
        ".".join([*rng.choices(labels, k=rng.randint(0, 3)), rng.choice(rules).replace("*", "a")])
        for _ in range(5000)
    ]
    hosts += ["LOCALHOST", "1.2.3.4", "[::1]:80", "u:p@A.Example.COM:80", "example.com.", ".com",
              "a..b.com", "com", "例子.测试", "x.xn--fiqs8s", "a.b.notatld", "-", "www.ck", "x.www.ck"]  # fmt: skip
    found = count_domains(pa.array([f"https://{host}/x" for host in hosts]))
    expected = Counter()
    for host in hosts:
        plain = host.split("@")[-1].lower()
        plain = plain[: plain.rindex(":")] if plain.endswith(":80") else plain
        expected[registered_domain(plain.rstrip("."))] += 1
    assert found == expected


def test_any_number_of_values_is_counted_within_a_bound_that_is_told():
    common = {f"common{i}": 1000 + i for i in range(50)}
    total, sums = Frequent(), Counter()
    for part in range(5):
        counts = {f"rare{part}-{i}": 1 + i % 3 for i in range(60_000)} | common
        total += Frequent.of(counts)
        sums.update(counts)
    assert len(total.counts) <= 2 * MOST and total.total == sums.total()
    assert 0 < total.error < 20
    for value, count in total.counts.items():
        assert count <= sums[value] <= count + total.error
    assert max(n for value, n in sums.items() if value not in total.counts) <= total.error
    assert abs(total.distinct - len(sums)) < 0.05 * len(sums)
    category = Category.of(total, total.total)
    assert category.error == total.error and category.values[0].value == "common49"


def test_stored_figures_come_back(truth, tmp_path, monkeypatch):
    whole = module.shards_statistics(truth.path, ["shards/00000.parquet", "shards/00001.parquet"])
    for most in (MOST, 2):  # domains that are all kept, and some let go
        monkeypatch.setattr(frequent, "MOST", most)
        found = ShardStatistics()
        found += whole
        write_statistics(str(tmp_path / "f.parquet"), found, {})
        again = read_statistics(str(tmp_path / "f.parquet"))
        hashes = [one.hashes for one in found.categories.values()]
        assert any(one is not None for one in hashes) == (most == 2)
        for one, other in zip(found.categories.values(), again.categories.values(), strict=True):
            assert (one.counts, one.total, one.error, one.distinct) == (
                other.counts, other.total, other.error, other.distinct,
            )  # fmt: skip
        assert (found.samples, found.members, found.member_bytes, found.measures) == (
            again.samples, again.members, again.member_bytes, again.measures,
        )  # fmt: skip
