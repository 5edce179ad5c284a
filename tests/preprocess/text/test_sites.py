import numpy as np
import pyarrow as pa
import pytest

from septet.preprocess.rules.apply import apply_rules, asked_rules
from septet.preprocess.text.ids import hash64, sample_id
from septet.preprocess.text.language.declared import MOST_TEXTS, Prior, default_prior
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.quotas import over_quota
from septet.preprocess.text.language.sites import (
    PRIORS,
    SITES,
    TEXT_LANGUAGES,
    TEXTS,
    LanguageTeller,
    Shares,
    SiteLanguages,
    count_sites,
    least_texts,
    long_texts,
    prior_rows,
    site_keys,
    site_priors,
    usual_priors,
    with_languages,
)
from septet.schemas import tables
from septet.schemas.recipe import Filter

LONG = "The old bridge over the river in the evening"


def candidates(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"id": sample_id(f"https://e.org/{i}", caption), "image_url": f"https://e.org/{i}",
             "caption": caption, "page_url": page, "page_language": tag, "source": "s"}
            for i, (caption, page, tag) in enumerate(rows)
        ],
        tables.CANDIDATES,
    )  # fmt: skip


def test_long_declared_texts_stand_under_their_site() -> None:
    rows = candidates(
        (LONG, "https://www.example.co.uk/a", "de-AT"),
        (LONG, "https://img.example.co.uk/b", "de"),
        (LONG, None, "de"),
        (LONG, "http://[broken", "iw"),
        (LONG, "https://e.org/", None),
        (LONG, "https://e.org/", "english"),
        ("Too short", "https://e.org/", "de"),
        ("窗外的雪山和湖泊的风景照片第一张", "https://e.org/", "zh"),
    )
    found = long_texts(rows).to_pylist()
    assert [(row["key"], row["declared"]) for row in found] == [
        (hash64(f"{site}\0{declared}", b"septet.site"), declared)
        for site, declared in (("example.co.uk", "de"), ("example.co.uk", "de"), ("", "de"),
                               ("", "he"), ("e.org", "zh"))
    ]  # fmt: skip
    assert found[0]["text_hash"] == found[1]["text_hash"] == found[2]["text_hash"]
    assert site_keys(rows)[0].tolist()[4:6] == [0, 0]
    assert len(long_texts(rows.slice(0, 0))) == 0


def texts(keys: list[int], hashes: list[int], languages: list[str] | None = None) -> pa.Table:
    rows = {
        "key": pa.array(keys, pa.uint64()), "declared": ["de"] * len(keys),
        "text_hash": pa.array(hashes, pa.uint64()),
    }  # fmt: skip
    if languages is not None:
        return pa.table({**rows, "language": languages}, schema=TEXT_LANGUAGES)
    return pa.table({**rows, "text": [LONG] * len(keys)}, schema=TEXTS)


def test_the_texts_looked_at_depend_on_no_order_and_no_cuts() -> None:
    rng = np.random.default_rng(1)
    keys, hashes = rng.integers(0, 3, 5000), rng.integers(0, 1500, 5000)
    table = texts(keys.tolist(), hashes.tolist())
    expected = sorted(
        (key, value)
        for key in range(3)
        for value in sorted(set(hashes[keys == key].tolist()))[:MOST_TEXTS]
    )
    whole = least_texts(table)
    assert list(zip(whole["key"].to_pylist(), whole["text_hash"].to_pylist(), strict=True)) == expected  # fmt: skip
    shuffled = table.take(rng.permutation(5000))
    parts = [least_texts(shuffled.slice(start, 700)) for start in range(0, 5000, 700)]
    assert least_texts(pa.concat_tables(parts)).equals(whole)
    assert len(least_texts(TEXTS.empty_table())) == 0


def test_sites_are_counted_by_distinct_texts() -> None:
    found = count_sites(
        texts([5, 5, 5, 5, 2, 2, 2, 9, 9], [1, 2, 3, 3, 1, 2, 3, 1, 2],
              ["de", "en", "de", "de", "fr", "en", "de", "de", "de"])
    )  # fmt: skip
    assert found.schema == SITES
    assert [(row["key"], row["language"], row["texts"]) for row in found.to_pylist()] == [
        (2, "de", 1), (2, "en", 1), (2, "fr", 1), (5, "de", 2), (5, "en", 1),
    ]  # fmt: skip
    shares = Shares()
    shares.add(found)
    assert shares.to_dict() == {"de": {"de": 333333 + 666666, "en": 333333 * 2, "fr": 333333}}
    assert len(count_sites(TEXT_LANGUAGES.empty_table())) == 0


def test_what_is_known_of_a_site_comes_before_what_is_usual() -> None:
    counted = count_sites(texts([7] * 4, [1, 2, 3, 4], ["en", "en", "en", "de"]))
    usual = usual_priors({"de": {"de": 60_000_000, "en": 20_000_000}})
    assert usual["de"].of("de") == 1  # (60 + 20 · 0.8) / 100
    assert usual["de"].of("en") == 0.25  # (20 + 20 · 0.1) / 100
    own = site_priors(counted, usual)
    table = prior_rows({(0, "de"): usual["de"], **own})
    known = SiteLanguages(table)
    assert known.prior(1, "de") == usual["de"]
    assert known.prior(7, "de") == own[7, "de"]
    assert known.prior(7, "de").of("en") == 0.5  # (3 + 5 · 0.25) / 9
    assert known.prior(7, "de").other == 2**-14  # 5 · 2**-13 / 9 is 2**-13.8
    assert known.prior(1, "fr") == known.prior(7, "fr") == default_prior("fr")
    assert SiteLanguages(PRIORS.empty_table()).prior(7, "de") == default_prior("de")
    assert site_priors(counted, {})[7, "de"].of("de") == 0.5  # (1 + 5 · 0.8) / 9


def test_what_is_seldom_is_not_usual() -> None:
    """One site more says nothing new where what it shows was known, or is one site's chance."""
    many = {"de": 900_000_000, "en": 90_000_000, "fr": 9_000_000, "it": 300_000}
    usual = usual_priors({"de": many})["de"]
    assert set(usual.weights) == {"de", "en", "fr"}
    more = {**many, "de": 900_700_000, "fr": 9_200_000, "pl": 100_000}
    assert usual_priors({"de": more})["de"] == usual
    assert usual.other == 2**-13  # 1/64 of the weight, over 176 languages
    # What a page declares counts, however often it is wrong.
    wrong = usual_priors({"nn": {"en": 10**11}, "en": {"fr": 10**11}})
    assert wrong["nn"].of("nn") == wrong["en"].of("en") == 1 / 256
    assert wrong["en"].other == 2**-10  # of the others in English there are 20


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_a_tenth_more_sites_seldom_change_what_is_usual(count: int) -> None:
    """Of made-up sites that declare German three in four are in it, the others half or wholly in
    English; of all some texts are told to be in any language."""
    rng = np.random.default_rng(5)
    codes = ["de", "en", *(f"x{n}" for n in range(60))]

    def shares(sites: int) -> np.ndarray:
        parts = np.array([[0.92, 0.05], [0.5, 0.47], [0.0, 0.97]])
        kinds = parts[rng.choice(3, sites, p=[0.75, 0.15, 0.1])]
        each = np.concatenate([kinds, np.full((sites, 60), 0.03 / 60)], axis=1)
        texts = rng.integers(3, 257, (sites, 1))
        counts = rng.multinomial(texts[:, 0], each / each.sum(1, keepdims=True))
        return (counts * 1_000_000 // texts).sum(0)

    def usual(found: np.ndarray) -> dict[str, Prior]:
        seen = zip(codes, found.tolist(), strict=True)
        return usual_priors({"de": {code: share for code, share in seen if share}})

    changed = 0
    for _ in range(40):
        before = shares(count)
        changed += usual(before) != usual(before + shares(count // 10))
    assert changed <= 6


ENGLISH = [
    f"{thing} {place} on a {time} in the {season}"
    for thing in ("A large brown dog", "The old wooden bridge", "Three children with balloons")
    for place in ("near the railway station", "behind the market hall")
    for time in ("sunny morning", "rainy afternoon")
    for season in ("spring", "winter of last year")
]
DUTCH = [
    f"{ding} {plaats} op een {tijd} in {seizoen}"
    for ding in ("Een grote bruine hond", "De oude houten brug", "Drie kinderen met ballonnen")
    for plaats in ("bij het station", "achter de markthal")
    for tijd in ("zonnige ochtend", "regenachtige middag")
    for seizoen in ("het voorjaar", "de winter van vorig jaar")
]


def test_a_sites_word_weighs_as_much_as_its_long_texts_bear_out() -> None:
    short = ["Hotel", "Start", "Een hand", "Water in a glass"]
    pages = {"https://honest.nl/": DUTCH, "https://wrong.nl/": ENGLISH}
    long = candidates(*((text, page, "nl") for page, found in pages.items() for text in found))
    counted = count_sites(with_languages(least_texts(long_texts(long)), language_model()))
    assert {(row["key"], row["language"]): row["texts"] for row in counted.to_pylist()} == {
        (hash64("honest.nl\0nl", b"septet.site"), "nl"): 24,
        (hash64("wrong.nl\0nl", b"septet.site"), "en"): 24,
    }
    shares = Shares()
    shares.add(counted)
    usual = usual_priors(shares.to_dict())
    known = SiteLanguages(prior_rows(site_priors(counted, usual)))
    rows = candidates(*((text, page, "nl") for page in pages for text in short))
    found = LanguageTeller(language_model(), 0.5, known).add_language(rows)
    assert found.schema.equals(tables.FILTERED)
    assert found["language"].to_pylist() == ["nl", "nl", "nl", "en", "en", "en", "nl", "en"]
    unlearnt = LanguageTeller(language_model(), 0.5).add_language(rows)
    assert unlearnt["language"].to_pylist() == ["nl", "en", "nl", "en"] * 2


def test_quotas_keep_a_share_of_a_language_whatever_the_order() -> None:
    ids = [sample_id(f"https://e.org/{n}", "a") for n in range(4000)]
    languages = (["en", "nn", "de", None] * 1000)[:4000]
    columns = pa.chunked_array([ids]), pa.chunked_array([languages])
    over = np.array(over_quota(*columns, {"en": 0.25, "no": 0.5}).to_pylist())
    share = {code: 1 - over[n::4].mean() for n, code in enumerate(["en", "nn", "de", None])}
    assert share["en"] == pytest.approx(0.25, abs=0.05)
    assert share["nn"] == pytest.approx(0.5, abs=0.05)
    assert share["de"] == share[None] == 1
    back = [column.take(np.arange(3999, -1, -1)) for column in columns]
    assert over_quota(*back, {"en": 0.25, "no": 0.5}).to_pylist() == over[::-1].tolist()
    more = np.array(over_quota(*columns, {"en": 0.5, "no": 0, "nn": 1}).to_pylist())
    assert not (more & ~over).any()  # what a small quota keeps, a larger one keeps
    assert not more[1::4].any()  # Nynorsk has its own
    assert over_quota(*columns, {"en": 0, "de": 1}).to_pylist() == [n % 4 == 0 for n in range(4000)]


def test_recipes_state_quotas_by_any_code() -> None:
    asked = Filter(language_quotas={"nb": 0.5, "und": 0})
    assert asked.language_quotas == {"no": 0.5, "und": 0}
    for wrong in ({"english": 0.5}, {"en": 1.5}, {"en": -0.1}):
        with pytest.raises(ValueError, match=r"ISO 639|less than or equal|greater than or equal"):
            Filter(language_quotas=wrong)
    rows = candidates(*((f"The old bridge over the river {n}", None, None) for n in range(40)))
    rules = asked_rules(Filter(language_quotas={"en": 0.5}))
    passed, lost = apply_rules(rows, rules, LanguageTeller(language_model(), 0.5))
    assert len(passed) + len(lost) == 40 and 8 < len(passed) < 32
    assert set(lost["reason"].to_pylist()) == {"language_quota"}
    assert set(lost["value"].to_pylist()) == {"en"}
