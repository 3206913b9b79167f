"""Which GPUs there are, and which one this thread uses."""

import importlib.util
from typing import Any, NamedTuple

from minires import backend
from minires.backend import gpu_module


class Properties(NamedTuple):
    """What `get_device_properties` says of a GPU."""

    name: str
    major: int
    minor: int
    total_memory: int  # bytes
    multi_processor_count: int


def is_available() -> bool:
    """Whether CuPy is installed and finds a GPU. Raises nothing."""
    return device_count() > 0


def device_count() -> int:
    """How many GPUs there are; 0 without CuPy or a driver."""
    try:
        return int(gpu_module().cuda.runtime.getDeviceCount())
    except RuntimeError:  # gpu_module's word for "none"
        return 0


def index_of(device: Any = None) -> int:
    """The number of a GPU from a number, "cuda:1" or a device; the present one for None.

    Raises ValueError for the CPU, RuntimeError for a GPU that is not there.
    """
    found = backend.device("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)
    if found.type != "cuda":
        raise ValueError(f"expected a cuda device, but got: {found}")
    number = backend.resolved(found).index
    assert number is not None
    return number


def current_device() -> int:
    """The number of the GPU that new work goes to."""
    return index_of()


def set_device(device: Any) -> None:
    """ "cuda", without a number, means this GPU from now on, in this thread."""
    gpu_module().cuda.runtime.setDevice(index_of(device))


class device:  # noqa: N801 - PyTorch's name
    """`with mr.cuda.device(1):` "cuda", without a number, means that GPU inside the block, in this thread.

    What lies on another GPU is computed there: operations follow their tensors. None, or a number below 0: no change.
    """

    def __init__(self, device: Any) -> None:
        nothing = device is None or (isinstance(device, int) and device < 0)
        self.index = current_device() if nothing else index_of(device)
        self.before: list[int] = []

    def __enter__(self) -> None:
        self.before.append(current_device())
        set_device(self.index)

    def __exit__(self, *exception: object) -> None:
        set_device(self.before.pop())


class device_of(device):  # noqa: N801 - PyTorch's name
    """`with mr.cuda.device_of(tensor):` as `device`, with the GPU of a tensor; a tensor on the CPU changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device())


def synchronize(device: Any = None) -> None:
    """Wait until a GPU (the present one) has done all that it was given."""
    gpu_module().cuda.Device(index_of(device)).synchronize()


def get_device_properties(device: Any = None) -> Properties:
    """Name, compute capability, memory and processors of a GPU."""
    found = gpu_module().cuda.runtime.getDeviceProperties(index_of(device))
    name = found["name"]
    return Properties(name.decode() if isinstance(name, bytes) else str(name), found["major"], found["minor"],
                      found["totalGlobalMem"], found["multiProcessorCount"])  # fmt: skip


def get_device_name(device: Any = None) -> str:
    """What the GPU is called."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(major, minor) compute capability, (9, 0) for an H100."""
    found = get_device_properties(device)
    return found.major, found.minor


def is_bf16_supported() -> bool:
    """Whether bfloat16 can be computed in: a GPU of compute capability 8.0 or above, and the package ml_dtypes."""
    return is_available() and get_device_capability() >= (8, 0) and importlib.util.find_spec("ml_dtypes") is not None
