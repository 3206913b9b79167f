"""GPUs, by torch.cuda's names: which there are, waiting for them, streams, memory, graphs. Through CuPy.

device     which GPUs there are, which one is used      memory   how much is taken
streams    work in several queues, events               graphs   a captured sequence of launches, replayed
random     seeds, by torch.cuda's names

Importing this needs no CuPy and wakes no driver. What asks for a GPU raises RuntimeError, in one line, where there is
no CuPy or no GPU; `is_available()` and `device_count()` say False and 0.
"""

from minires.cuda import graphs
from minires.cuda.devices import (
    current_device,
    device,
    device_count,
    device_of,
    get_device_capability,
    get_device_name,
    get_device_properties,
    is_available,
    is_bf16_supported,
    set_device,
    synchronize,
)
from minires.cuda.graphs import CUDAGraph, GraphedCallable, graph, is_current_stream_capturing
from minires.cuda.memory import empty_cache, mem_get_info, memory_allocated, memory_reserved
from minires.cuda.random import (
    get_rng_state,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
)
from minires.cuda.streams import Event, Stream, current_stream, default_stream, stream
