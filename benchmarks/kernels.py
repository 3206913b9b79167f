"""Times of the fast kernels, and of PyTorch's where it is installed, for the layers of three networks.

    python benchmarks/kernels.py                 # CIFAR ResNet-20, batch 128; ResNet-18 and 50, batch 16
    python benchmarks/kernels.py --network resnet20 --repeats 30 --only conv

The two libraries take turns, so that a change of the machine's speed meets both; the table shows medians in
milliseconds and their ratio, above 1 if minires is faster. On a machine that others use as well, `--processor` with
OMP_NUM_THREADS=1 compares the best processor times of one thread. PyTorch computes on channels-last memory, its faster
layout. Times of a network are the layers' times by how often each occurs. (In training, the widest
convolutions and norms of a ResNet-50's layers 1 and 2 are one operation, which is not timed here: ops/conv1x1_norm.py.)
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minires import kernels
from minires.kernels.cpu import parallel

try:
    import torch
except ImportError:
    torch = None

Timed = Callable[[], object]


class Convolution(NamedTuple):
    """`count` layers of this kind; the first layer of a network needs no gradient of its input."""

    count: int
    inputs: int
    outputs: int
    size: int
    window: int
    stride: int
    is_first: bool = False


class Normalisation(NamedTuple):
    """Batch norm and ReLU, with a residual added or not."""

    count: int
    channels: int
    size: int
    residual: bool


class MaxPooling(NamedTuple):
    count: int
    channels: int
    size: int


NETWORKS = {
    "resnet20": (
        128,
        [
            Convolution(1, 3, 16, 32, 3, 1, True),
            Convolution(6, 16, 16, 32, 3, 1),
            Convolution(1, 16, 32, 32, 3, 2),
            Convolution(1, 16, 32, 32, 1, 2),
            Convolution(5, 32, 32, 16, 3, 1),
            Convolution(1, 32, 64, 16, 3, 2),
            Convolution(1, 32, 64, 16, 1, 2),
            Convolution(5, 64, 64, 8, 3, 1),
            Normalisation(4, 16, 32, False),
            Normalisation(3, 16, 32, True),
            Normalisation(4, 32, 16, False),
            Normalisation(3, 32, 16, True),
            Normalisation(4, 64, 8, False),
            Normalisation(3, 64, 8, True),
        ],
    ),
    "resnet18": (
        16,
        [
            Convolution(1, 3, 64, 224, 7, 2, True),
            Convolution(4, 64, 64, 56, 3, 1),
            Convolution(1, 64, 128, 56, 3, 2),
            Convolution(1, 64, 128, 56, 1, 2),
            Convolution(3, 128, 128, 28, 3, 1),
            Convolution(1, 128, 256, 28, 3, 2),
            Convolution(1, 128, 256, 28, 1, 2),
            Convolution(3, 256, 256, 14, 3, 1),
            Convolution(1, 256, 512, 14, 3, 2),
            Convolution(1, 256, 512, 14, 1, 2),
            Convolution(3, 512, 512, 7, 3, 1),
            Normalisation(1, 64, 112, False),
            Normalisation(2, 64, 56, False),
            Normalisation(2, 64, 56, True),
            Normalisation(2, 128, 28, True),
            Normalisation(2, 256, 14, True),
            Normalisation(2, 512, 7, True),
            MaxPooling(1, 64, 112),
        ],
    ),
    "resnet50": (
        16,
        [
            Convolution(1, 3, 64, 224, 7, 2, True),
            Convolution(1, 64, 64, 56, 1, 1),
            Convolution(2, 256, 64, 56, 1, 1),
            Convolution(3, 64, 64, 56, 3, 1),
            Convolution(4, 64, 256, 56, 1, 1),
            Convolution(1, 256, 128, 56, 1, 1),
            Convolution(1, 128, 128, 56, 3, 2),
            Convolution(3, 512, 128, 28, 1, 1),
            Convolution(3, 128, 128, 28, 3, 1),
            Convolution(4, 128, 512, 28, 1, 1),
            Convolution(1, 256, 512, 56, 1, 2),
            Convolution(1, 512, 256, 28, 1, 1),
            Convolution(1, 256, 256, 28, 3, 2),
            Convolution(5, 1024, 256, 14, 1, 1),
            Convolution(5, 256, 256, 14, 3, 1),
            Convolution(6, 256, 1024, 14, 1, 1),
            Convolution(1, 512, 1024, 28, 1, 2),
            Convolution(1, 1024, 512, 14, 1, 1),
            Convolution(1, 512, 512, 14, 3, 2),
            Convolution(2, 2048, 512, 7, 1, 1),
            Convolution(2, 512, 512, 7, 3, 1),
            Convolution(3, 512, 2048, 7, 1, 1),
            Convolution(1, 1024, 2048, 14, 1, 2),
            Normalisation(1, 64, 112, False),
            Normalisation(6, 64, 56, False),
            Normalisation(3, 256, 56, True),
            Normalisation(1, 128, 56, False),
            Normalisation(7, 128, 28, False),
            Normalisation(4, 512, 28, True),
            Normalisation(1, 256, 28, False),
            Normalisation(11, 256, 14, False),
            Normalisation(6, 1024, 14, True),
            Normalisation(1, 512, 14, False),
            Normalisation(5, 512, 7, False),
            Normalisation(3, 2048, 7, True),
            MaxPooling(1, 64, 112),
        ],
    ),
}


def images(seed: int, *shape: int) -> np.ndarray:
    """Random float32 (N, C, H, W), stored channels last as the framework's activations and weights are."""
    n, c, h, w = shape
    return np.random.default_rng(seed).standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)


def tensor(array: np.ndarray) -> "torch.Tensor":
    copy = torch.from_numpy(array.copy(order="K"))
    return copy.contiguous(memory_format=torch.channels_last) if copy.ndim == 4 else copy


def convolution(layer: Convolution, batch: int) -> dict[str, tuple[Timed, Timed | None]]:
    """Name -> (ours, torch's) for the forward pass and each gradient."""
    settings = ((layer.stride,) * 2, (layer.window // 2,) * 2, (1, 1), 1)
    x = images(1, batch, layer.inputs, layer.size, layer.size)
    weight = images(2, layer.outputs, layer.inputs, layer.window, layer.window)
    grad = kernels.conv2d_forward(x, weight, None, *settings)
    ours = {
        "y": lambda: kernels.conv2d_forward(x, weight, None, *settings),
        "dx": lambda: kernels.conv2d_input_gradient(grad, weight, x.shape, *settings),
        "dw": lambda: kernels.conv2d_weight_gradient(grad, x, weight.shape, *settings),
    }
    theirs: dict[str, Timed] = {}
    if torch is not None:
        tx, tw, tg = tensor(x), tensor(weight), tensor(grad)

        def backward(*mask: bool) -> object:
            geometry = (*settings[:3], False, [0, 0], settings[3])
            return torch.ops.aten.convolution_backward(tg, tx, tw, None, *geometry, [*mask, False])

        theirs = {
            "y": lambda: torch.nn.functional.conv2d(tx, tw, None, *settings),
            "dx": lambda: backward(True, False),
            "dw": lambda: backward(False, True),
        }
    names = [name for name in ours if not (layer.is_first and name == "dx")]
    return {name: (ours[name], theirs.get(name)) for name in names}


def normalisation(layer: Normalisation, batch: int) -> dict[str, tuple[Timed, Timed | None]]:
    shape = (batch, layer.channels, layer.size, layer.size)
    x, grad = images(1, *shape), images(2, *shape)
    residual = images(3, *shape) if layer.residual else None
    weight, bias = np.ones(layer.channels, np.float32), np.zeros(layer.channels, np.float32)
    y, mean, _, inverse_std = kernels.batch_norm_training_forward(x, weight, bias, 1e-5, residual, True)
    ours = {
        "y": lambda: kernels.batch_norm_training_forward(x, weight, bias, 1e-5, residual, True),
        "dx, dw": lambda: kernels.batch_norm_training_backward(grad, x, weight, mean, inverse_std, y),
    }
    theirs: dict[str, Timed] = {}
    if torch is not None:
        tx, tg, tw, tb = (tensor(array) for array in (x, grad, weight, bias))
        tr = tensor(residual) if layer.residual else None
        for leaf in (tx, tw, tb):
            leaf.requires_grad_()

        def forward() -> "torch.Tensor":
            z = torch.nn.functional.batch_norm(tx, None, None, tw, tb, training=True)
            if tr is not None:
                z += tr
            return torch.nn.functional.relu(z, inplace=True)

        result = forward()
        theirs = {
            "y": forward,
            "dx, dw": lambda: torch.autograd.grad(result, (tx, tw, tb), tg, retain_graph=True),
        }
    return {name: (ours[name], theirs.get(name)) for name in ours}


def max_pooling(layer: MaxPooling, batch: int) -> dict[str, tuple[Timed, Timed | None]]:
    settings = ((3, 3), (2, 2), (1, 1), (1, 1))
    x = images(1, batch, layer.channels, layer.size, layer.size)
    y, winner = kernels.max_pool2d_forward(x, *settings, False)
    grad = images(2, *y.shape)
    ours = {
        "y": lambda: kernels.max_pool2d_forward(x, *settings, False),
        "dx": lambda: kernels.max_pool2d_backward(grad, winner, x.shape, *settings),
    }
    theirs: dict[str, Timed] = {}
    if torch is not None:
        tx, tg = tensor(x).requires_grad_(), tensor(grad)
        result = torch.nn.functional.max_pool2d(tx, 3, 2, 1)
        theirs = {
            "y": lambda: torch.nn.functional.max_pool2d(tx, 3, 2, 1),
            "dx": lambda: torch.autograd.grad(result, tx, tg, retain_graph=True),
        }
    return {name: (ours[name], theirs.get(name)) for name in ours}


KINDS = {Convolution: convolution, Normalisation: normalisation, MaxPooling: max_pooling}
SHORT = {Convolution: "conv", Normalisation: "norm", MaxPooling: "pool"}


def title(layer: NamedTuple) -> str:
    match layer:
        case Convolution(_, inputs, outputs, size, window, stride):
            return f"conv {window}x{window} s{stride} {inputs:>3}->{outputs:<3} {size}x{size}"
        case Normalisation(_, channels, size, residual):
            return f"norm+relu{'+add' if residual else '    '} {channels:>3} {size}x{size}"
        case MaxPooling(_, channels, size):
            return f"max pool 3x3 s2 {channels} {size}x{size}"
    raise TypeError(layer)


class Clock(NamedTuple):
    name: str
    seconds: Callable[[], float]
    figure: Callable[[Sequence[float]], float]  # of several measurements


WALL = Clock("median", time.perf_counter, statistics.median)
PROCESSOR = Clock("best processor time", time.process_time, min)


def milliseconds(call: Timed, clock: Clock) -> float:
    start = clock.seconds()
    call()
    return 1000 * (clock.seconds() - start)


def times_of(ours: Timed, theirs: Timed | None, repeats: int, clock: Clock) -> tuple[float, float | None]:
    """The times of both, taken in turn, after one call of each to warm up."""
    calls = [call for call in (ours, theirs) if call is not None]
    for call in calls:
        call()
    times = [[milliseconds(call, clock) for call in calls] for _ in range(repeats)]
    figures = [clock.figure(column) for column in zip(*times, strict=True)]
    return figures[0], figures[1] if theirs is not None else None


def measure(network: str, repeats: int, only: str | None, clock: Clock) -> None:
    batch, layers = NETWORKS[network]
    print(f"\n{network}, batch {batch}, float32, threads: {parallel.blas_threads()}; milliseconds, {clock.name}")
    print(f"{'layer':34} {'of':>3} {'':7} {'minires':>8} {'torch':>8} {'ratio':>6}")
    totals = [0.0, 0.0]
    for layer in layers:
        if only and SHORT[type(layer)] != only:
            continue
        for name, (ours, theirs) in KINDS[type(layer)](layer, batch).items():
            mine, other = times_of(ours, theirs, repeats, clock)
            totals[0] += layer.count * mine
            totals[1] += layer.count * (other or 0)
            line = f"{title(layer):34} {layer.count:>3} {name:7} {mine:8.2f}"
            print(line if other is None else f"{line} {other:8.2f} {other / mine:6.2f}", flush=True)
    line = f"{'all of them':34} {'':3} {'':7} {totals[0]:8.2f}"
    print(line if torch is None else f"{line} {totals[1]:8.2f} {totals[1] / totals[0]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), help="measure this one alone")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each kernel (15)")
    parser.add_argument("--only", choices=sorted(SHORT.values()), help="measure this kind of layer alone")
    parser.add_argument("--processor", action="store_true", help="processor time rather than wall time")
    arguments = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(parallel.blas_threads())
    for network in [arguments.network] if arguments.network else NETWORKS:
        measure(network, arguments.repeats, arguments.only, PROCESSOR if arguments.processor else WALL)


if __name__ == "__main__":
    main()
