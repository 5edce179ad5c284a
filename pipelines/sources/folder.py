"""The source `folder`: images in folders, with their texts in files of the same name beside
them."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator

from septet.pipelines.sources.base import (
    Facts,
    Found,
    ImageLocation,
    Input,
    InputError,
    Pair,
    Source,
)
from septet.pipelines.sources.listing import list_files
from septet.pipelines.sources.paths import folder_label
from septet.pipelines.sources.sidecars import MAX_SIDECAR_BYTES, json_of, text_of
from septet.pipelines.sources.values import as_annotations, as_captions, as_json
from septet.preprocess import files
from septet.preprocess.text.clean import clean_caption
from septet.schemas.layout import is_image
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import FolderSource

SLICE_FILES = 50_000
"""Files of a slice."""


class Folder(Source):
    """Folders of images, nested ones included; a record is an image with what stands beside it.

    The listing is the input: its digest covers names, sizes and times of change, so a file that
    is replaced is read again.
    """

    kind = "folder"
    version = 1
    folders = True
    unit = "image"

    def describe(self, path: str, size: int) -> Facts:
        """Cut the listing into slices, as names [first, behind the last); an empty name is no
        bound."""
        bounds = [""]
        count = 0
        for entry in list_files(path):
            if count >= SLICE_FILES and _is_text(entry.name):
                bounds.append(entry.name)
                count = 0
            count += 1
        if not count:
            raise InputError("the folder has no files")
        return Facts(list(zip(bounds, [*bounds[1:], ""], strict=True)))

    def records(self, settings: FolderSource, source: Input, counts: Counter[str]) -> Iterator[str]:
        """The names of the images of a slice."""
        first, behind = (str(bound) for bound in source.slice)
        for entry in list_files(source.path, first, behind or None):
            extension = posixpath.splitext(entry.name)[1].lstrip(".").lower()
            if is_image(extension):
                counts["images_in_folder"] += 1
                yield entry.name
            elif extension in ("txt", "json"):
                counts["sidecars"] += 1
            else:
                counts["files_ignored"] += 1

    def read(
        self, settings: FolderSource, source: Input, record: str, counts: Counter[str]
    ) -> Iterable[Found]:
        """The pairs of an image: one for each line of its text file or each caption of its JSON
        file."""
        if not _is_text(record):
            raise RejectedError("file_name", record)
        label = folder_label(source.label)
        url = f"{label}/{record}"
        stem = posixpath.join(source.path, posixpath.splitext(record)[0])
        captions: list[str] = []
        carried: dict[str, str | None] = {"extra": None, "annotations": None}
        try:
            captions += (_read(stem + ".txt") or "").split("\n")
            text = _read(stem + ".json")
            described = {} if text is None else json_of(posixpath.basename(stem) + ".json", text)
            captions += as_captions(described.get(settings.caption_key))
            if settings.extra_keys:
                carried["extra"] = as_json({key: described.get(key) for key in settings.extra_keys})
            notes = {key: described.get(key) for key in settings.annotation_keys}
            carried["annotations"] = as_annotations(notes)
            texts = dict.fromkeys(text for text in map(clean_caption, captions) if text)
            if not texts and settings.without_text == "reject":
                raise RejectedError(
                    "no_sidecar", f"no text in {posixpath.basename(stem)}.txt or .json"
                )
        except RejectedError as error:
            return [Rejected(error.reason, error.value, image_url=url, **carried)]
        location = ImageLocation(url, label, record)
        where = "sidecar" if texts else None
        return [location, *(Pair(url, text, where, **carried) for text in texts or [None])]


def _is_text(name: str) -> bool:
    """Whether a name can be stored: names of files are bytes, and need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(path: str) -> str | None:
    """Read a sidecar's text; None where there is none.

    Raises:
        RejectedError: `sidecar_unreadable`.
    """
    name = posixpath.basename(path)
    try:
        with files.open_read(path) as file:
            data = file.read(MAX_SIDECAR_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RejectedError("sidecar_unreadable", f"{name}: {error.strerror or error}") from error
    return text_of(name, data)
