"""Opening one picture: right pixels for every mode, and an error that names the file for every broken one."""

import errno
import io
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minires.data import images, open_image, read_header
from minires.data.images import convert_mode
from minires.errors import DataError
from minires.io import files
from tests.data.helpers import noise, png_claiming, save


def jpeg_bytes(width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    noise(width, height).save(buffer, "JPEG")
    return buffer.getvalue()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    content = jpeg_bytes()
    path.write_bytes(content[: len(content) // 2])


def web_page(path: Path) -> None:
    path.write_bytes(b"\n<!DOCTYPE html><html><body>404</body></html>")


def bomb(path: Path) -> None:
    path.write_bytes(png_claiming(65535, 65535))


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.jpg")


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    """No file at all."""


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(1000))


def short_png(path: Path) -> None:
    path.write_bytes(png_claiming(100, 100))


def postscript(path: Path) -> None:  # Pillow alone would start Ghostscript
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")


BROKEN = {
    empty: "is empty",
    cut_in_half: "truncated",
    web_page: "web page",
    bomb: "pixels",
    fifo: "a FIFO",
    dangling_link: "points nowhere",
    folder: "folder",
    nothing: "no such file",
    random_bytes: "formats",
    short_png: "",
    postscript: "formats",
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_broken_picture_is_an_error_that_names_the_file(make, tmp_path):
    path = tmp_path / "broken.jpg"
    make(path)
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert time.monotonic() - start < 5
    assert str(path) in str(caught.value) and BROKEN[make] in str(caught.value)
    assert caught.value.file == str(path)
    assert caught.value.code == ("data.image_too_large" if make is bomb else "data.unreadable_image")


def test_no_permission(tmp_path):
    path = save(noise(4, 4), tmp_path / "secret.png")

    class Refusing(files.System):  # chmod would not do: root may read everything
        def open(self, path: str, flags: int) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", path)

    with files.use(Refusing()), pytest.raises(DataError, match=r"secret\.png: no permission"):
        open_image(path)


def test_failing_disk(tmp_path):
    path = save(noise(4, 4), tmp_path / "lost.png")

    class Failing(files.System):
        def read(self, descriptor: int, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    class Interrupted(files.System):
        calls = 0

        def read(self, descriptor: int, size: int) -> bytes:
            self.calls += 1
            if self.calls == 1:
                raise InterruptedError(errno.EINTR, "Interrupted system call")
            return os.read(descriptor, min(size, 10))  # and short reads

    for read in (open_image, read_header):
        with files.use(Failing()), pytest.raises(DataError, match=r"lost\.png: .*Input/output error"):
            read(path)
        with files.use(Interrupted()):
            read(path)


def test_many_truncations_never_raise_anything_else(tmp_path):
    path = tmp_path / "cut.bin"
    pictures = []
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        noise(16, 12).save(buffer, kind)
        pictures.append(buffer.getvalue())
    refused = 0
    for content in pictures:
        path.write_bytes(content)
        assert open_image(path).size == (16, 12)
        for length in range(1, len(content), max(1, len(content) // 25)):
            path.write_bytes(content[:length])
            try:
                open_image(path)
            except DataError as error:
                refused += str(path) in error.message
    assert refused > 100


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    path = tmp_path / "damaged.bin"
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        noise(16, 12).save(buffer, kind)
        for _ in range(20):
            content = bytearray(buffer.getvalue())
            for place in rng.integers(0, len(content), 8):
                content[place] = rng.integers(256)
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    assert open_image(path).mode == "RGB"
                except DataError as error:
                    assert error.file == str(path)


def test_limits_are_arguments_and_leave_pillow_alone(tmp_path):
    path = save(noise(20, 10), tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS
    assert open_image(path, max_pixels=200).size == (20, 10)
    with pytest.raises(DataError, match="20 x 10 pixels are more than the limit of 199"):
        open_image(path, max_pixels=199)
    with pytest.raises(DataError):
        read_header(path, max_pixels=199)
    assert before == Image.MAX_IMAGE_PIXELS
    assert 2 * before == images.MAX_PIXELS


def test_descriptors_do_not_leak(tmp_path):
    good, bad = save(noise(4, 4), tmp_path / "a.png"), tmp_path / "b.jpg"
    cut_in_half(bad)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        open_image(good), read_header(good)
        for path in (bad, tmp_path):
            with pytest.raises(DataError):
                open_image(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


def test_wrong_suffix_does_not_matter(tmp_path):
    picture = noise(5, 4)
    path = tmp_path / "really_a_png.jpg"
    picture.save(path, "PNG")
    assert open_image(path).tobytes() == picture.tobytes()


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 128, 129, 255, 256, 32768, 65534, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 1, 1, 128, 255, 255]], np.uint8)  # value / 257, rounded to nearest
    for suffix in ("png", "tif"):
        path = save(Image.fromarray(values), tmp_path / f"grey16.{suffix}")
        assert read_header(path).mode == "I;16"
        np.testing.assert_array_equal(np.asarray(open_image(path, "L")), expected)
        np.testing.assert_array_equal(np.asarray(open_image(path))[..., 2], expected)


def test_pixels_of_unknown_range_are_refused(tmp_path):
    floats = save(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "float.tif")
    with pytest.raises(DataError, match="floating-point"):
        open_image(floats)
    large = save(Image.fromarray(np.full((2, 2), 70000, np.int32)), tmp_path / "large.tif")
    with pytest.raises(DataError, match="70000"):
        open_image(large)


def test_cmyk_grey_alpha_and_palette(tmp_path):
    cmyk = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "cmyk.jpg", quality=95)
    red = np.asarray(open_image(cmyk)).reshape(-1, 3).mean(0)
    assert red[0] > 240 and red[1] < 15 and red[2] < 15

    grey_alpha = save(Image.new("LA", (3, 2), (77, 0)), tmp_path / "la.png")
    assert set(open_image(grey_alpha).get_flattened_data()) == {(77, 77, 77)}
    assert set(open_image(grey_alpha, "L").get_flattened_data()) == {77}

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    path = save(palette, tmp_path / "palette.png", transparency=b"\x00\xff")
    assert read_header(path).mode == "P"
    assert list(open_image(path).get_flattened_data()) == [(10, 20, 30), (200, 100, 50)]

    bits = save(Image.fromarray(np.array([[True, False]])), tmp_path / "bits.png")
    assert list(open_image(bits, "L").get_flattened_data()) == [255, 0]


def test_picture_of_a_stereo_camera_gives_its_first_view(tmp_path):
    path = save(Image.new("RGB", (8, 8), "red"), tmp_path / "stereo.jpg", format="MPO", save_all=True,
                append_images=[Image.new("RGB", (8, 8), "blue")])  # fmt: skip
    assert read_header(path).format == "MPO" and open_image(path).getpixel((4, 4))[0] > 240


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    path = save(frames[0], tmp_path / "animated.gif", save_all=True, append_images=frames[1:])
    assert set(open_image(path).get_flattened_data()) == {(255, 0, 0)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation(suffix, tmp_path):
    upright = np.zeros((16, 32), np.uint8)  # four grey corners, so that every turn can be told from the others
    upright[:8, :16], upright[:8, 16:], upright[8:, :16], upright[8:, 16:] = 0, 80, 160, 240
    stored = {  # how EXIF says the rows and columns of the stored picture lie in the upright one
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }  # fmt: skip
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(pixels))
        path = save(image.convert("RGB"), tmp_path / f"{orientation}.{suffix}", exif=exif, quality=98)
        turned = np.asarray(open_image(path, "L")).astype(int)
        assert turned.shape == upright.shape, orientation
        assert abs(turned - upright.astype(int)).max() < 30, orientation
        assert open_image(path, exif="ignore").size == image.size
        if suffix != "webp":
            assert read_header(path).orientation == orientation


def test_nonsense_orientation_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 99
    path = save(noise(6, 4), tmp_path / "a.jpg", exif=exif)
    assert open_image(path).size == (6, 4) and read_header(path).orientation == 1


def test_huge_icc_profile(tmp_path):
    path = save(noise(4, 4), tmp_path / "icc.png", icc_profile=b"\0" * 50_000_000)  # 50 MB that compress to 50 kB
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"icc\.png"):
        open_image(path)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="mode must be one of 'RGB', 'L', 'RGBA', got 'CMYK'"):
        open_image("x.png", mode="CMYK")
    with pytest.raises(ValueError, match="exif must be one of"):
        open_image("x.png", exif="yes")
    with pytest.raises(ValueError, match="floating-point"):
        convert_mode(Image.new("F", (1, 1)), "RGB")
