"""How much of a GPU's memory is taken: figures of CuPy's pool, which keeps freed memory for the next array."""

from typing import Any

from minires.backend import gpu_module, let_go_of_what_is_done
from minires.cuda.devices import index_of


def memory_allocated(device: Any = None) -> int:
    """Bytes of the arrays that are alive on a GPU."""
    cupy = gpu_module()
    with cupy.cuda.Device(index_of(device)):
        return int(cupy.get_default_memory_pool().used_bytes())


def memory_reserved(device: Any = None) -> int:
    """Bytes that the pool holds, those of freed arrays included."""
    cupy = gpu_module()
    with cupy.cuda.Device(index_of(device)):
        return int(cupy.get_default_memory_pool().total_bytes())


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a GPU, whoever uses it."""
    free, total = gpu_module().cuda.Device(index_of(device)).mem_info
    return int(free), int(total)


def empty_cache() -> None:
    """Give the memory of freed arrays, on the GPU and pinned, back to the driver."""
    cupy = gpu_module()
    let_go_of_what_is_done()
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
