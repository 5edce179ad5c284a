from pathlib import Path

from septet.trainers.commands.sizes import table


def test_the_page_of_sizes_is_what_the_code_says():
    page = Path(__file__).parents[2] / "docs/models.md"
    assert page.read_text() == table(), "run septet sizes > docs/models.md"
