"""Packs pages and images of freely licensed documentation into the demo's WARC files.

Run from the repository's root, with the Debian packages of README.md unpacked, one folder each:

    python -m examples.demo.make_pages --packages PACKAGES --out examples/demo/pages

A page and an image is one WARC 1.1 `response` record, gzipped on its own: an HTTP/1.1 response
whose body is the package's file, unchanged. Records are sorted by address, record ids are UUIDs
of the content and the date is fixed, so the same packages give the same bytes.

How pages are chosen. A work has a budget of bytes. Pages are taken one after another, each time
the one with the most worth a byte that the budget still affords; languages of one work take
turns. A page is worth as many points as it brings images that

- have a caption or alt of 4 characters or more that, outside English, is translated;
- are at least 64 pixels on the short side and between 1,000 and 60,000 bytes;
- are in no file yet, neither of this language nor of another.

A photo (more than 1,500 colours in a 64 x 64 sample) brings 3 points, a screenshot of a dialog or
a menu (told by its path) 0.2. A page costs its gzipped size, its images' bytes and 2,000. Pages
always come with all of their images, icons and repeats included, but for those above 150,000
bytes: these stay outside, as in a crawl with a limit. `Edition.always` names pages that every
language of a work has, for its notices and to have some images in all.

Tux Paint's stamps come as images and caption lists, without pages: `stamp_site` writes them
(`figure`, `img`, `figcaption`). Captions and images there are the package's; the pages are ours.
"""

import argparse
import gzip
import hashlib
import html
import io
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from PIL import Image
from warcio.statusandheaders import StatusAndHeaders  # type: ignore[import-untyped]
from warcio.warcwriter import WARCWriter  # type: ignore[import-untyped]

from examples.demo.page_images import PageImage, page_images

DATE = "2023-06-10T00:00:00Z"  # the day Debian 12, which the packages are from, came out
MEDIA_TYPES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
PHOTO_COLOURS = 1_500
PATH_SAFE = "/!$&'()*+,;=:@~"  # what a browser leaves as it is in the path of an address
LARGEST_IMAGE = 150_000
PAGE_COST = 2_000
SCREENSHOTS = ("/menus/", "/toolbox/", "dialog", "options")
SHORTEST_TEXT = 4  # characters
SHORTEST_SIDE = 64  # pixels


@dataclass(frozen=True)
class Work:
    """One documentation work in one language: where its files lie and where they are public."""

    name: str
    language: str
    folder: str  # inside the folder of packages
    base: str  # the address that folder has in the records
    licence: str
    reference: str = ""  # the English folder, to tell which texts are translated
    skip: tuple[str, ...] = ()  # page names (prefixes) that are left out

    @property
    def file_name(self) -> str:
        """The WARC file's name."""
        return f"{self.name}-{self.language}.warc.gz"


@dataclass(frozen=True)
class Edition:
    """The languages of one work, with the bytes that each may take and the pages all have."""

    works: tuple[Work, ...]
    budget: int
    always: tuple[str, ...] = ()


def _gimp(language: str, package: str, folder: str) -> Work:
    path = "{}/usr/share/gimp/2.0/help/{}"
    return Work(
        "gimp-help",
        language,
        path.format(f"gimp-help-{package}", folder),
        f"https://docs.gimp.org/2.10/{folder}/",
        "GFDL-1.2-no-invariants-or-later",
        reference="" if language == "en" else path.format("gimp-help-en", "en"),
        skip=("gfdl-", "bibliography"),
    )


EDITIONS = (
    Edition(
        (
            _gimp("en", "en", "en"),
            _gimp("de", "de", "de"),
            _gimp("es", "es", "es"),
            _gimp("fr", "fr", "fr"),
            _gimp("it", "it", "it"),
            _gimp("ja", "ja", "ja"),
            _gimp("ko", "ko", "ko"),
            _gimp("pt-BR", "pt-br", "pt_BR"),
            _gimp("ru", "ru", "ru"),
        ),
        budget=450_000,
        always=(
            "legal.html",
            "gimp-stuck-drawable-transparent.html",
            "gimp-using-paths-and-text.html",
        ),
    ),
    Edition(
        (
            Work(
                "debian-handbook",
                "zh-CN",
                "debian-handbook/usr/share/doc/debian-handbook/html/zh-CN",
                "https://debian-handbook.info/browse/zh-CN/stable/",
                "GPL-2.0-or-later OR CC-BY-SA-3.0",
                reference="debian-handbook/usr/share/doc/debian-handbook/html/en-US",
            ),
        ),
        budget=505_000,
    ),
    Edition(
        (
            Work(
                "hugin-manual",
                "en",
                "hugin-data/usr/share/hugin/xrc/data/help_en_EN",
                "https://hugin.sourceforge.io/docs/manual/",
                "GPL-2.0-or-later",
            ),
        ),
        budget=900_000,
        always=("license.html",),
    ),
    Edition(
        (
            Work(
                "scikit-image",
                "en",
                "python-skimage-doc/usr/share/doc/python-skimage-doc/html",
                "https://scikit-image.org/docs/0.19.x/",
                "BSD-3-Clause",
            ),
        ),
        budget=940_000,
        always=("license.html", "api/skimage.feature.html"),
    ),
)

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
STAMPS_BASE = "https://docs.example.org/tuxpaint-stamps/"
STAMPS_LICENCE = "GPL-2.0-or-later"
STAMPS_BUDGET = 2_800_000
STAMP_LARGEST = 40_000
LANGUAGES_PER_STAMP = 3
# Language tags, and the package's names of them; English is the first line of a caption list.
STAMP_LANGUAGES = {
    "de": "de.utf8",
    "en": "",
    "es": "es.utf8",
    "fr": "fr.utf8",
    "it": "it.utf8",
    "ja": "ja.utf8",
    "ko": "ko.utf8",
    "pl": "pl.utf8",
    "pt-BR": "pt_BR.utf8",
    "ru": "ru.utf8",
    "uk": "uk.utf8",
    "zh-CN": "zh_CN.utf8",
}


@dataclass
class Page:
    """A page as read: its bytes and the images it shows, by path in the work's folder."""

    name: str
    body: bytes
    size: int  # bytes when gzipped
    shown: dict[str, list[PageImage]] = field(default_factory=dict)


def read_pages(folder: Path, skip: tuple[str, ...]) -> list[Page]:
    """Every page under `folder`, sorted by name, with images of the media types we know."""
    pages = []
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(skip) if skip else False:
            continue
        body = path.read_bytes()
        page = Page(name, body, len(gzip.compress(body)))
        for image in page_images(page.body):
            target = urlsplit(urljoin(f"http://x/{quote(name)}", image.src))
            shown = unquote(target.path).lstrip("/")
            if target.netloc == "x" and Path(shown).suffix.lower() in MEDIA_TYPES:
                page.shown.setdefault(shown, []).append(image)
        pages.append(page)
    return pages


class Shelf:
    """The pages of one work, and those taken from it so far."""

    def __init__(self, work: Work, packages: Path):
        self.work = work
        self.folder = packages / work.folder
        if not self.folder.is_dir():
            raise ValueError(
                f"expected the unpacked package of {work.file_name} at {self.folder}, found no "
                "such folder: unpack it with `dpkg -x` as README.md shows"
            )
        self.pages = read_pages(self.folder, work.skip)
        self.taken: dict[str, Page] = {}
        self.files: dict[str, bytes] = {}  # images of the taken pages, by path
        self.spent = 0
        self._read: dict[str, bytes] = {}
        self._rated: dict[str, float] = {}
        self._english: dict[tuple[str, str], set[str]] = defaultdict(set)
        if work.reference:
            for page in read_pages(packages / work.reference, work.skip):
                for path, found in page.shown.items():
                    self._english[page.name, path] = {image.text for image in found}

    def image(self, path: str) -> bytes:
        """The image's bytes; empty where the package lacks it or it is above the limit."""
        if path not in self._read:
            file = self.folder / path
            fits = file.is_file() and file.stat().st_size <= LARGEST_IMAGE
            self._read[path] = file.read_bytes() if fits else b""
        return self._read[path]

    def worth(self, page: Page, known: set[bytes], budget: int) -> float:
        """Points a byte, given the digests of images that are in some file; 0 if unaffordable."""
        points, cost, seen = 0.0, page.size, set(known)
        for path, found in page.shown.items():
            body = self.image(path)
            if path in self.files or not body:
                continue
            cost += len(body)
            digest = _digest(body)
            if digest not in seen and self._is_good(page.name, path, found):
                points += self._points(path)
            seen.add(digest)
        return points / (cost + PAGE_COST) if self.spent + cost <= budget else 0.0

    def take(self, page: Page) -> None:
        """Adds the page and its images."""
        self.taken[page.name] = page
        self.spent += page.size
        for path in page.shown:
            if path not in self.files and self.image(path):
                self.files[path] = self.image(path)
                self.spent += len(self.files[path])

    def records(self) -> Iterator[tuple[str, str, bytes]]:
        """Address, content type and body of each file that was taken."""
        for page in self.taken.values():
            yield (
                self.work.base + quote(page.name, PATH_SAFE),
                "text/html; charset=UTF-8",
                page.body,
            )
        for path, body in self.files.items():
            yield (
                self.work.base + quote(path, PATH_SAFE),
                MEDIA_TYPES[Path(path).suffix.lower()],
                body,
            )

    def _is_good(self, name: str, path: str, found: list[PageImage]) -> bool:
        texts = {p.text for p in found if len(p.text) >= SHORTEST_TEXT and not _is_name(p.text)}
        return bool(texts - self._english[name, path])

    def _points(self, path: str) -> float:
        if path not in self._rated:
            body = self.image(path)
            short_side, colours = _measure(body)
            if not 1_000 <= len(body) <= 60_000 or short_side < SHORTEST_SIDE:
                self._rated[path] = 0.0
            elif any(word in f"/{path}" for word in SCREENSHOTS):
                self._rated[path] = 0.2
            else:
                self._rated[path] = 3.0 if colours > PHOTO_COLOURS else 1.0
        return self._rated[path]


def choose(edition: Edition, packages: Path) -> list[Shelf]:
    """The edition's works with their pages taken; see the rule above."""
    shelves = [Shelf(work, packages) for work in edition.works]
    known: set[bytes] = set()
    for shelf in shelves:
        pages = {page.name: page for page in shelf.pages}
        if missing := sorted(set(edition.always) - set(pages)):
            raise ValueError(
                f"expected the pages {missing} in {shelf.folder}, found none: another version of "
                "the package may be unpacked there (README.md lists the versions)"
            )
        for name in edition.always:
            shelf.take(pages[name])
        known.update(_digest(body) for body in shelf.files.values())
    open_shelves = list(shelves)
    while open_shelves:
        for shelf in list(open_shelves):
            left = (page for page in shelf.pages if page.name not in shelf.taken)
            worths = ((shelf.worth(page, known, edition.budget), page) for page in left)
            worth, best = max(worths, key=lambda pair: pair[0], default=(0.0, None))
            if best is None or worth == 0:
                open_shelves.remove(shelf)
                continue
            shelf.take(best)
            known.update(_digest(shelf.image(path)) for path in best.shown)
    return shelves


def stamp_site(packages: Path) -> Iterator[tuple[str, str, bytes]]:
    """Records of a small site: a page a language and kind of stamp, and the stamps.

    Stamps of 64 pixels or more on the short side and up to 40,000 bytes are taken smallest first
    from each kind in turn, alphabets and other symbols left out, until the budget is spent. Each
    is shown on the pages of three languages that have a caption for it, drawn by the hash of its
    path.
    """
    root = packages / STAMPS
    if not root.is_dir():
        raise ValueError(f"expected tuxpaint-stamps-default, unpacked, at {root}: see README.md")
    pages: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for path in _stamps(root):
        name = path.relative_to(root).as_posix()
        captions = _stamp_captions(path.with_suffix(".txt"))
        drawn = sorted(captions, key=lambda tag: _digest(f"{name} {tag}".encode()))
        for language in drawn[:LANGUAGES_PER_STAMP]:
            pages[language, name.split("/")[0]].append((name, captions[language]))
        yield f"{STAMPS_BASE}stamps/{quote(name)}", "image/png", path.read_bytes()
    for (language, kind), shown in pages.items():
        address = f"{STAMPS_BASE}{language}/{kind}.html"
        yield address, "text/html; charset=UTF-8", _stamp_page(language, kind, shown)


def _stamps(root: Path) -> list[Path]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.png"), key=lambda path: (path.stat().st_size, path)):
        fits = path.stat().st_size <= STAMP_LARGEST and path.with_suffix(".txt").is_file()
        if fits and _measure(path.read_bytes())[0] >= SHORTEST_SIDE:
            kinds[path.relative_to(root).parts[0]].append(path)
    del kinds["symbols"]
    chosen: list[Path] = []
    spent = 0
    while any(kinds.values()):
        for kind in sorted(kinds):
            if kinds[kind] and spent < STAMPS_BUDGET:
                chosen.append(kinds[kind].pop(0))
                spent += chosen[-1].stat().st_size
        if spent >= STAMPS_BUDGET:
            break
    return sorted(chosen)


def _stamp_captions(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    named = dict(line.split("=", 1) for line in lines[1:] if "=" in line)
    named[""] = lines[0]
    captions = {tag: named.get(name, "").strip() for tag, name in STAMP_LANGUAGES.items()}
    return {tag: caption for tag, caption in captions.items() if caption}


def _stamp_page(language: str, kind: str, shown: list[tuple[str, str]]) -> bytes:
    figures = "".join(
        f'<figure><img src="../stamps/{quote(name)}" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
        for name, caption in sorted(shown)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head><meta charset="utf-8">'
        f"<title>Tux Paint: {kind}</title></head>\n<body>\n<h1>{kind}</h1>\n{figures}</body>\n"
        "</html>\n"
    ).encode()


def write_warc(
    path: Path, records: list[tuple[str, str, bytes]], language: str, licence: str
) -> None:
    """Writes a WARC 1.1 file, a gzip member a record, sorted by address."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        about = (
            "software: examples/demo/make_pages.py (warcio)\r\nformat: WARC File Format 1.1\r\n"
            f"description: demo pages, language {language}, licence {licence}; see README.md\r\n"
        ).encode()
        writer.write_record(
            writer.create_warc_record(
                "",
                "warcinfo",
                payload=io.BytesIO(about),
                warc_content_type="application/warc-fields",
                warc_headers_dict={"WARC-Filename": path.name, **_headers(path.name, about)},
            )
        )
        for address, media_type, body in sorted(records):
            headers = [("Content-Type", media_type), ("Content-Length", str(len(body)))]
            writer.write_record(
                writer.create_warc_record(
                    address,
                    "response",
                    payload=io.BytesIO(body),
                    http_headers=StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1"),
                    warc_headers_dict=_headers(address, body),
                )
            )


def _headers(address: str, body: bytes) -> dict[str, str]:
    name = f"{address} {hashlib.sha256(body).hexdigest()}"
    record_id = f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"
    return {"WARC-Record-ID": record_id, "WARC-Date": DATE}


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _measure(body: bytes) -> tuple[int, int]:
    """Short side in pixels and colours of a 64 x 64 sample; zeros where it is no image."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            sample = image.convert("RGBA").convert("RGB").resize((64, 64), Image.Resampling.NEAREST)
            return min(image.size), len(sample.getcolors(64 * 64) or [])
    except (OSError, ValueError):  # what Pillow says of a broken file
        return 0, 0


def _is_name(text: str) -> bool:
    """Whether a text is only a file's name or a formula, as some generators fill in."""
    return Path(text).suffix.lower() in {*MEDIA_TYPES, ".svg"} or text.startswith(("{", "["))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--packages", type=Path, required=True, help="folder of unpacked packages, by name"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the WARC files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for edition in EDITIONS:
        for shelf in choose(edition, arguments.packages):
            work, path = shelf.work, arguments.out / shelf.work.file_name
            write_warc(path, list(shelf.records()), work.language, work.licence)
            print(f"{path}: {len(shelf.taken)} pages, {len(shelf.files)} images")
    stamps = list(stamp_site(arguments.packages))
    path = arguments.out / "tuxpaint-stamps-mul.warc.gz"
    write_warc(path, stamps, "mul", STAMPS_LICENCE)
    print(f"{path}: {sum(kind.startswith('image/') for _, kind, _ in stamps)} images")


if __name__ == "__main__":
    main()
