"""Where the time goes: for each kernel and operation its calls, time, GFLOP/s, GB/s and place under the roofline.

    with mr.profiler.profile() as seen:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    print(seen.table())                          the longest first
    seen.export_chrome_trace("trace.json")       for chrome://tracing or ui.perfetto.dev

The names are those of torch.profiler where it has the thing: profile, record_function, key_averages,
export_chrome_trace. `minires bench MODEL --profile` does it for a model from the command line. For work on a GPU, which
Python only sends for, `profile("cuda")` takes the times from events in its queue.
"""

from minires.profiler.recording import Event, profile, record_function
from minires.profiler.report import Row, key_averages, table
from minires.profiler.roofline import Roofline, measure_gpu_roofline, measure_roofline

__all__ = ["Event", "Roofline", "Row", "key_averages", "measure_gpu_roofline", "measure_roofline", "profile",
           "record_function", "table"]  # fmt: skip
