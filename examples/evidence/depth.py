"""Plain networks get worse with depth, residual ones do not (He et al. 2016, figure 6).

    python examples/evidence/depth.py

Networks of 20 and 56 layers, with and without shortcuts and otherwise the same, learn the scanned digits at their own
8 x 8 pixels: same pictures in the same order, same number of steps. What counts is the training error: a deeper
network that fits its own training pictures worse has not been overfitted, it has not been trained. Two rates, so that
it is not the rate that decides. About four minutes of processor time.
"""

import statistics

import numpy as np
from common import arguments, band, report, spread

import minires as mr
from minires import nn, optim
from minires.data import DataLoader, Preprocessing, load_digits
from minires.plots import Panel, Series
from minires.training import Trainer

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")
RATES = (0.1, 0.02)  # the highest of the one cycle
PREPROCESSING = Preprocessing(resize=None, crop=None, mean=(0.5,) * 3, std=(0.25,) * 3)
FIGURES = {"train": "accuracy", "test": "val_accuracy"}


def errors(name: str, lr: float, seed: int, samples: int, epochs: int) -> dict[str, list[float]]:
    """Training and test error in per cent after each epoch; the training error is the mean over the epoch's batches."""
    digits = load_digits(PREPROCESSING)
    order = np.random.default_rng(seed).permutation(len(digits))
    train, test = digits.take(order[450 : 450 + samples]), digits.take(order[:450])
    loader = DataLoader(train, 64, shuffle=True, drop_last=True, seed=seed)
    mr.manual_seed(seed)
    model = mr.create(name, num_classes=10)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=epochs * len(loader))
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), scheduler=schedule, schedule_per="step",
                      metrics=["accuracy"], seed=seed, progress=False)  # fmt: skip
    rows = trainer.fit(loader, DataLoader(test, 225), epochs=epochs).rows
    return {key: [100 * (1 - row[column]) for row in rows] for key, column in FIGURES.items()}


def main() -> None:
    given = arguments(__doc__, seeds=3)
    samples, epochs = (64, 1) if given.quick else (1347, 8)
    measured: dict[float, dict[str, list[dict[str, list[float]]]]]
    measured = {rate: {name: [] for name in NETWORKS} for rate in RATES}
    for seed in range(given.seeds):
        for rate, networks in measured.items():
            for name, runs in networks.items():
                runs.append(errors(name, rate, seed, samples, epochs))
                print(f"seed {seed}  rate {rate}  {name:<9} training error {runs[-1]['train'][-1]:.1f} %", flush=True)

    tables = []
    for rate, networks in measured.items():
        rows = [("network", "training error %", "test error %")]
        rows += [
            (name, *(spread([run[key][-1] for run in runs]) for key in FIGURES)) for name, runs in networks.items()
        ]
        title = f"Rate {rate}, after {epochs} epochs over {samples} digits, mean ± deviation over {given.seeds} seeds"
        tables.append((title, rows))
    panels = [curves(f"rate {rate}: training error, %", networks) for rate, networks in measured.items()]
    report(given, "depth", tables, panels, measured)


def curves(title: str, networks: dict[str, list[dict[str, list[float]]]]) -> Panel:
    """The training error by epoch: a line a network, and a band as wide as the seeds differ."""
    series = []
    for name, runs in networks.items():
        by_epoch = list(zip(*(run["train"] for run in runs), strict=True))
        means, bands = [statistics.mean(values) for values in by_epoch], [band(values) for values in by_epoch]
        series.append(Series(name, range(1, len(means) + 1), means, bands))
    return Panel(title, "epoch", series)


if __name__ == "__main__":
    main()
