"""`minires gradcheck`: on this machine, do the derivatives of all operations agree with finite differences?"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minires import models, nn, ops
from minires.cli import output
from minires.cli.options import Parser, add_common, nearest
from minires.errors import UsageError
from minires.gradcheck import Report, Settings, examine
from minires.models.preact_resnet import PreActBottleneck
from minires.models.resnet import BasicBlock, Bottleneck
from minires.models.se_resnet import SEBottleneck
from minires.ops.table import TABLE, Entry
from minires.random import address, philox
from minires.tensor import Tensor

EXAMPLES = """  minires gradcheck                     everything, in less than a minute
  minires gradcheck --only conv2d       one operation or layer
  minires gradcheck --json > checks.json"""

DRAWS = 10  # random inputs an operation is tried on
LARGE = Settings(max_entries=8, directions=4)  # for whole networks: few directions, each of which sees every entry


def images(*shape: int) -> Tensor:
    """Random pictures that require a gradient."""
    return Tensor(philox(0, "gradcheck images", *shape[:3]).standard_normal(shape), requires_grad=True)


def learning_step() -> tuple[Callable[..., Any], list[Tensor]]:
    """A ResNet-20 in training with its loss: the gradients that one step of the optimizer uses."""
    model = models.resnet20(num_classes=3).double().train()
    labels = Tensor(np.array([0, 2, 1]))

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return ops.cross_entropy(self.model(x), labels)

    return Step(), [images(3, 3, 8, 8)]


Case = Callable[[], tuple[Callable[..., Any], list[Tensor]]]

LAYERS: dict[str, Case] = {
    "Linear": lambda: (nn.Linear(4, 3).double(), [images(5, 4)]),
    "Conv2d": lambda: (nn.Conv2d(4, 6, 3, 2, padding=1, groups=2).double(), [images(2, 4, 5, 4)]),
    "BatchNorm1d": lambda: (nn.BatchNorm1d(3).double(), [images(4, 3, 2)]),
    "BatchNorm2d": lambda: (nn.BatchNorm2d(3).double(), [images(2, 3, 3, 2)]),
    "BatchNorm2d (eval)": lambda: (nn.BatchNorm2d(3).double().eval(), [images(2, 3, 3, 2)]),
    "BatchNorm2d (frozen)": lambda: (nn.BatchNorm2d(3).double().freeze_statistics(), [images(2, 3, 3, 2)]),
    "GroupNorm": lambda: (nn.GroupNorm(2, 4).double(), [images(2, 4, 3, 2)]),
    "StdConv2d": lambda: (nn.StdConv2d(4, 6, 3, 2, padding=1, groups=2).double(), [images(2, 4, 5, 4)]),
    "MaxPool2d": lambda: (nn.MaxPool2d(3, 2, 1), [images(2, 2, 5, 5)]),
    "AdaptiveAvgPool2d": lambda: (nn.AdaptiveAvgPool2d((2, 1)), [images(2, 2, 5, 3)]),
    "Sequential": lambda: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), [images(3, 3)]),
    "BasicBlock": lambda: (BasicBlock(3, 3).double(), [images(2, 3, 4, 4)]),
    "BasicBlock (stride 2)": lambda: (
        BasicBlock(3, 4, 2, nn.Sequential(nn.Conv2d(3, 4, 1, 2, bias=False), nn.BatchNorm2d(4))).double(),
        [images(2, 3, 4, 4)],
    ),
    "Bottleneck": lambda: (Bottleneck(8, 2).double(), [images(2, 8, 3, 3)]),
    "SEBottleneck": lambda: (SEBottleneck(8, 2).double(), [images(2, 8, 3, 3)]),
    "PreActBottleneck": lambda: (
        PreActBottleneck(3, 2, 2, nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d).double(), [images(3, 3, 4, 4)],
    ),
    "ResNet-20 step": learning_step,
}  # fmt: skip


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 1 if a derivative is wrong."""
    parser = Parser(
        name,
        "Compare the gradients of every operation, layer and block, and of a ResNet-20's training step, with central\n"
        "differences in float64. One line each: its name, ok or FAILED, and the largest error.",
        EXAMPLES,
    )
    parser.add_argument("--only", metavar="NAME", help="check this operation, layer or block alone")
    add_common(parser)
    given = parser.read(words)
    found = {}
    width = max(len(label) for label in labels())
    for label, report in check(given.get("only")):
        found[label] = report
        if not given.get("json"):
            output.result(describe(label, report, width))
    failed = [label for label, report in found.items() if report.problem]
    if given.get("json"):
        output.result_json({"ok": not failed, "failed": failed, "checks": [
            {"name": label, "ok": not report.problem, "largest_error": report.largest_error,
             "compared": report.compared, "problem": report.problem} for label, report in found.items()
        ]})  # fmt: skip
    else:
        output.result(summary(found, failed))
    return 1 if failed else 0


def labels() -> list[str]:
    """Everything that can be checked."""
    return [*(entry.label for entry in TABLE), *LAYERS]


def check(only: str | None = None) -> Iterator[tuple[str, Report]]:
    """(name, report) of each check, as it is done. UsageError if `only` names nothing."""
    wanted = [label for label in labels() if only is None or only in (label, label.partition(" (")[0])]
    if not wanted:
        names = sorted({label.partition(" (")[0] for label in labels()})
        raise UsageError(f"--only: nothing is called {only!r}{nearest(only or '', names)}", code="usage.value",
                         hint="minires gradcheck prints all names")  # fmt: skip
    operations = {entry.label: entry for entry in TABLE}
    for label in wanted:
        try:
            yield label, of_operation(operations[label]) if label in operations else of_layer(label)
        except Exception as error:  # an operation that does not even run has failed its check
            yield label, Report(problem=f"{type(error).__name__}: {output.one_line(error)}")


def of_operation(entry: Entry) -> Report:
    """One operation on several random inputs: what was found, put together."""
    total = Report()
    for seed in range(DRAWS):
        function, inputs = entry.case(seed)
        report = examine(function, inputs, seed=seed)
        total.compared += report.compared
        total.largest_error = max(total.largest_error, report.largest_error)
        total.problem = total.problem or report.problem
    return total


def of_layer(label: str) -> Report:
    """One layer, block or network with random weights and statistics."""
    with address(0, "gradcheck weights"):
        function, inputs = LAYERS[label]()
    random = philox(1, "gradcheck statistics")
    if isinstance(function, nn.Module):
        for buffer in function.buffers():
            if buffer.dtype.kind == "f":
                buffer.array[...] = random.uniform(0.5, 2, buffer.shape)
    return examine(function, inputs, LARGE if "ResNet" in label else Settings())


def describe(label: str, report: Report, width: int) -> str:
    """One line; below it, where it went wrong."""
    line = f"{label:<{width}}  {'FAILED' if report.problem else 'ok':<6}  largest error {report.largest_error:.1e}"
    indented = "".join(f"\n    {problem}" for problem in (report.problem or "").splitlines())
    return line + indented


def summary(found: dict[str, Report], failed: Sequence[str]) -> str:
    """The last line."""
    numbers = sum(report.compared for report in found.values())
    if failed:
        return f"{len(failed)} of {len(found)} checks FAILED: {', '.join(failed)}"
    return f"all {len(found)} checks passed, {numbers} derivatives compared"
