"""Batch norm's statistics in fine-tuning: frozen, those of the batch, or made anew; large and small batches; a shift.

    python examples/evidence/batch_norm.py

First: the pretrained ResNet-20 is fine-tuned on digits as they are, and on faint digits, whose statistics are far from
those of the pretraining; with batches of 2, 8 and 32 pictures, and the same number of pictures in all. Then: a model
trained on digits as they are meets faint ones, and nothing is trained any more; its statistics alone are made anew from
pictures without labels (Li et al. 2017). Some three and a half minutes of processor time.
"""

import statistics
from typing import Any

from common import PREPROCESSING, accuracy, arguments, band, few_digits, pretrained, report, spread, train
from PIL import Image

from minires.data import DataLoader
from minires.finetune import set_batch_norm, strategies
from minires.plots import Panel, Series
from minires.training import reestimate

POLICIES = ("frozen", "batch", "reestimate")


def faint(image: Image.Image) -> Any:
    """A quarter of the contrast, on middle grey."""
    return PREPROCESSING(image.point(lambda value: 96 + value // 4))


DATA = {"as they are": PREPROCESSING, "faint": faint}


def fine_tune(transform: Any, batch: int, per_class: int, steps: int, test: int, seed: int) -> dict[str, float]:
    """Accuracy under each policy after `steps` batches of 32, or as many more as are smaller.

    The rate goes with the root of the batch size, as is usual for Adam. "reestimate" is trained as "batch" is.
    """
    data, pictures = few_digits(per_class, seed, transform, test)
    pictures.transform = transform
    found = {}
    for policy in ("frozen", "batch"):
        model = pretrained(seed)
        strategy, lr = strategies.full(model, bn=policy), 1e-3 * (batch / 32) ** 0.5
        train(model, data, strategy, steps=steps * 32 // batch, lr=lr, batch_size=batch, seed=seed)
        found[policy] = accuracy(model, pictures)
    reestimate(model, DataLoader(data, 100))
    found["reestimate"] = accuracy(model, pictures)
    return found


def adapt(per_class: int, steps: int, test: int, seed: int) -> dict[str, float]:
    """A model trained on digits as they are: its accuracy there and on faint ones, before and after new statistics."""
    data, pictures = few_digits(per_class, seed, test=test)
    model = pretrained(seed)
    train(model, data, strategies.full(model), steps=steps, lr=1e-3, seed=seed)
    found = {"as they are": accuracy(model, pictures)}
    pictures.transform = data.transform = faint
    found["faint"] = accuracy(model, pictures)
    set_batch_norm(model, "batch")
    reestimate(model, DataLoader(data, 100))  # the training pictures, faint; their labels have no say
    found["faint, statistics made anew"] = accuracy(model, pictures)
    pictures.transform = PREPROCESSING
    found["as they are, with the statistics of faint ones"] = accuracy(model, pictures)
    return found


def main() -> None:
    given = arguments(__doc__, seeds=3)
    per_class, steps, test = (4, 1, 20) if given.quick else (20, 50, 600)
    sizes = (8, 32) if given.quick else (2, 8, 32)
    tuned: dict[str, dict[str, list[float]]] = {}
    adapted: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        for kind, transform in DATA.items():
            for size in sizes:
                row = tuned.setdefault(f"{kind}, batches of {size}", {policy: [] for policy in POLICIES})
                for policy, figure in fine_tune(transform, size, per_class, steps, test, seed).items():
                    row[policy].append(figure)
        for name, figure in adapt(per_class, steps, test, seed).items():
            adapted.setdefault(name, []).append(figure)

    about = f"mean ± deviation over {given.seeds} seeds"
    rows = [("digits", *POLICIES), *((name, *map(spread, row.values())) for name, row in tuned.items())]
    more = [("digits", "accuracy"), *((name, spread(values)) for name, values in adapted.items())]
    tables = [(f"Fine-tuned, {per_class} labels a class: accuracy in per cent, {about}", rows),
              (f"Trained on digits as they are, then only the statistics changed: {about}", more)]  # fmt: skip
    panels = []
    for kind in DATA:
        lines = [[tuned[f"{kind}, batches of {size}"][policy] for size in sizes] for policy in POLICIES]
        series = [Series(policy, sizes, [statistics.mean(values) for values in line], [band(values) for values in line])
                  for policy, line in zip(POLICIES, lines, strict=True)]  # fmt: skip
        panels.append(Panel(f"digits {kind}: accuracy, %", "pictures in a batch", series))
    report(given, "batch_norm", tables, panels, {"tuned": tuned, "adapted": adapted})


if __name__ == "__main__":
    main()
