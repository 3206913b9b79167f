"""CUDA graphs: a sequence of launches is captured once and replayed in one call. Thin over CuPy's stream capture.

What is captured must not wait for the GPU, not read memory of the CPU and always use the same arrays: shapes are
static, values come in by copying into the arrays that were there at the capture. Forward and backward can be captured,
and the steps of SGD, and of Adam and AdamW with capturable=True: each replay makes one, with the settings (the learning
rate among them) of the time of the capture.

None of this has run on a GPU yet: the tests know CuPy's stream capture by its documentation alone.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from minires.backend import array_module, constants_of_graph, device_of, gpu_module, is_capturing, on_device_of
from minires.tensor import Tensor


class CUDAGraph:
    """A captured sequence of launches; `graph` fills it, `replay()` runs it."""

    def __init__(self) -> None:
        self.graph: Any = None
        self.pool: Any = None  # the memory of all arrays made inside: nobody else may have it while the graph lives
        self.constants: list[Any] = []  # arrays that launches read and nobody else holds

    def replay(self) -> None:
        """Run all launches once more, in the present stream. RuntimeError if nothing was captured."""
        if self.graph is None:
            raise RuntimeError("this CUDAGraph holds nothing: capture it first, by `with mr.cuda.graph(g):`")
        self.graph.launch()

    def reset(self) -> None:
        """Forget what was captured, and let go of its memory."""
        self.graph, self.pool, self.constants = None, None, []


class graph:  # noqa: N801 - PyTorch's name
    """`with mr.cuda.graph(g):` what the block launches is captured in g, and not run.

    Run the block's work a few times before, in the usual way: kernels are compiled when they are first used. An error
    in the block leaves g empty. `stream`: the stream to capture in (a new one).
    """

    def __init__(self, cuda_graph: CUDAGraph, *, stream: Any = None) -> None:
        self.cuda_graph, cupy = cuda_graph, gpu_module()
        self.stream = cupy.cuda.Stream(non_blocking=True) if stream is None else stream.stream
        self.blocks = contextlib.ExitStack()

    def __enter__(self) -> None:
        cupy = gpu_module()
        cupy.cuda.Device().synchronize()
        pool = cupy.cuda.MemoryPool()
        self.blocks.enter_context(self.stream)
        self.blocks.enter_context(cupy.cuda.using_allocator(pool.malloc))
        self.cuda_graph.reset()
        self.cuda_graph.pool = pool
        self.stream.begin_capture()

    def __exit__(self, kind: Any, *exception: object) -> None:
        with self.blocks:
            constants = constants_of_graph(self.stream)
            if kind is None:
                self.cuda_graph.graph, self.cuda_graph.constants = self.stream.end_capture(), constants
                return
            self.cuda_graph.reset()
            with contextlib.suppress(Exception):  # the capture is broken; the error that broke it is on its way out
                self.stream.end_capture()


def is_current_stream_capturing() -> bool:
    """Whether launches are captured at present."""
    return is_capturing()


class GraphedCallable:
    """`function` of tensors on a GPU, replayed from a graph where the arguments are as they were at the capture.

    function(*tensors) returns a tensor or a tuple of tensors; within, it may call `backward` (the gradients lie in the
    same arrays each time: do not set them to None outside). The first `warmup` calls run it in the usual way, the next
    one captures it; from then on a call copies its arguments into the captured ones, replays, and returns the captured
    results, which the next call overwrites. Arguments on the CPU, of another shape or type, or a function that cannot
    be captured: the function is called in the usual way, and a RuntimeWarning says why, once for each reason.
    """

    def __init__(self, function: Callable[..., Any], warmup: int = 3) -> None:
        self.function, self.warmup = function, warmup
        self.calls = self.replays = 0
        self.cuda_graph: CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: Any = None
        self.failed = False
        self.reasons: list[str] = []

    def __call__(self, *tensors: Tensor) -> Any:
        with on_device_of(tensors[0].array) if tensors else contextlib.nullcontext():
            return self._on_their_device(tensors)

    def _on_their_device(self, tensors: tuple[Tensor, ...]) -> Any:
        reason = self._obstacle(tensors)
        if reason is not None:
            return self._plainly(tensors, reason)
        self.calls += 1
        if self.calls <= self.warmup:
            return self.function(*tensors)
        if self.cuda_graph is None:
            try:
                self._capture(tensors)
            except RuntimeError as error:
                self.failed = True
                return self._plainly(tensors, f"it cannot be captured: {error}")
        for static, tensor in zip(self.inputs, tensors, strict=True):
            array_module(static.array).copyto(static.array, tensor.array)
        self.cuda_graph.replay()  # type: ignore[union-attr]
        self.replays += 1
        return self.outputs

    def _obstacle(self, tensors: tuple[Tensor, ...]) -> str | None:
        if self.failed:
            return self.reasons[-1]
        for place, tensor in enumerate(tensors):
            if device_of(tensor.array).type != "cuda":
                return f"argument {place} is on the CPU"
            if self.cuda_graph is not None:
                static = self.inputs[place]
                if tensor.device != static.device:
                    return f"argument {place} is on {tensor.device}, the captured one on {static.device}"
                if (tensor.shape, tensor.dtype) != (static.shape, static.dtype):
                    return (f"argument {place} is {tensor.dtype} of shape {tensor.shape}, the captured one "
                            f"{static.dtype} of shape {static.shape}")  # fmt: skip
        return None

    def _plainly(self, tensors: tuple[Tensor, ...], reason: str) -> Any:
        if reason not in self.reasons:
            self.reasons.append(reason)
            warnings.warn(f"no CUDA graph is replayed: {reason}", RuntimeWarning, stacklevel=4)
        return self.function(*tensors)

    def _capture(self, tensors: tuple[Tensor, ...]) -> None:
        inputs = tuple(Tensor(tensor.array.copy(), requires_grad=tensor.requires_grad) for tensor in tensors)
        captured = CUDAGraph()
        with graph(captured):
            outputs = self.function(*inputs)
        self.inputs, self.outputs, self.cuda_graph = inputs, outputs, captured
