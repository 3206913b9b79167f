"""LoRA, batch norm, biases, SSF: what a hundredth of the parameters is good for, and how small its file is.

    python examples/evidence/few_parameters.py

The pretrained ResNet-20 learns the scanned digits from twenty labels a class, and each way trains another part of it.
The file is what has to be kept for the task beside the one base: the delta, or of full fine-tuning the whole model.
About two minutes of processor time.
"""

import math
import os
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

from common import accuracy, arguments, band, deviation, few_digits, pretrained, report, spread, train

import minires as mr
from minires.finetune import adapters, strategies
from minires.plots import Panel, Series

# How a model is trained, and the highest rate: fewer parameters bear, and need, a larger one.
WAYS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "head only": (strategies.head, 1e-2),
    "biases (BitFit)": (strategies.bitfit, 1e-2),
    "batch norm only": (strategies.batch_norm_only, 1e-2),
    "SSF": (adapters.ssf, 1e-2),
    "LoRA, rank 1": (lambda model: adapters.lora(model, rank=1), 3e-3),
    "LoRA, rank 4": (lambda model: adapters.lora(model, rank=4), 3e-3),
    "parallel 1x1 convolutions": (adapters.parallel, 3e-3),
    "everything": (strategies.full, 1e-3),
}


def learn(way: str, per_class: int, steps: int, test: int, seed: int) -> dict[str, float]:
    """Train in one way; how many parameters that are, the bytes of the file, and the accuracy."""
    make, lr = WAYS[way]
    data, pictures = few_digits(per_class, seed, test=test)
    model = pretrained(seed)
    base = adapters.Base.of(model)
    strategy = make(model)
    train(model, data, strategy, steps=steps, lr=lr, seed=seed)
    counts = adapters.parameter_report(model)["all"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.safetensors")
        if way == "everything":
            mr.save(model, path)
        else:
            adapters.save_delta(model, path, base, classes=data.classes)
        size = os.path.getsize(path)
    return {**counts, "bytes": size, "accuracy": accuracy(model, pictures)}


def main() -> None:
    given = arguments(__doc__, seeds=3)
    per_class, steps, test = (2, 2, 20) if given.quick else (20, 150, 600)
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in range(given.seeds):
        for way in WAYS:
            measured[way].append(learn(way, per_class, steps, test, seed))

    whole = measured["everything"][0]["total"]
    rows: list[tuple[str, ...]] = [("trained", "parameters", "share %", "file kB", "accuracy %")]
    series = []
    for way, runs in measured.items():
        first, figures = runs[0], [run["accuracy"] for run in runs]
        rows.append((way, f"{first['trained']:,}", f"{100 * first['trained'] / whole:.2f}",
                     f"{first['bytes'] / 1000:.0f}", spread(figures)))  # fmt: skip
        place = math.log10(first["trained"])
        height = band(figures) if deviation(figures) else figures  # a line as high as the deviation, up and down
        series.append(Series(f"{way} {statistics.mean(figures):.1f}", [place] * len(height), height))
    panel = Panel("accuracy on test digits, %", "trained parameters: 3 is 1,000, 4 is 10,000", series)
    title = f"{per_class} labels a class; mean ± deviation over {given.seeds} seeds"
    report(given, "few_parameters", [(title, rows)], [panel], measured)


if __name__ == "__main__":
    main()
