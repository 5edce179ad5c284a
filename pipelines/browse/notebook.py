"""A corpus and its samples as a notebook shows them: HTML that holds its images, without a server.

Drawn by what draws the pages of `septet browse`, and like these without making a class that the
corpus names.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from septet.preprocess.shards.reader import Corpus

SIDE = 640
"""Pixels of a sample's image, the longer side."""
_CARDS = 9


class ShownCorpus(Corpus):
    """A corpus that shows itself in a notebook: its figures, and nine of its samples."""

    def _repr_html_(self) -> str:
        from septet.pipelines.browse.pages import templates
        from septet.pipelines.report.gallery import sample_cards
        from septet.preprocess.columns.reader import column_names

        cards, columns, problem = [], [], ""
        try:
            columns = column_names(self.path)
            # Readers of its own: the gallery closes them, and others may be reading this one's.
            cards = sample_cards(Corpus(self.label), _CARDS, seed=0)
        except (ValueError, OSError) as error:
            problem = str(error)
        return (
            templates()
            .get_template("notebook_corpus.html.j2")
            .render(corpus=self, columns=columns, cards=cards, problem=problem)
        )


@dataclass(frozen=True)
class ShownSample:
    """A sample that shows itself in a notebook: its image with boxes in layers, its texts, and
    what is known of it."""

    key: str
    caption: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def show(corpus: Corpus, sample: int | str) -> ShownSample:
    """Draw a sample of a corpus.

    Args:
        corpus: The corpus.
        sample: Its index, or its key or the beginning of it.

    Raises:
        ValueError: there is no such sample, or several keys begin so.
        OSError: it cannot be read.
    """
    from septet.pipelines.browse.drawing import MOST_VIEWS, as_text, codes_of, draw, read_value
    from septet.pipelines.browse.pages import templates
    from septet.pipelines.report.gallery import caption_of, image_uri
    from septet.pipelines.report.show import resolve_key
    from septet.preprocess.annotators.codes import false_colours, png

    index = resolve_key(corpus, sample) if isinstance(sample, str) else sample
    try:
        shard, row = corpus.locate(index)
    except IndexError as error:
        raise ValueError(str(error)) from error
    facts = corpus.metadata(shard).slice(row, 1).to_pylist()[0]
    members = corpus.shard(shard).read(row)
    caption, key = as_text(caption_of(facts, members), 4000), as_text(facts["key"], 400)
    known = {
        name: as_text(value, 400)
        for name, value in facts.items()
        if value is not None and name not in ("key", "caption", "members", "thumbnail")
    }
    image, problem = _image(members)
    drawn = draw(corpus, shard, row, facts)
    coded = [
        (one.name, [image_uri(png(false_colours(view)), "png") for view in views[:MOST_VIEWS]])
        for one in drawn.codes
        if len(views := codes_of(read_value(corpus, one.name, shard, row)[1]))
    ]
    html = (
        templates()
        .get_template("notebook_sample.html.j2")
        .render(
            key=key, caption=caption, facts=known, image=image, problem=problem,
            drawn=drawn, codes=coded,
        )
    )  # fmt: skip
    return ShownSample(key, caption, html)


def _image(members: Mapping[str, bytes]) -> tuple[str, str]:
    """A sample's image as a data URI, else why there is none."""
    from septet.pipelines.report.gallery import find_image, image_uri, open_image

    found = find_image(members)
    if found is None:
        return "", "no image in the sample"
    try:
        image = open_image(found[1], SIDE)
    except ValueError as error:
        return "", str(error)
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80)
    return image_uri(out.getvalue()), ""
