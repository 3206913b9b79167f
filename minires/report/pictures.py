"""Arrays as pictures inside a page: normalised tensors made visible, maps laid over them, matrices as colours."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from minires.report.markup import Html, tag

LARGEST = 160  # longest side of a picture in the page; larger ones are made smaller
SMALL = 64  # pictures up to this side are kept exactly (PNG), larger ones as JPEG
LEVELS = 16  # colours of a matrix: few, so that thousands of classes take little room
HOT = np.array([230.0, 30.0, 20.0])  # the colour of what matters


def visible(values: Any, preprocessing: Any) -> np.ndarray:
    """A normalised picture (C, H, W) as uint8 (H, W, 3): the preprocessing's last steps undone."""
    pixels = np.asarray(values, np.float64)
    mean, std = (np.array(each)[:, None, None] for each in (preprocessing.mean, preprocessing.std))
    pixels = pixels * std + mean
    pixels = pixels if preprocessing.scale == "0..255" else pixels * 255
    pixels = pixels[::-1] if preprocessing.channel_order == "BGR" else pixels
    pixels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels[:3]
    return np.rint(pixels.clip(0, 255)).astype(np.uint8).transpose(1, 2, 0)


def heated(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3), greyer and darker, with a map (H, W) of 0 to 1 over it in red."""
    grey = pixels.mean(axis=2, keepdims=True) * 0.8
    share = 0.75 * heat[:, :, None]
    return np.rint(grey * (1 - share) + HOT * share).astype(np.uint8)


def picture(pixels: np.ndarray, title: str, side: int = LARGEST) -> Html:
    """An <img> that holds the picture (H, W, 3) itself, `side` pixels long on the page."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(image.size)
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    if longest > side:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if longest <= SMALL:
        image.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(stream, "JPEG", quality=80)
        kind = "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    crisp = "crisp" if longest <= SMALL else None
    return tag("img", src=source, alt=title, title=title, width=width, height=height, class_=crisp)


def matrix_picture(shares: np.ndarray, title: str) -> Html:
    """A matrix of 0 to 1 as a picture, a pixel each: white for 0, blue for 1, in LEVELS steps."""
    steps = np.linspace(0, 1, LEVELS)[:, None]
    colours = np.rint(255 * (1 - steps) + np.array([0, 90, 160]) * steps).astype(np.uint8)
    image = Image.fromarray(np.rint((LEVELS - 1) * np.sqrt(shares.clip(0, 1))).astype(np.uint8))
    image.putpalette(colours.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return tag("img", src=source, alt=title, title=title, width=512, height=512, class_="crisp")
