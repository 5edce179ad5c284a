"""The layout of fastText's model files, as far as is needed to tell whole ones from others:
fastText itself reads a file that was cut off without a word and then guesses at random, and may
crash on others.

Source: the `save` methods of fastText 0.9.2 (`fasttext.cc`, `dictionary.cc`, `densematrix.cc`,
`quantmatrix.cc`, `productquantizer.cc`). Numbers are little-endian.
"""

import struct
from typing import BinaryIO

MAGIC = 793712314
_VERSIONS = (11, 12)
_SUPERVISED = 3
_CENTROIDS = 256
_BLOCK = 2**20
_LONGEST_NAME = 65_536


class NotAModelError(ValueError):
    """Raised for a file that is no whole, supervised fastText model; says why."""


def require_whole(file: BinaryIO) -> None:
    """Check that a file is a supervised fastText model from its first byte to its last.

    Args:
        file: The model, `.bin` or `.ftz`, open at its beginning.

    Raises:
        NotAModelError: it is not.
    """
    reader = _Reader(file)
    if reader.size < 8 or reader.numbers("<i") != (MAGIC,):
        raise NotAModelError(
            "it does not begin as a fastText model; `.bin` and `.ftz` files are such, lists of "
            "word vectors (`.vec`) and models of other libraries are not"
        )
    (version,) = reader.numbers("<i")
    if version not in _VERSIONS:
        raise NotAModelError(f"it has version {version} of the format, fastText writes 11 and 12")
    arguments = reader.numbers("<12id")
    if arguments[7] != _SUPERVISED:
        raise NotAModelError("it is a model of word vectors, not one that was trained on labels")
    entries, _, labels, _, pruned = reader.numbers("<iiiqq")
    if labels < 1:
        raise NotAModelError("it has no labels")
    for _ in range(entries):
        reader.skip_name()
        reader.skip(9)
    reader.skip(8 * max(0, pruned))
    (quantized,) = reader.numbers("<?")
    reader.skip_matrix(quantized)
    (quantized_output,) = reader.numbers("<?")
    reader.skip_matrix(quantized and quantized_output)
    if reader.at != reader.size:
        raise NotAModelError(f"{reader.size - reader.at:,} bytes follow its end")


class _Reader:
    def __init__(self, file: BinaryIO):
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self._block, self._at = b"", 0
        self.at = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        width = struct.calcsize(layout)
        while len(self._block) - self._at < width:
            self._more()
        found = struct.unpack_from(layout, self._block, self._at)
        self._at += width
        self.at += width
        return found

    def skip(self, width: int) -> None:
        if width < 0 or self.at + width > self.size:
            raise self._cut_off()
        self.at += width
        if self._at + width <= len(self._block):
            self._at += width
        else:
            self._file.seek(self.at)
            self._block, self._at = b"", 0

    def skip_name(self) -> None:
        end = self._block.find(b"\0", self._at)
        while end < 0:
            if len(self._block) - self._at > _LONGEST_NAME:
                raise NotAModelError("a word of its dictionary has no end")
            self._more()
            end = self._block.find(b"\0", self._at)
        self.at += end + 1 - self._at
        self._at = end + 1

    def skip_matrix(self, quantized: int) -> None:
        if not quantized:
            rows, columns = self.numbers("<qq")
            self.skip(4 * rows * columns)
            return
        with_norms, rows, _, codes = self.numbers("<?qqi")
        self.skip(codes)
        self._skip_quantizer()
        if with_norms:
            self.skip(rows)
            self._skip_quantizer()

    def _skip_quantizer(self) -> None:
        width, *_ = self.numbers("<4i")
        self.skip(4 * width * _CENTROIDS)

    def _more(self) -> None:
        block = self._file.read(_BLOCK)
        if not block:
            raise self._cut_off()
        self._block, self._at = self._block[self._at :] + block, 0

    def _cut_off(self) -> NotAModelError:
        return NotAModelError(f"it is cut off: it ends after {self.size:,} bytes")
