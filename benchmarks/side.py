"""One side of a comparison, in a process of its own: `python benchmarks/side.py minires|torch JOB` (see cpu.py).

Reads lines from stdin. For each line it does the job again and again for half a second, and answers with a line of
JSON: the seconds of each time, for each way in which this library can do it, and the peak of its memory so far in
bytes. The first time is not counted: the other library has had the caches, and threads have gone to sleep.
"""

import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable

if __name__ == "__main__" and sys.argv[1] == "minires":
    import minires as mr  # before NumPy, so that it can choose OpenBLAS's kernels

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

LAYERS = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}

Ways = dict[str, Callable[[], object]]


def pictures(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3, size, size) stored channels last, and labels."""
    values = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)
    return values.transpose(0, 3, 1, 2), np.arange(batch) % 10


def minires_ways(model: str, work: str, batch: int, size: int) -> Ways:
    from minires.profiler.bench import make_step

    return {"minires": make_step(mr.models.create(model), (batch, 3, size, size), work)}


def torch_network(model: str) -> object:
    """The network in torch: torchvision's ResNets as the tests have them, and the ResNet for CIFAR-10."""
    import torch
    from torch import nn

    from tests.torch_resnet import Block, TorchResNet

    if model in LAYERS:
        return TorchResNet(*LAYERS[model])

    class Shortcut(nn.Module):
        """Every second place, and channels of zeros on both sides."""

        def __init__(self, more: int) -> None:
            super().__init__()
            self.more = more

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))

    class Cifar(nn.Module):
        """He et al. 2015, section 4.2, with its shortcuts without weights (option A), as minires's resnet20."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            blocks, before = [], 16
            for width in (16, 32, 64):
                for position in range(3):
                    stride = 2 if position == 0 and width > 16 else 1
                    shortcut = None
                    if before != width:
                        shortcut = Shortcut(width - before)
                    blocks.append(Block(before, width, stride, shortcut, False))
                    before = width
            self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(64, 10)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

    return Cifar()


def torch_ways(model: str, work: str, batch: int, size: int) -> Ways:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    images, labels = pictures(batch, size)
    targets = torch.from_numpy(labels)
    formats = {"channels last": torch.channels_last, "default layout": torch.contiguous_format}
    if os.environ.get("SIDE_FORMAT"):
        formats = {name: value for name, value in formats.items() if name == os.environ["SIDE_FORMAT"]}
    ways: Ways = {}
    for name, memory_format in formats.items():
        network = torch_network(model).to(memory_format=memory_format)
        x = torch.from_numpy(images.copy()).contiguous(memory_format=memory_format)
        if work == "inference":
            network.eval()

            def infer(network: object = network, x: object = x) -> object:
                with torch.inference_mode():
                    return network(x)

            ways[name] = infer
            continue
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

        def train(network: object = network, x: object = x, optimizer: object = optimizer) -> object:
            loss = torch.nn.functional.cross_entropy(network(x), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        ways[name] = train
    return ways


def minires_pipeline(folder: str, batch: int) -> Ways:
    from minires.data import DataLoader, ImageFolder
    from minires.data.transforms import preset_train

    dataset = ImageFolder(folder, preset_train(224))
    threads = int(os.environ["OMP_NUM_THREADS"])
    loader = DataLoader(dataset, batch, shuffle=True, num_workers=threads)
    return {"threads": lambda: [images.shape for images, _ in loader]}


def torch_pipeline(folder: str, batch: int) -> Ways:
    from benchmarks.pillow_pipeline import PillowFolder, loader_of

    loader = loader_of(PillowFolder(folder), batch, int(os.environ["OMP_NUM_THREADS"]))
    return {"worker processes": lambda: [images.shape for images, _ in loader]}


def timed(call: Callable[[], object], budget: float = 0.5) -> list[float]:
    """The seconds of as many calls as fit into `budget`, at least one, after one that is not counted."""
    call()
    seconds: list[float] = []
    while sum(seconds) < budget:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    side, work, *rest = sys.argv[1:]
    if work == "pipeline":
        ways = (minires_pipeline if side == "minires" else torch_pipeline)(rest[0], int(rest[1]))
    else:
        ways = (minires_ways if side == "minires" else torch_ways)(rest[0], work, int(rest[1]), int(rest[2]))
    for _ in sys.stdin:
        seconds = {name: timed(call) for name, call in ways.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"seconds": seconds, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
