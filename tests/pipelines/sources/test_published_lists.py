"""Lists in the forms in which sets are published: SBU captions, WIT."""

import gzip
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import Found, Input, Pair
from septet.pipelines.sources.lists import UrlList
from septet.pipelines.stages.source import read_slice
from septet.schemas.reasons import Rejected
from septet.schemas.sources import ListSource

SBU_URLS = [f"http://static.flickr.com/{n}/4385911_{n}.jpg" for n in range(3)]
SBU_CAPTIONS = ['"Quoted dog" in the park', "A bus, red", "Ein Käfer auf Gras"]
WIT_COLUMNS = [
    "language", "page_url", "image_url", "page_title", "section_title", "hierarchical_section_title",
    "caption_reference_description", "caption_attribution_description", "caption_alt_text_description",
    "mime_type", "original_height", "original_width", "is_main_image", "attribution_passes_lang_id",
    "page_changed_recently", "context_page_description", "context_section_description",
]  # fmt: skip
WIT = [
    ("es", "https://es.wikipedia.org/wiki/Hoz", "https://upload.wikimedia.org/MGS.JPG", "Hoz", "Emblemas",
     "Hoz / Emblemas", "", "Galego: Logo do MGS", "", "image/jpeg", "107", "272", "false", "false", "true",
     '"La hoz es un símbolo.\nEl símbolo es ""conocido"".\n\nFin."', ""),
    ("de", "https://de.wikipedia.org/wiki/Hasenmaul", "https://upload.wikimedia.org/Noctilio.jpg", "Hasenmaul", "",
     "Hasenmaul", '"Das ""Kleine"" Hasenmaul"', "English: Lesser bulldog bat", "Eine Fledermaus", "image/jpeg", "1636",
     "2000", "true", "false", "false", "Das Kleine Hasenmaul ist eine Fledermausart.", "Kurz."),
]  # fmt: skip


def found_in(path: Path, **settings: Any) -> list[Found]:
    source, size = UrlList(), path.stat().st_size
    facts = source.describe(str(path), size)
    model = ListSource.model_validate({"kind": "list", "paths": ["x"], **settings})
    source.check(model, path.name, facts)
    parts = enumerate(facts.slices)
    inputs = [Input("x", 0, str(path), size, "", part, n, len(facts.slices)) for n, part in parts]
    return [found for one in inputs for found in read_slice(source, model, one, Counter())]


def pairs(found: list[Found]) -> list[tuple[str | None, str | None]]:
    assert not [one for one in found if isinstance(one, Rejected)]
    return [(one.image_url, one.caption) for one in found if isinstance(one, Pair)]


def test_sbu_captions_as_one_json_object(tmp_path: Path) -> None:
    told = {"image_urls": SBU_URLS, "user_ids": ["47889917@N08"] * 3, "captions": SBU_CAPTIONS}
    (tmp_path / "sbu-captions-all.json").write_text(json.dumps(told))
    found = found_in(tmp_path / "sbu-captions-all.json", url_col="image_urls", caption_col="captions", extra_cols=["user_ids"])  # fmt: skip
    assert pairs(found) == list(zip(SBU_URLS, SBU_CAPTIONS, strict=True))
    assert {one.extra for one in found if isinstance(one, Pair)} == {'{"user_ids":"47889917@N08"}'}


def test_sbu_captions_as_two_texts_pasted(tmp_path: Path) -> None:
    names = [f"SBU_captioned_photo_dataset_{name}.txt" for name in ("urls", "captions")]
    for name, lines in zip(names, (SBU_URLS, SBU_CAPTIONS), strict=True):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    with (tmp_path / "sbu.tsv").open("wb") as out:
        subprocess.run(["paste", *names], cwd=tmp_path, stdout=out, check=True)
    found = found_in(tmp_path / "sbu.tsv", columns=["url", "caption"])
    assert pairs(found) == list(zip(SBU_URLS, SBU_CAPTIONS, strict=True))


@pytest.mark.parametrize("every", [60, 10**6])
@pytest.mark.parametrize("packed", [True, False])
def test_wit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, every: int) -> None:
    monkeypatch.setattr(cuts.cut_lines, "__defaults__", (every,))
    text = "".join("\t".join(row) + "\n" for row in [tuple(WIT_COLUMNS), *WIT])
    path = tmp_path / f"wit_v1.train.all-00000-of-00010.tsv{'.gz' * packed}"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    captions = [f"caption_{name}_description" for name in ("reference", "attribution", "alt_text")]
    found = found_in(
        path, quotes=True, url_col="image_url", caption_col=captions, language_col="language",
        extra_cols=["page_url", "context_page_description"],
    )  # fmt: skip
    assert pairs(found) == [
        (WIT[0][2], "Galego: Logo do MGS"), (WIT[1][2], 'Das "Kleine" Hasenmaul'),
        (WIT[1][2], "English: Lesser bulldog bat"), (WIT[1][2], "Eine Fledermaus"),
    ]  # fmt: skip
    first = next(one for one in found if isinstance(one, Pair))
    assert first.page_language == "es" and first.caption_from == f"list:{captions[1]}"
    assert json.loads(first.extra or "") == {
        "page_url": WIT[0][1],
        "context_page_description": 'La hoz es un símbolo.\nEl símbolo es "conocido".\n\nFin.',
    }
