"""IDX files, plain or packed by gzip, and the data sets that come in them: MNIST, Fashion-MNIST, KMNIST.

The format (yann.lecun.com/exdb/mnist): two zero bytes, the type, the number of axes, the length of each axis in four
bytes, then the values; all big-endian, the last axis running fastest.
"""

import contextlib
import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from minires.data.datasets.base import Function, PictureArrays, refuse_download
from minires.data.reading import MAX_FILE_BYTES, one_line, open_regular_file, unreadable
from minires.errors import DataError, FileFormatError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PART = 1 << 20  # bytes unpacked at once, so that a false length reserves no memory


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file (".gz": packed), in the machine's byte order.

    Raises DataError for a file that cannot be opened; FileFormatError with the byte, in the unpacked content, for one
    that is no IDX file, is cut off, goes on behind its end, or announces more than MAX_FILE_BYTES.
    """
    with _content(path) as file:
        magic = _exactly(path, file, 4, 0, "the header")
        if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 32:
            raise FileFormatError(path, 0, f"no IDX file: it begins with the bytes {magic.hex(' ')}")
        axes = magic[3]
        shape = struct.unpack(f">{axes}I", _exactly(path, file, 4 * axes, 4, "the lengths of the axes"))
        dtype, start = np.dtype(_TYPES[magic[2]]), 4 + 4 * axes
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_FILE_BYTES:
            raise FileFormatError(path, 4, f"the shape {shape} needs {size} bytes, the limit is {MAX_FILE_BYTES}")
        values = _exactly(path, file, size, start, f"the values of the shape {shape}")
        if file.read(1):
            raise FileFormatError(path, start + size, f"more bytes than the shape {shape} has values")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


@contextlib.contextmanager
def _content(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """The file, unpacked where its name ends in .gz; what unpacking raises names the file."""
    with open_regular_file(path, "IDX file") as file:
        packed = os.fspath(path).endswith(".gz")
        try:
            yield gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(path, None, f"what gzip packed is damaged: {one_line(error)}") from error
        except OSError as error:
            raise unreadable(path, error.strerror or one_line(error), "IDX file") from error


def _exactly(path: str | os.PathLike[str], file: BinaryIO, size: int, start: int, what: str) -> bytearray:
    """`size` bytes from the place `start` on."""
    content = bytearray()
    while len(content) < size:
        part = file.read(min(size - len(content), _PART))
        if not part:
            reason = f"the file ends within {what}: {len(content)} of {size} bytes are there"
            raise FileFormatError(path, start + len(content), reason)
        content += part
    return content


class MNIST(PictureArrays):
    """60,000 grey pictures of 28 x 28 pixels in ten classes for training; 10,000 for the test with `train=False`.

    The files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., each plain or with .gz, in root/MNIST/raw
    (torchvision's place) or in `root` itself. `download=True` is refused: nothing is fetched.
    Raises DataError for a missing file, FileFormatError naming file and place for a damaged one.
    """

    names = ("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven",
             "8 - eight", "9 - nine")  # fmt: skip

    def __init__(
        self, root: str | os.PathLike[str], train: bool = True, transform: Function | None = None,
        target_transform: Function | None = None, download: bool = False,
    ) -> None:  # fmt: skip
        part = "train" if train else "t10k"
        refuse_download(download, root, f"{part}-images-idx3-ubyte.gz and {part}-labels-idx1-ubyte.gz")
        images_file, labels_file = (
            self._find(root, f"{part}-images-idx3-ubyte"),
            self._find(root, f"{part}-labels-idx1-ubyte"),
        )
        images, labels = read_idx(images_file), read_idx(labels_file)
        if images.dtype != np.uint8 or images.ndim != 3:
            raise FileFormatError(images_file, 0, f"pictures are uint8 (N, H, W), got {images.dtype} {images.shape}")
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            reason = f"labels are uint8 ({len(images)},), one a picture, got {labels.dtype} {labels.shape}"
            raise FileFormatError(labels_file, 0, reason)
        for place in np.flatnonzero(labels >= len(self.names))[:1]:
            reason = f"the label {labels[place]} of picture {place} is none of {len(self.names)} classes"
            raise FileFormatError(labels_file, 8 + int(place), reason)
        super().__init__(images, labels.astype(np.int64), self.names, root, train, transform, target_transform)

    def _find(self, root: str | os.PathLike[str], name: str) -> str:
        """The file of this name, plain or packed, in the first of the places that has it."""
        places = [os.path.join(root, type(self).__name__, "raw"), os.fspath(root)]
        for place in places:
            for suffix in ("", ".gz"):
                path = os.path.join(place, name + suffix)
                if os.path.isfile(path):
                    return path
        raise DataError(f"there is no {name} or {name}.gz in {' or '.join(places)}", code="data.unreadable_file",
                        file=os.path.join(places[0], name))  # fmt: skip


class FashionMNIST(MNIST):
    """Zalando's pictures of clothes (Xiao et al. 2017) in MNIST's files, in root/FashionMNIST/raw or `root`."""

    names = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class KMNIST(MNIST):
    """Cursive Japanese characters (Clanuwat et al. 2018) in MNIST's files, in root/KMNIST/raw or `root`."""

    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
