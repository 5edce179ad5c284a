"""Sets of scenes as files: images with captions, and lists of them as a recipe's `list` source
reads."""

import json
from collections.abc import Iterator, Sequence

import cv2

from septet.preprocess import files
from septet.preprocess.synthetic.languages import caption
from septet.preprocess.synthetic.scenes import FEW, Scene, make_scene, render


def language_of(scene: Scene, languages: Sequence[str]) -> str:
    """The language that a scene of a set is told in: by its index, each in turn."""
    return languages[scene.index % len(languages)]


def caption_pairs(
    seed: int,
    first: int,
    count: int,
    size: int = 64,
    things: tuple[int, int] = FEW,
    languages: Sequence[str] = ("en",),
    signs: bool = False,
) -> Iterator[tuple[Scene, bytes, str]]:
    """Make scenes `first` to `first + count`: their PNG bytes and one caption each.

    The caption is the phrasing that tells the most, in the language of `language_of`.
    """
    for index in range(first, first + count):
        scene = make_scene(seed, index, things, signs)
        ok, png = cv2.imencode(".png", render(scene, size)[:, :, ::-1])
        assert ok
        yield scene, png.tobytes(), caption(scene, language_of(scene, languages))


def write_scenes(
    folder: str,
    seed: int,
    count: int,
    first: int = 0,
    size: int = 64,
    things: tuple[int, int] = FEW,
    languages: Sequence[str] = ("en",),
    signs: bool = False,
) -> str:
    """Write scenes as a folder of images and a caption list, as a recipe's `list` source reads.

    Args:
        folder: The folder to write; any fsspec path.
        seed: See `make_scene`.
        count: The number of scenes.
        first: Index of the first one. Give sets that must not overlap disjoint ranges.
        size: Side of the images, pixels.
        things: Least and greatest number of objects.
        languages: The languages of the captions, each in turn; codes of `languages.WORDINGS`.
        signs: Whether scenes have signs with a word on them.

    Returns:
        Path of `captions.jsonl`: a JSON object a line with `path` (relative to the folder),
        `caption`, `language`, and `extra`, the scene's truth.
    """
    lines = []
    for scene, png, told in caption_pairs(seed, first, count, size, things, languages, signs):
        path = f"images/{scene.index:07d}.png"
        files.write_bytes(files.join(folder, path), png)
        language = language_of(scene, languages)
        row = {"path": path, "caption": told, "language": language, "extra": scene.truth()}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    where = files.join(folder, "captions.jsonl")
    files.write_bytes(where, "".join(lines).encode())
    return where
