"""`septet predict`: what a trained model answers. Nothing here imports torch before a model is
opened, so that help is instant."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from septet.preprocess import files
from septet.preprocess.answering import answer_lines
from septet.schemas.layout import MANIFEST
from septet.trainers.commands.trained import Trained
from septet.trainers.standard_json import standard, to_json

if TYPE_CHECKING:
    from torch import nn

    from septet.trainers.prediction import Ability, Answer, Asked, Box, Part
    from septet.trainers.task import Task

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Files of a folder that are taken for images."""

_WORTH = {
    "image": "--image FILE",
    "question": "--question 'what is red?'",
    "text": "--text '{text}'",
    "box": "--box 10,20,90,110",
    "language": "--language {language}",
}
"""Each part of a question as an example."""


class _ListsTasks(TyperCommand):
    """`--task` without a name is `--task ''`, which lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        found: list[str] = []
        for i, arg in enumerate(args):
            found.append(arg)
            if arg == "--task" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                found.append("")
        return super().parse_args(ctx, found)


def predict(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of a run; with --model, a file or folder of weights that it reads."
        ),
    ],
    task: Annotated[
        str, typer.Option(help="What to ask. Without a name, lists what this model can do.")
    ] = "",
    image: Annotated[
        str | None,
        typer.Option(help="An image; or a folder of images or a corpus, for a JSON line each."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="The question, for vqa.")] = None,
    text: Annotated[
        str | None, typer.Option(help="The text that the task needs: a phrase to find, say.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="A region, in pixels of the image: LEFT,TOP,RIGHT,BOTTOM.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="The language to answer in, a code such as de.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Of beam search; 1 is greedy.")] = 1,
    draw: Annotated[
        Path | None, typer.Option(help="Write the image with the boxes that are found.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write: JSON lines, or the image of a task that makes one."),
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Images of a folder or corpus.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 16,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="Answer questions on standard input, a JSON object a line with `task` and what "
            "the flags are called; an empty one lists the tasks.",
        ),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Whose weights RUN holds, where it is no run.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Their sizes, with --model.")] = "base",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, such as where a file lies: KEY=VALUE."),
    ] = None,
) -> None:
    """Ask a trained model.

    Examples:

      septet predict runs/ofa-debug --task

      septet predict runs/ofa-debug --task caption --image photo.jpg

      septet predict runs/ofa-debug --task vqa --image photo.jpg --question 'what is red?'

      septet predict runs/ofa-debug --task ground --image photo.jpg --text 'a red circle'
      --draw boxes.png

      septet predict runs/ofa-debug --task caption --image corpora/held-out --out captions.jsonl

      septet predict ofa_base.pt --model ofa --preset base --task caption --image photo.jpg
    """
    try:
        trained = Trained(run, model, preset, changes or ())
        if lines:
            _answer_questions(trained)
            return
        if not task:
            _list(trained)
            return
        given = {"image": image, "question": question, "text": text, "box": box,
                 "language": language}  # fmt: skip
        ability = _ability(trained, task, {name for name, x in given.items() if x is not None})
        if draw is not None and ability.gives != "boxes":
            raise ValueError(f"--draw: {task} of {trained.model} gives no boxes")
        several = image is not None and (Path(image).is_dir() or _is_corpus(image))
        if several and (draw is not None or ability.gives == "image"):
            raise ValueError(f"{'--draw' if draw else task} takes one image; {image} has several")
        if ability.gives == "image" and out is None:
            raise ValueError(f"{task} makes an image: say where to with --out FILE.png")
        if image == "":  # The name of the folder that the command runs in, to `Path`.
            raise ValueError("--image names no file")
        for flag, path in (("--out", out), ("--draw", draw)):
            if path is not None and path.is_dir():
                raise ValueError(f"{flag} {path} is a folder: name a file")
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{flag} {path}: there is no folder {path.parent}")
        wanted = _wanted(image, text, ability)
        answers = _answers(
            trained.task, trained.on_device(), task, islice(wanted, most),
            (question, text, box, language), beams, batch,
        )  # fmt: skip
        if several:
            _lines(answers, out)
        else:
            _one(*next(answers), out, draw)
    except BrokenPipeError:  # Who reads the lines has read enough.
        raise
    except (ValueError, OSError) as error:
        typer.secho(f"septet predict: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


predict.command_class = _ListsTasks  # type: ignore[attr-defined]


def _list(trained: Trained) -> None:
    abilities = trained.task.abilities
    if not abilities:
        raise ValueError(f"{trained.model} answers nothing: septet predict has no task for it")
    typer.echo(f"{trained.model} ({trained.preset}), {trained.path}:")
    for name, ability in abilities.items():
        parts = _worth(ability, ability.needs)
        may = "".join(f" [{_worth(ability, [part])}]" for part in ability.may)
        makes = " --out FILE.png" if ability.gives == "image" else ""
        typer.echo(f"\n{name}: {ability.meaning}")
        typer.echo(f"  septet predict {trained.path} --task {name} {parts}{may}{makes}")


def _worth(ability: "Ability", parts: "Sequence[Part]") -> str:
    """Parts of a question as an example."""
    told = " ".join(_WORTH[part] for part in parts)
    return told.format(text=ability.text, language=ability.language)


def _ability(trained: Trained, task: str, given: set[str]) -> "Ability":
    """What a task needs; all of it is given, and nothing else."""
    abilities = trained.task.abilities
    if task not in abilities:
        have = ", ".join(abilities) or "none"
        raise ValueError(f"{trained.model} has no task {task!r}; it has: {have}")
    ability = abilities[task]
    missing: list[Part] = [part for part in ability.needs if part not in given]
    # The text of a corpus's samples may be the text that is asked for.
    if missing and (missing != ["text"] or "image" not in given):
        raise ValueError(f"{task} of {trained.model} needs {_worth(ability, missing)}")
    if odd := sorted(given - {*ability.needs, *ability.may}):
        flags = ", ".join(f"--{part}" for part in odd)
        raise ValueError(f"{task} of {trained.model} takes no {flags}")
    return ability


class _Wanted(NamedTuple):
    """An image to ask about, or none."""

    name: str
    read: Callable[[], bytes] | None
    """Gives the image file."""
    text: str | None = None


class _Ready(NamedTuple):
    """A question to the model, and the size of the image that the person gave."""

    asked: "Asked"
    height: int
    width: int

    def pixels(self, box: "Box") -> list[float]:
        """A box in pixels of that image."""
        return [
            round(x * side, 1) for x, side in zip(box, (self.width, self.height) * 2, strict=True)
        ]


def _is_corpus(path: str) -> bool:
    return bool(path) and files.exists(files.join(path, MANIFEST))


def _wanted(image: str | None, text: str | None, ability: "Ability") -> Iterator[_Wanted]:
    """The images that are asked about: one, those of a folder, or those of a corpus, with the
    samples' texts where the task needs one and none is given."""
    lacks_text = text is None and "text" in ability.needs
    if image is not None and _is_corpus(image):
        return _of_corpus(image, lacks_text)
    if lacks_text:
        worth = _worth(ability, ["text"])
        raise ValueError(f"the task needs {worth}, or a corpus whose samples have texts")
    if image is None:
        return iter([_Wanted("", None)])
    path = Path(image)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
        if not found:
            raise ValueError(f"{image} has no image: files end in {', '.join(IMAGES)}")
        return (_Wanted(str(p.relative_to(path)), p.read_bytes) for p in found)
    if not files.exists(image):
        raise ValueError(f"--image {image}: there is no such file")
    return iter([_Wanted(image, partial(files.read_bytes, image))])


def _of_corpus(path: str, texts: bool) -> Iterator[_Wanted]:
    from septet.preprocess.columns.base import IMAGE
    from septet.preprocess.shards.reader import Corpus

    corpus, found = Corpus(path), 0
    for index in range(len(corpus)):
        sample = corpus[index]
        data = next((sample[ext] for ext in IMAGE.split("|") if ext in sample), None)
        text = sample.get("txt", b"").decode(errors="replace") if texts else None
        if data is not None and text != "":
            found += 1
            yield _Wanted(corpus.key(index), partial(bytes, data), text)
    if not found:
        raise ValueError(f"{path} has no sample with an image{' and a text' if texts else ''}")


def _answers(
    model: "Task",
    module: "nn.Module",
    task: str,
    wanted: Iterator[_Wanted],
    given: tuple[str | None, str | None, str | None, str | None],
    beams: int,
    batch: int,
) -> "Iterator[tuple[_Wanted, _Ready | None, Answer | str]]":
    """What the model says of each; of an image that cannot be used, why."""
    import torch

    from septet.trainers.prediction import Asked

    question, text, box, language = given
    plain = Asked(None, question or "", text or "", None, language)
    while part := list(islice(wanted, batch)):
        ready: list[_Ready | str] = []
        for each in part:
            try:
                ready.append(_ready(model, task, each, plain, box))
            except (ValueError, OSError) as error:
                ready.append(str(error))
        asked = [each.asked for each in ready if not isinstance(each, str)]
        with torch.no_grad():
            told = iter(_each(model, module, task, asked, beams))
        for each, found in zip(part, ready, strict=True):
            if isinstance(found, str):
                yield each, None, found
            else:
                answer = next(told)
                yield each, None if isinstance(answer, str) else found, answer


def _each(
    task: "Task", module: "nn.Module", ability: str, asked: "list[Asked]", beams: int
) -> "list[Answer | str]":
    """The answers, of each that cannot be answered why. Where some of several cannot, each is
    asked alone: answers do not depend on what else is asked."""
    try:
        return list(task.predict(module, ability, asked, beams)) if asked else []
    except ValueError as error:
        if len(asked) == 1:
            return [str(error)]
        return [told for one in asked for told in _each(task, module, ability, [one], beams)]


def _ready(task: "Task", ability: str, wanted: _Wanted, plain: "Asked", box: str | None) -> _Ready:
    """A question about one image, of which no more is kept than the model reads.

    Raises:
        ValueError: the image cannot be used, or the box does not lie in it.
        OSError: its file cannot be read.
    """
    from septet.trainers.inputs.images import decode

    asked = replace(plain, text=wanted.text or plain.text)
    if wanted.read is None:
        return _Ready(asked, 0, 0)
    image = decode(wanted.read())
    height, width = image.shape[:2]
    region = _box(box, height, width) if box else None
    return _Ready(replace(asked, image=task.view(ability, image), box=region), height, width)


def _box(given: str, height: int, width: int) -> "Box":
    """A box in pixels as shares of an image's sides."""
    try:
        x0, y0, x1, y1 = (float(x) for x in given.split(","))
    except ValueError:
        raise ValueError(f"--box {given}: expected LEFT,TOP,RIGHT,BOTTOM in pixels") from None
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"--box {given} is not within the image of {width} x {height} pixels")
    return x0 / width, y0 / height, x1 / width, y1 / height


def _lines(
    answers: "Iterator[tuple[_Wanted, _Ready | None, Answer | str]]", out: Path | None
) -> None:
    """A JSON object a line: `image`, and `text`, `boxes` (pixels) and `score`, or `error`."""
    failed = written = 0
    with out.open("w", encoding="utf-8") if out else nullcontext(sys.stdout) as file:
        for wanted, ready, answer in answers:
            line: dict[str, Any] = {"image": wanted.name}
            if isinstance(answer, str) or ready is None:
                line["error"] = answer
                failed += 1
            else:
                line |= _told(ready, answer)
            file.write(to_json(line, ascii_only=False) + "\n")
            written += 1
    if out or failed:
        bad = f", {failed} of them not answered" if failed else ""
        typer.echo(f"{written} lines{f' in {out}' if out else ''}{bad}", err=True)


def _answer_questions(trained: Trained) -> None:
    """Answer questions on standard input, each by `error`, or what the lines of a folder have, with
    the image's `size`, width and height."""
    module = cache(trained.on_device)

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        found = _of_line(trained, module(), asked) if asked else _abilities(trained)
        told: dict[str, Any] = standard(found)
        return told

    answer_lines(answer, sys.stdin, sys.stdout)


def _abilities(trained: Trained) -> dict[str, Any]:
    tasks = {
        name: {"meaning": one.meaning, "needs": [*one.needs], "may": [*one.may],
               "gives": one.gives, "text": one.text, "language": one.language}
        for name, one in trained.task.abilities.items()
    }  # fmt: skip
    return {"model": trained.model, "preset": trained.preset, "tasks": tasks}


def _of_line(trained: Trained, module: "nn.Module", asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question."""
    parts = {name: asked.get(name) for name in _WORTH}
    if odd := [name for name, one in parts.items() if not isinstance(one, str | None)]:
        raise ValueError(f"{odd[0]} is a text")
    beams, out = asked.get("beams", 1), asked.get("out")
    if not isinstance(beams, int) or beams < 1:
        raise ValueError("beams is a number from 1 on")
    task, image, text = str(asked.get("task")), parts["image"], parts["text"]
    ability = _ability(trained, task, {name for name, one in parts.items() if one is not None})
    wanted = islice(_wanted(image, text, ability), 1)
    given = (parts["question"], text, parts["box"], parts["language"])
    _, ready, answer = next(_answers(trained.task, module, task, wanted, given, beams, 1))
    if isinstance(answer, str) or ready is None:
        raise ValueError(str(answer))
    if answer.image is not None and isinstance(out, str):
        from PIL import Image

        Image.fromarray(answer.image).save(out)
    return {**_told(ready, answer), "size": [ready.width, ready.height]}


def _told(ready: _Ready, answer: "Answer") -> dict[str, Any]:
    found: dict[str, Any] = {}
    if ready.asked.text:
        found["asked"] = ready.asked.text
    if answer.text:
        found["text"] = answer.text
    if answer.boxes:
        found["boxes"] = [{"box": ready.pixels(box), "label": label} for box, label in answer.boxes]
    if answer.score is not None:
        found["score"] = round(answer.score, 4)
    return found


def _one(
    wanted: _Wanted,
    ready: _Ready | None,
    answer: "Answer | str",
    out: Path | None,
    draw: Path | None,
) -> None:
    """One answer for a person to read."""
    if isinstance(answer, str) or ready is None:
        raise ValueError(f"{wanted.name}: {answer}" if wanted.name else str(answer))
    if answer.text:
        typer.echo(answer.text)
    elif not answer.boxes and answer.image is None:
        typer.echo("the model's answer is empty", err=True)
    for box, label in answer.boxes:
        typer.echo(f"{' '.join(f'{x:g}' for x in ready.pixels(box))}  {label}".rstrip())
    if answer.image is not None:
        from PIL import Image

        assert out is not None
        Image.fromarray(answer.image).save(out)
        typer.echo(f"written: {out}", err=True)
    elif out is not None:
        line = to_json({"image": wanted.name, **_told(ready, answer)}, ascii_only=False)
        out.write_text(line + "\n", encoding="utf-8")
    if draw is not None:
        _draw(wanted, ready, answer.boxes, draw)
        typer.echo(f"written: {draw}", err=True)


def _draw(wanted: _Wanted, ready: _Ready, boxes: "Sequence[tuple[Box, str]]", to: Path) -> None:
    """The image that the person gave, with boxes and their labels."""
    from PIL import Image, ImageDraw, ImageFont

    from septet.trainers.inputs.images import decode

    assert wanted.read is not None
    image = Image.fromarray(decode(wanted.read()))
    size = max(10, min(image.size) // 30)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for i, (box, label) in enumerate(boxes):
        colour = ("red", "lime", "deepskyblue", "yellow", "magenta", "orange")[i % 6]
        x0, y0, x1, y1 = ready.pixels(box)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=max(1, size // 8))
        if label:
            pen.text((x0 + 2, max(0, y0 - size - 2)), label, fill=colour, font=font)
    image.save(to)
