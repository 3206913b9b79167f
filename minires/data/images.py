"""Opening one picture safely: whatever the file turns out to be, the answer is a picture or an error that names it.

The policy, the same everywhere in minires, so that a model sees in use what it saw in training:

- regular files only (a FIFO would wait for ever), in the formats of `FORMATS` (Pillow would start Ghostscript for EPS),
  whatever the file's suffix says;
- more than `MAX_PIXELS` pixels is refused before anything is decoded (a "decompression bomb");
- the first frame of an animation;
- the orientation that a camera noted in EXIF is applied (`exif="transpose"`; "ignore" leaves the picture as stored);
- the result has the mode "RGB", "L" or "RGBA". Grey of 16 bits is scaled to 8 (65535 becomes 255, where Pillow's own
  conversion would clip everything above 255 to white); transparency is dropped but for "RGBA", where a picture without
  any is opaque, and CMYK converted as `Image.convert("RGB")` does it, which is what torchvision does.

Pillow's global settings are neither changed nor relied upon, except that Pillow warns (`DecompressionBombWarning`)
about pictures of more than half of `MAX_PIXELS`.
"""

import io
import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from minires.data.reading import one_line, open_regular_file, read_bytes, unreadable
from minires.errors import DataError

MAX_PIXELS = 178_956_970  # Pillow's own limit of refusal: 512 MiB of RGB
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
MODES = ("RGB", "L", "RGBA")
EXIF_POLICIES = ("transpose", "ignore")

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself before its pixels are decoded. Width and height are those stored, before turning."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int


def is_image_file(name: str) -> bool:
    """Whether the name ends as a picture's does (`IMG_EXTENSIONS`: torchvision's, and .gif)."""
    return name.lower().endswith(IMG_EXTENSIONS)


def open_image(
    path: str | os.PathLike[str], mode: str = "RGB", exif: str = "transpose", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The picture in a file, decoded, upright and in the mode "RGB", "L" or "RGBA", by the policy at the top.

    Raises DataError, naming the file, with the code "data.unreadable_image", or "data.image_too_large" for more than
    `max_pixels` pixels (at most Pillow's own limit); ValueError for an unknown `mode` or `exif`.
    """
    _check_choice("mode", mode, MODES)
    _check_choice("exif", exif, EXIF_POLICIES)
    content = read_bytes(path)
    try:
        with _identify(path, io.BytesIO(content), max_pixels) as image:
            image.load()
            return convert_mode(upright(image) if exif == "transpose" else image, mode)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a decoder fed with damaged bytes may raise anything, even SyntaxError
        raise unreadable(path, one_line(error)) from error


def read_header(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Format, mode, size and orientation without decoding the pixels: quick enough for a scan of many thousand files.

    Raises DataError as `open_image` does, but cannot notice damage behind the header.
    """
    with open_regular_file(path) as file:
        try:
            with _identify(path, file, max_pixels) as image:
                return ImageHeader(image.format or "", image.mode, *image.size, _orientation(image))
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise unreadable(path, one_line(error)) from error


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; the same picture where nothing is to be done."""
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in the mode "RGB", "L" or "RGBA", eight bits a channel.

    Raises ValueError for floating-point pixels and for 32-bit ones outside 0..65535, whose range nobody states.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        image = _grey_16_to_8(image)
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits")
    elif image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # the way Pillow asks for; colours are the same, transparency goes below
    return image if image.mode == mode else image.convert(mode)


def _identify(path: object, file: BinaryIO, max_pixels: int) -> Image.Image:
    """Pillow's picture with its header read and its number of pixels checked."""
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise unreadable(path, _what_it_looks_like(file)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise unreadable(path, one_line(error), code="data.image_too_large") from error
    pixels = image.width * image.height
    if pixels > max_pixels:
        reason = f"{image.width} x {image.height} pixels are more than the limit of {max_pixels}"
        raise unreadable(path, reason, code="data.image_too_large")
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where none, or nonsense, is noted."""
    if image.format == "PNG" and "exif" not in image.info and "Raw profile type exif" not in image.info:
        return 1  # getexif() would decode the whole picture to look behind the pixels
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation if orientation in _UPRIGHT else 1


def _grey_16_to_8(image: Image.Image) -> Image.Image:
    """Grey values 0..65535 scaled to 0..255, rounded to nearest (65535 = 255 * 257)."""
    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"its pixels reach from {values.min()} to {values.max()}: save it with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _what_it_looks_like(file: BinaryIO) -> str:
    """One clause on bytes that no decoder knows."""
    file.seek(0)
    head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it holds a web page, not a picture (a failed download?)"
    return f"it is not a picture in one of the formats {', '.join(FORMATS)}"


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
