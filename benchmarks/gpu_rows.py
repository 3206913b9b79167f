"""The rows of benchmarks/gpu.py: what is measured, on both sides, with the bytes and operations it must cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires as mr
from minires import kernels

Sides = dict[str, Callable[[], Any]]
TYPES = ("bfloat16", "tf32", "float16")
NUMBERS = np.random.default_rng(0).standard_normal(1 << 18, np.float32)  # long arrays repeat them

# ResNet-50 at 224: input side, channels, outputs, window, stride
CONVOLUTIONS = [
    (224, 3, 64, 7, 2), (56, 64, 64, 1, 1), (56, 64, 64, 3, 1), (56, 64, 256, 1, 1), (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1), (56, 128, 128, 3, 2), (28, 128, 512, 1, 1), (56, 256, 512, 1, 2), (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1), (28, 512, 256, 1, 1), (28, 256, 256, 3, 2), (14, 256, 1024, 1, 1), (28, 512, 1024, 1, 2),
    (14, 1024, 256, 1, 1), (14, 256, 256, 3, 1), (14, 1024, 512, 1, 1), (14, 512, 512, 3, 2), (7, 512, 2048, 1, 1),
    (14, 1024, 2048, 1, 2), (7, 2048, 512, 1, 1), (7, 512, 512, 3, 1),
]  # fmt: skip


@dataclass
class Row:
    """One row: `sides(torch)` gives what is called, "minires" first. 0: not known, or of no interest."""

    name: str
    sides: "Callable[[Torch], Sides]"
    bytes: float = 0
    flops: float = 0
    pictures: int = 0
    type: str = "bfloat16"  # what is multiplied: the matrix rate of this type is the limit


class Torch:
    """PyTorch on one device. In a dry run that is the CPU, and `compile` only traces."""

    def __init__(self, device: str, dry: bool) -> None:
        import torch

        self.torch, self.device, self.dry, self.version = torch, device, dry, torch.__version__
        torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True

    def random(self, *shape: int, dtype: str = "bfloat16") -> Any:
        """Normal numbers, pictures with channels last."""
        x = self.torch.randn(*shape, device=self.device).to(getattr(self.torch, stored(dtype)))
        return x.contiguous(memory_format=self.torch.channels_last) if len(shape) == 4 else x

    def release(self) -> None:
        """Give freed memory back to the driver: the other side needs it."""
        if not self.dry:
            self.torch.cuda.empty_cache()

    def compile(self, function: Any) -> Any:
        """torch.compile."""
        return self.torch.compile(function, backend="eager" if self.dry else "inductor")


def stored(dtype: str) -> str:
    """The type of the arrays: tf32 is a way to multiply float32."""
    return "float32" if dtype == "tf32" else dtype


def ours(*shape: int, dtype: str = "bfloat16") -> mr.Tensor:
    """Normal numbers on the GPU, pictures with channels last."""
    inner = (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
    found = mr.Tensor(np.resize(NUMBERS, inner)).cuda().to(stored(dtype))
    return found.permute(0, 3, 1, 2) if len(shape) == 4 else found


# ------------------------------------------------------------------------------------------------------ convolutions


def convolution(
    batch: int, side: int, channels: int, outputs: int, window: int, stride: int, dtype: str
) -> Iterator[Row]:  # fmt: skip
    """Forward and both gradients of one layer."""
    padding, out = window // 2, (side + 2 * (window // 2) - window) // stride + 1
    shapes = (batch, channels, side, side), (outputs, channels, window, window), (batch, outputs, out, out)
    geometry = ((stride, stride), (padding, padding), (1, 1), 1)
    sizes = [int(np.prod(shape)) for shape in shapes]
    flops = 2 * sizes[2] * channels * window * window
    label = f"{channels}->{outputs} {window}x{window}/{stride} at {side}"

    def sides(which: int) -> Callable[[Torch], Sides]:
        def make(torch: Torch) -> Sides:
            x, w, g = (ours(*shape, dtype=dtype).array for shape in shapes)
            tx, tw, tg = (torch.random(*shape, dtype=dtype) for shape in shapes)
            mine = [
                lambda: kernels.conv2d_forward(x, w, None, *geometry),
                lambda: kernels.conv2d_input_gradient(g, w, shapes[0], *geometry),
                lambda: kernels.conv2d_weight_gradient(g, x, shapes[1], *geometry),
            ]
            conv = torch.torch.nn.functional.conv2d
            back = torch.torch.ops.aten.convolution_backward
            mask = [which == 1, which == 2, False]
            steps, pads = [stride] * 2, [padding] * 2
            theirs = (lambda: conv(tx, tw, None, stride, padding)) if which == 0 else (
                lambda: back(tg, tx, tw, None, steps, pads, [1, 1], False, [0, 0], 1, mask))  # fmt: skip
            return {"minires": mine[which], "cuDNN": theirs}

        return make

    for which, name in enumerate(("forward", "input gradient", "weight gradient")):
        if which == 1 and channels == 3:
            continue  # nobody wants the pictures' gradient
        width = 4 if dtype == "tf32" else 2
        yield Row(f"conv {dtype} {label} {name}", sides(which), width * sum(sizes), flops, type=dtype)


# -------------------------------------------------------------------------------------------------- fused operations


def batch_norms(batch: int, channels: int, side: int) -> Iterator[Row]:
    """Batch norm, residual sum and ReLU: forward, and forward with backward."""
    shape = (batch, channels, side, side)
    size = 2 * int(np.prod(shape))

    def make(torch: Torch, backward: bool) -> Sides:
        x, residual = ours(*shape).array, ours(*shape).array
        weight, bias = ours(channels, dtype="float32").array, ours(channels, dtype="float32").array
        y, mean, _, inverse = kernels.batch_norm_training_forward(x, weight, bias, 1e-5, residual, True)
        tx, tr = torch.random(*shape), torch.random(*shape)
        norm = torch.torch.nn.BatchNorm2d(channels).to(torch.device)
        grad = torch.random(*shape)

        def eager(x: Any, residual: Any) -> Any:
            return torch.torch.relu(norm(x) + residual)

        if not backward:
            mine = lambda: kernels.batch_norm_training_forward(x, weight, bias, 1e-5, residual, True)  # noqa: E731
            compiled = torch.compile(eager)
            return {"minires": mine, "eager": lambda: eager(tx, tr), "compiled": lambda: compiled(tx, tr)}
        tx.requires_grad_()
        tr.requires_grad_()

        def gradients(function: Any) -> Callable[[], Any]:
            out = function(tx, tr)
            wanted = [tx, tr, norm.weight, norm.bias]
            return lambda: torch.torch.autograd.grad(out, wanted, grad.to(out.dtype), retain_graph=True)

        mine = lambda: kernels.batch_norm_training_backward(residual, x, weight, mean, inverse, y)  # noqa: E731
        return {"minires": mine, "eager": gradients(eager), "compiled": gradients(torch.compile(eager))}

    yield Row(f"bn+add+relu {shape} forward", lambda torch: make(torch, False), bytes=4 * size)
    yield Row(f"bn+add+relu {shape} backward", lambda torch: make(torch, True), bytes=8 * size)


def cross_entropy(rows: int, columns: int) -> Row:
    """Softmax, cross entropy and the gradient, in float32."""

    def make(torch: Torch) -> Sides:
        x, target = ours(rows, columns, dtype="float32").array, mr.tensor(np.arange(rows) % columns).cuda().array
        ones = mr.ones(rows, device="cuda").array
        tx = torch.random(rows, columns, dtype="float32").requires_grad_()
        labels = torch.torch.arange(rows, device=torch.device) % columns

        def mine() -> Any:
            _, logs = kernels.cross_entropy_forward(x, target, None, -100, 0.1)
            return kernels.cross_entropy_backward(ones, logs, target, None, -100, 0.1)

        def eager(x: Any) -> Any:
            return torch.torch.nn.functional.cross_entropy(x, labels, label_smoothing=0.1)

        compiled = torch.compile(eager)
        return {"minires": mine, "eager": lambda: torch.torch.autograd.grad(eager(tx), tx),
                "compiled": lambda: torch.torch.autograd.grad(compiled(tx), tx)}  # fmt: skip

    return Row(f"softmax-CE {rows} x {columns}", make, bytes=4 * 2 * rows * columns)


def optimizer(name: str, count: int, length: int) -> Row:
    """One step over `count` parameters of `length` numbers; PyTorch's foreach and fused forms."""

    def make(torch: Torch) -> Sides:
        settings = {"lr": 1e-3, "weight_decay": 1e-4, **({"momentum": 0.9} if name == "SGD" else {})}
        parameters = [mr.nn.Parameter(mr.zeros(length, device="cuda")) for _ in range(count)]
        for parameter in parameters:
            parameter.grad = mr.ones(length, device="cuda")
        sides: Sides = {"minires": getattr(mr.optim, name)(parameters, **settings).step}
        for way in ("foreach", "fused"):
            theirs = [torch.torch.zeros(length, device=torch.device, requires_grad=True) for _ in range(count)]
            for parameter in theirs:
                parameter.grad = torch.torch.ones_like(parameter)
            sides[way] = getattr(torch.torch.optim, name)(theirs, **settings, **{way: True}).step
        return sides

    return Row(f"{name} {count} x {length}", make, bytes=count * length * (20 if name == "SGD" else 28))


# ------------------------------------------------------------------------------------------------------------ models


def tiny(library: Any) -> Any:
    """What stands for a ResNet in a dry run."""
    nn = library.nn
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 1000))  # fmt: skip


def network(name: str, torch: Torch | None = None) -> Any:
    """minires' model, or the same one of the test suite in PyTorch."""
    if name == "tiny":
        return tiny(mr if torch is None else torch.torch)
    if torch is None:
        return mr.models.create(name)
    from tests import torch_resnet

    return torch_resnet.TorchResNet(*torch_resnet.LAYERS[name])


def model(name: str, batch: int, side: int, training: bool, dtype: str) -> Row:
    """Pictures through a whole network, or a whole training step: in mixed precision, or float32 with tf32.

    "graph": ours with forward and backward replayed from a CUDA graph.
    """
    mixed, scaled = dtype != "tf32", dtype == "float16"

    def mine(graph: bool = False) -> Callable[[], Any]:
        found = network(name).cuda().train(training)
        pictures, labels = ours(batch, 3, side, side, dtype="float32"), mr.tensor(np.arange(batch) % 1000).cuda()
        optimizer = mr.optim.SGD(found.parameters(), lr=0.1, momentum=0.9)
        scaler = mr.amp.GradScaler(enabled=scaled)
        block = {"dtype": stored(dtype), "enabled": True} if mixed else {"enabled": False}

        def infer() -> None:
            with mr.no_grad(), mr.amp.autocast("cuda", **block):
                found(pictures)

        def gradients(pictures: Any, labels: Any) -> Any:
            found.zero_grad(set_to_none=not graph)
            with mr.amp.autocast("cuda", **block):
                loss = mr.nn.functional.cross_entropy(found(pictures), labels)
            scaler.scale(loss).backward()
            return loss

        forward_and_backward = mr.cuda.GraphedCallable(gradients) if graph else gradients

        def train() -> None:
            forward_and_backward(pictures, labels)
            scaler.step(optimizer)
            scaler.update()

        return train if training else infer

    def theirs(torch: Torch, compiled: bool) -> Callable[[], Any]:
        t = torch.torch
        found = network(name, torch).to(torch.device, memory_format=t.channels_last).train(training)
        forward = torch.compile(found) if compiled else found
        pictures = torch.random(batch, 3, side, side, dtype="float32")
        labels = t.arange(batch, device=torch.device) % 1000
        optimizer = t.optim.SGD(found.parameters(), lr=0.1, momentum=0.9)
        scaler = t.amp.GradScaler(torch.device, enabled=scaled and not torch.dry)
        half = t.bfloat16 if torch.dry or not mixed else getattr(t, dtype)

        def infer() -> None:
            with t.no_grad(), t.autocast(torch.device, half, enabled=mixed):
                forward(pictures)

        def train() -> None:
            optimizer.zero_grad()
            with t.autocast(torch.device, half, enabled=mixed):
                loss = t.nn.functional.cross_entropy(forward(pictures), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

        return train if training else infer

    def make(torch: Torch) -> Sides:
        graph = {"graph": mine(graph=True)} if training and not scaled else {}
        return {"minires": mine(), **graph, "eager": theirs(torch, False), "compiled": theirs(torch, True)}

    work = "training" if training else "inference"
    return Row(f"{name} {dtype} {work}, batch {batch}", make, pictures=batch, type=dtype)


def rows(dry: bool) -> Iterator[Row]:
    """All rows, the most wanted first; those of a dry run are as many kinds, but tiny."""
    if dry:
        for dtype in TYPES:
            yield model("tiny", 2, 8, True, dtype)
        yield model("tiny", 2, 8, False, "bfloat16")
        yield from batch_norms(2, 8, 3)
        yield cross_entropy(4, 8)
        yield from (optimizer(name, 2, 16) for name in ("SGD", "AdamW"))
        for dtype in TYPES:
            yield from convolution(1, 5, 8, 8, 3, 1, dtype)
        return
    yield from (model("resnet50", 256, 224, training, "bfloat16") for training in (True, False))
    yield from batch_norms(256, 256, 56)
    yield cross_entropy(8192, 1000)
    yield from (optimizer(name, 160, 160_000) for name in ("SGD", "AdamW"))
    for layer in CONVOLUTIONS:
        yield from convolution(128, *layer, "bfloat16")
    for layer in CONVOLUTIONS:
        yield from convolution(64, *layer, "tf32")
    for batch in (32, 64, 128):
        yield from (model("resnet50", batch, 224, training, "bfloat16") for training in (True, False))
    yield from (model("resnet50", 128, 224, True, dtype) for dtype in ("tf32", "float16"))
    for batch in (32, 64, 128, 256):
        yield from (model("resnet18", batch, 224, training, "bfloat16") for training in (True, False))
    for layer in CONVOLUTIONS:
        yield from convolution(128, *layer, "float16")
