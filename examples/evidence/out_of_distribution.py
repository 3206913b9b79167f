"""Head only, full, or the head first and then everything, on pictures like the training's and on others.

    python examples/evidence/out_of_distribution.py

Kumar et al. 2022 ("Fine-tuning can distort pretrained features and underperform out-of-distribution"): where the
pretrained features are good, full fine-tuning wins on pictures like those of the training and may lose on others, since
it bends the features for what it sees. Here the training sees digits as they are, light on dark; then they are turned,
drawn with a fat pen, blurred, covered with noise, dark on light, and crossed by a grey bar.
About a minute of processor time.
"""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from common import PREPROCESSING, accuracy, arguments, band, few_digits, pretrained, report, spread, train
from PIL import Image, ImageChops, ImageFilter

from minires.finetune import strategies
from minires.plots import Panel, Series
from minires.random import philox


def _noise(image: Image.Image) -> Image.Image:
    """Grey noise, which depends on the picture alone."""
    pixels = np.asarray(image, np.float64)
    noise = 60 * philox(int(pixels.sum()), "noise").standard_normal(pixels.shape)
    return Image.fromarray(np.rint(np.clip(pixels + noise, 0, 255)).astype(np.uint8))


def _hidden(image: Image.Image) -> Image.Image:
    """A grey bar over the middle."""
    covered = image.copy()
    covered.paste(128, (0, 14, 32, 19))
    return covered


SHIFTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by 25 degrees": lambda image: image.rotate(25, Image.Resampling.BILINEAR),
    "fat pen": lambda image: image.filter(ImageFilter.MaxFilter(5)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2.5)),
    "noise": _noise,
    "dark on light": ImageChops.invert,
    "bar across": _hidden,
}  # fmt: skip


def shifted(shift: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Any]:
    """The picture at 32 x 32, shifted, and then prepared as any other."""
    return lambda image: PREPROCESSING(shift(image.resize((32, 32), Image.Resampling.BILINEAR)))


def head(model: Any, data: Any, steps: int, seed: int) -> None:
    """A linear probe."""
    train(model, data, strategies.head(model), steps=steps, lr=1e-2, seed=seed)


def full(model: Any, data: Any, steps: int, seed: int) -> None:
    """Everything from the first step on."""
    train(model, data, strategies.full(model), steps=steps, lr=1e-3, seed=seed)


def lp_ft(model: Any, data: Any, steps: int, seed: int) -> None:
    """As strategies.lp_ft, with a rate for each half."""
    head(model, data, steps // 2, seed)
    full(model, data, steps // 2, seed)


def lp_ft_frozen(model: Any, data: Any, steps: int, seed: int) -> None:
    """The same, and batch norm keeps its pretrained statistics."""
    head(model, data, steps // 2, seed)
    train(model, data, strategies.full(model, bn="frozen"), steps=steps // 2, lr=1e-3, seed=seed)


WAYS = {"head only": head, "full": full, "LP-FT": lp_ft, "LP-FT, frozen statistics": lp_ft_frozen}


def main() -> None:
    given = arguments(__doc__, seeds=3)
    per_class, steps, test = (2, 2, 20) if given.quick else (20, 150, 600)
    measured: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for seed in range(given.seeds):
        for way, how in WAYS.items():
            data, pictures = few_digits(per_class, seed, test=test)
            model = pretrained(seed)
            how(model, data, steps, seed)
            measured[way].setdefault("as trained", []).append(accuracy(model, pictures))
            for name, shift in SHIFTS.items():
                pictures.transform = shifted(shift)
                measured[way].setdefault(name, []).append(accuracy(model, pictures))
    for row in measured.values():
        of_seeds = zip(*(row[name] for name in SHIFTS), strict=True)
        row["mean of the shifts"] = [statistics.mean(values) for values in of_seeds]

    kinds = ["as trained", "mean of the shifts", *SHIFTS]
    rows = [("test digits", *WAYS)]
    rows += [(kind, *(spread(measured[way][kind]) for way in WAYS)) for kind in kinds]
    series = []
    for way, row in measured.items():
        lines = [row[kind] for kind in ("as trained", *SHIFTS)]
        series.append(Series(way, range(len(lines)), [statistics.mean(line) for line in lines], list(map(band, lines))))
    label = "0 as trained; " + ", ".join(f"{place} {name.split(' by')[0]}" for place, name in enumerate(SHIFTS, 1))
    title = f"Accuracy in per cent after {per_class} labels a class, mean ± deviation over {given.seeds} seeds"
    report(given, "out_of_distribution", [(title, rows)], [Panel("accuracy, %", label, series)], measured)


if __name__ == "__main__":
    main()
