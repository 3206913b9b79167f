"""New classes for a trained model, and what becomes of the old ones: digits 0 to 4 first, then 5 to 9 alone.

    python examples/continual.py                    about half a minute on two cores
    python examples/continual.py --epochs 10 --seed 1

One model learns to tell 0 to 4. Then it is trained further on pictures of 5 to 9, in four ways: as they come (naive),
with a few of the first pictures mixed in (rehearsal), held to what it said before (LwF, without any old picture), and
both. The table shows accuracy among all ten digits on test pictures of the first and of the second half, and the old
half's once more among 0 to 4 alone; a figure shows the same. Needs scikit-learn, which the digits come with.
"""

import argparse
import os
import tempfile
import time
from typing import Any

from PIL import Image

from minires.data import load_digits
from minires.finetune import Result, finetune
from minires.io import files
from minires.plots import Panel, Series, draw

WAYS: dict[str, dict[str, Any]] = {
    "naive": {"rehearsal": 0},
    "rehearsal, 20 a class": {"rehearsal": 20},
    "LwF": {"rehearsal": 0, "distill": 2.0},
    "rehearsal and LwF": {"rehearsal": 20, "distill": 2.0},
}


def write_digits(root: str) -> None:
    """root/first/0 ... root/first/4 and root/second/5 ... root/second/9, a PNG file a picture."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.targets, strict=True)):
        folder = os.path.join(root, "first" if label < 5 else "second", str(label))
        os.makedirs(folder, exist_ok=True)
        Image.fromarray(pixels).save(os.path.join(folder, f"{number:04d}.png"))


def row(title: str, result: Result) -> str:
    """One line of the table."""
    old, new = result.old_task, result.after["top1"]
    assert old is not None
    figures = (old["after"], new, (old["after"] + new) / 2, old["after_among_old"])
    return f"{title:<24}" + "".join(f"{figure:>10.3f}" for figure in figures)


def figure(results: dict[str, Result]) -> str:
    """An SVG picture with a line for each way: what became of the old half, and how well the new one was learned."""
    lines = []
    for title, result in results.items():
        old = result.old_task
        assert old is not None
        lines.append(Series(title, [1, 2, 3], [old["before"], old["after"], result.after["top1"]]))
    places = "1: old half before, 2: old half after, 3: new half"
    return draw([Panel("test pictures that are right", places, lines, percent=True)], width=620).svg()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6, help="of each training (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--output", default="continual.svg", help="the figure (default: continual.svg)")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        write_digits(root)
        usual: dict[str, Any] = {"epochs": given.epochs, "seed": given.seed, "hflip": 0, "patience": 0}
        first = os.path.join(root, "runs", "first")
        start = finetune(data=os.path.join(root, "first"), output=first, img_size=16, **usual)
        print(f"0 to 4 are told apart: {start.after['top1']:.3f} of {start.after['samples']} test pictures", flush=True)
        print(f"\n{'then 5 to 9':<24}{'old':>10}{'new':>10}{'mean':>10}{'old alone':>10}")
        results = {}
        for number, (title, more) in enumerate(WAYS.items()):
            results[title] = finetune(
                from_run=first, data=os.path.join(root, "second"), output=os.path.join(root, "runs", str(number)),
                img_size=16, **usual, **more,
            )  # fmt: skip
            print(row(title, results[title]), flush=True)
    files.write_atomic(given.output, figure(results))
    print(f"\n{given.output}; {time.monotonic() - began:.0f} seconds")


if __name__ == "__main__":
    main()
