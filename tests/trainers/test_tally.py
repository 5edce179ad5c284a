"""What a step's rows are, as figures of a run."""

from septet.trainers.loader.tally import Counted, Tally, tally_figures

TOLD = Tally({
    Counted("task", "captioning"): 6, Counted("task", "vqa"): 2, Counted("language", "en"): 3,
    Counted("language", "de"): 1, Counted("moved", "vqa"): 2, Counted("outcome", "no_value"): 5,
})  # fmt: skip


def test_shares_are_of_rows_and_of_rows_with_a_language():
    assert tally_figures(TOLD, ["captioning", "vqa", "ocr"]) == {
        "share/captioning": 0.75, "share/vqa": 0.25, "share/ocr": 0.0, "language/en": 0.75,
        "language/de": 0.25, "moved/vqa": 2.0, "outcome/no_value": 5.0,
    }  # fmt: skip


def test_one_task_has_no_share_and_no_row_none():
    one = Tally({Counted("task", "pairs"): 6, Counted("outcome", "unusable"): 1})
    assert tally_figures(one, ["pairs"]) == {"outcome/unusable": 1.0}
    assert tally_figures(Tally(), ["captioning", "vqa"]) == {}
