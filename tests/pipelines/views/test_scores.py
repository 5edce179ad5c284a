"""Scores of one's own, found by entry point, are fields of views."""

import tomllib
from pathlib import Path

import pytest

import septet
from septet.pipelines.annotate.check import check_columns
from septet.pipelines.views.expressions import ExpressionError
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.columns.registry import column_kinds
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_annotation
from tests.pipelines.takedown.corpora import built, records
from tests.pipelines.views.test_views import QUIET, at

EXAMPLE = Path(__file__).parents[3] / "examples/scorers"
QUALITY = "septet.preprocess.annotators.image_quality:ImageQuality"


def test_a_scorer_of_your_own_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = built(tmp_path / "site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "packages/septet_exposure-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: septet-exposure\nVersion: 0.1\n")
    ((group, points),) = project["entry-points"].items()
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    (info.parent / "exposure.py").write_bytes((EXAMPLE / "exposure.py").read_bytes())
    monkeypatch.syspath_prepend(str(info.parent))
    assert "exposure" in column_kinds()
    run_annotation(corpus, "exposure")
    run_annotation(corpus, QUALITY, name="image-quality")
    assert check_columns(str(corpus), QUIET, [QUALITY]) == []

    scores = [
        row
        for sidecar in sorted((corpus / "columns/exposure").rglob("*.parquet"))
        if sidecar.name != "shards.parquet"
        for row in read_rows(sidecar)
    ]
    known = {row["key"]: row for row in scores if row["reason"] is None}
    assert len(known) == read_manifest(str(corpus), "exposure").values > 10
    best = sorted(known, key=lambda key: (-known[key]["dark"], key))
    septet.curate(corpus, "dark", keep=["dark top 30%"])
    assert set(records(at(corpus, "dark"))) == set(best[: int(0.3 * len(best) + 0.5)])
    shapes = {k: max(one["width"], one["height"]) / min(one["width"], one["height"])
              for k, one in records(corpus).items()}  # fmt: skip
    dark, shape = (
        sorted(x)[len(x) // 2] for x in ([r["dark"] for r in known.values()], [*shapes.values()])
    )
    septet.curate(corpus, "some", keep=[f"exposure.dark >= {dark}", f"aspect < {shape}"])
    kept = records(at(corpus, "some"))
    assert set(kept) == {k for k in known if known[k]["dark"] >= dark and shapes[k] < shape}
    assert 0 < len(kept) < len(known)
    (view,) = septet.curate(at(corpus, "dark"), "few", keep=["sharpness bottom 50%"], by="language")
    assert 0 < view.samples < view.given
    # A name that two columns have must say which.
    run_annotation(corpus, "exposure", name="again")
    with pytest.raises(ExpressionError, match=r"'dark': say which of again\.dark, exposure\.dark"):
        septet.curate(corpus, "x", keep=["dark < 1"])
    septet.curate(corpus, "x", keep=["again_dark <= 1 and exposure.dark >= 0 and width > 0"])
    assert len(Corpus(f"{corpus}@x")) == len(known)


def read_rows(path: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()
