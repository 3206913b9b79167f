"""Transforms of one small picture, in a table that torchvision and minires both can run.

python -m tests.data.torchvision_cases     writes what the installed torchvision answers, which the tests compare
"""

import pathlib
from typing import Any

import numpy as np
from PIL import Image

ANSWERS = pathlib.Path(__file__).parent.parent / "fixtures" / "torchvision_transforms.npz"
KINDS = ("picture", "grey", "bytes", "floats")
START = [[0, 0], [10, 0], [10, 7], [0, 7]]
END = [[2, 1], [9, 2], [8, 7], [1, 6]]


def pixels() -> np.ndarray:
    """A smooth colourful picture (8, 11, 3)."""
    y, x = np.mgrid[:8, :11]
    waves = [np.sin(x / 3 + y / 2), np.cos(x / 4 - y / 3), np.sin(x * y / 20)]
    return np.stack([np.round(127 + 110 * wave) for wave in waves], -1).astype(np.uint8)


def moves() -> np.ndarray:
    """A field of displacements (1, 8, 11, 2)."""
    y, x = np.mgrid[:8, :11]
    return (np.stack([np.sin(x + y), np.cos(2 * x - y)], -1)[None] * 0.1).astype(np.float32)


def inputs(tensor: Any) -> dict[str, Any]:
    """The picture in each of KINDS; `tensor` makes a tensor of an array."""
    planes = np.ascontiguousarray(pixels().transpose(2, 0, 1))
    made = (Image.fromarray(pixels()), Image.fromarray(pixels()[..., 0]), tensor(planes),
            tensor(planes.astype(np.float32) / np.float32(255)))  # fmt: skip
    return dict(zip(KINDS, made, strict=True))


def cases(F: Any, mode: Any, tensor: Any) -> dict[str, Any]:
    """Name -> function of (input, kind). `F`: the functional module, `mode`: its interpolation for a name."""
    found = {
        "hflip": lambda x, kind: F.hflip(x), "vflip": lambda x, kind: F.vflip(x),
        "crop": lambda x, kind: F.crop(x, -2, 5, 7, 9), "center_crop": lambda x, kind: F.center_crop(x, (11, 4)),
        "resized_crop": lambda x, kind: F.resized_crop(x, 1, 2, 5, 6, (4, 9)),
        "rotate_center": lambda x, kind: F.rotate(x, 30.0, center=[4, 6]),
        "affine_center": lambda x, kind: F.affine(x, 20.0, [0, 0], 0.7, [0.0, 0.0], center=[2, 3], fill=9),
        "elastic": lambda x, kind: F.elastic_transform(x, tensor(moves())),
        "brightness": lambda x, kind: F.adjust_brightness(x, 1.3),
        "contrast": lambda x, kind: F.adjust_contrast(x, 1.4),
        "saturation": lambda x, kind: F.adjust_saturation(x, 0.3), "hue": lambda x, kind: F.adjust_hue(x, 0.2),
        "hue_back": lambda x, kind: F.adjust_hue(x, -0.4), "sharp": lambda x, kind: F.adjust_sharpness(x, 2.0),
        "soft": lambda x, kind: F.adjust_sharpness(x, 0.3), "invert": lambda x, kind: F.invert(x),
        "grey": lambda x, kind: F.rgb_to_grayscale(x, 3), "grey_one": lambda x, kind: F.rgb_to_grayscale(x),
        "solarize": lambda x, kind: F.solarize(x, 0.5 if kind == "floats" else 128),
        "autocontrast": lambda x, kind: F.autocontrast(x),
        "blur": lambda x, kind: F.gaussian_blur(x, [5, 3], [1.2, 0.7]),
        "blur_default": lambda x, kind: F.gaussian_blur(x, 5), "five_crop": lambda x, kind: F.five_crop(x, (5, 6)),
        "ten_crop": lambda x, kind: F.ten_crop(x, 5), "ten_crop_vertical": lambda x, kind: F.ten_crop(x, 5, True),
        "posterize": lambda x, kind: F.posterize(x, 3), "equalize": lambda x, kind: F.equalize(x),
    }  # fmt: skip
    for name in ("constant", "edge", "reflect", "symmetric"):
        found[f"pad_{name}"] = lambda x, kind, name=name: F.pad(x, [1, 2, 3, 4], 0, name)
    found["pad_fill"] = lambda x, kind: F.pad(x, 2, 7)
    for name in ("nearest", "bilinear", "bicubic"):
        for size in ((5, 7), (13, 17), [6]):
            found[f"resize_{name}_{size[0]}"] = lambda x, kind, name=name, size=size: F.resize(x, size, mode(name))
    found["resize_rough"] = lambda x, kind: F.resize(x, (5, 7), antialias=False)
    for name in ("nearest", "bilinear"):
        for angle, expand, fill in ((17.0, False, None), (90.0, True, None), (-133.0, True, 5), (17.0, False, 5)):
            found[f"rotate_{name}_{angle}_{fill}"] = lambda x, kind, a=angle, n=name, e=expand, f=fill: F.rotate(
                x, a, mode(n), e, fill=f)  # fmt: skip
        found[f"affine_{name}"] = lambda x, kind, n=name: F.affine(x, 20.0, [2, -1], 1.2, [10.0, -5.0], mode(n))
        found[f"perspective_{name}"] = lambda x, kind, n=name: F.perspective(x, START, END, mode(n))
    return found


BYTES_ONLY = ("posterize", "equalize")


def as_array(result: Any) -> np.ndarray:
    if isinstance(result, tuple):
        return np.stack([as_array(part) for part in result])
    return np.asarray(result) if isinstance(result, Image.Image) else result.numpy()


def answers(F: Any, mode: Any, tensor: Any) -> dict[str, np.ndarray]:
    """ "case/kind" -> what comes out."""
    return {
        f"{name}/{kind}": as_array(function(value, kind))
        for name, function in cases(F, mode, tensor).items()
        for kind, value in inputs(tensor).items()
        if kind != "floats" or name not in BYTES_ONLY
    }


if __name__ == "__main__":
    import torch
    from torchvision.transforms import InterpolationMode, functional

    np.savez_compressed(ANSWERS, **answers(functional, InterpolationMode, torch.from_numpy))
