"""Members of a sample that models read."""

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Sample
from septet.trainers.outcomes import Change
from septet.trainers.task import ReadSample, SampleError

_EXTENSIONS = IMAGE.split("|")


def image_file(sample: Sample) -> bytes:
    """The bytes of the sample's image; the stream must ask for one."""
    return next(sample[ext] for ext in _EXTENSIONS if ext in sample)


def text(sample: Sample) -> str:
    """The sample's text.

    Raises:
        SampleError: it is not UTF-8.
    """
    try:
        return sample["txt"].decode()
    except UnicodeDecodeError as error:
        raise SampleError(f"text is not UTF-8: {error}", "bad_text") from error


def note(sample: Sample, change: Change) -> None:
    """Have the run count what `Task.read` did with a sample that it uses."""
    if isinstance(sample, ReadSample):
        sample.notes.append(change)
