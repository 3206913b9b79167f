"""Pictures and folders that the tests make for themselves."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture of random pixels in one of Pillow's eight-bit modes."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(seed)
    return Image.frombytes(mode, (width, height), rng.integers(0, 256, width * height * channels, np.uint8).tobytes())


def save(image: Image.Image, path: Path, **settings: object) -> Path:
    """Save a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **settings)
    return path


def make_folder(root: Path, counts: dict[str, int], size: int = 8) -> Path:
    """root/CLASS/0.png, 1.png ... with random pixels, all different."""
    seed = sum(map(ord, str(root.name)))
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            seed += 1
            save(noise(size, size, seed=seed * 1000 + index), root / name / f"{index}.png")
    return root


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
