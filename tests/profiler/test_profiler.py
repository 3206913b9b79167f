"""Profiles: what is counted, how it nests, that watching changes nothing, and that nobody watching costs nothing."""

import json
import threading

import numpy as np
import pytest

import minires as mr
import minires.nn.functional as F
from minires import kernels, observe
from minires.profiler import Roofline, costs, profile, record_function, report

ROOFLINE = Roofline(flops=1e11, bytes=1e10, threads=2)


@pytest.fixture
def step():
    mr.manual_seed(0)
    model = mr.nn.Sequential(mr.nn.Conv2d(3, 8, 3, padding=1), mr.nn.ReLU(), mr.nn.Flatten(), mr.nn.Linear(8 * 36, 4))
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = mr.randn(2, 3, 6, 6), mr.tensor([1, 3])

    def run():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def test_what_a_step_consists_of(step):
    with profile() as seen, record_function("one step"):
        step()
    rows = {(row.kind, row.name): row for row in seen.key_averages()}
    assert rows["kernel", "conv2d_forward"].flops == 2 * (2 * 8 * 36) * (3 * 9)
    assert rows["kernel", "conv2d_weight_gradient"].flops == rows["kernel", "conv2d_forward"].flops
    assert rows["kernel", "matmul"].flops == 3 * (2 * 2 * 4 * 288), "forward and both gradients"
    assert ("kernel", "conv2d_input_gradient") not in rows, "the pictures need no gradient"
    assert rows["kernel", "conv2d_forward"].bytes == 4 * (2 * 3 * 36 + 8 * 27 + 8 + 2 * 8 * 36)
    assert rows["step", "SGD"].calls == rows["range", "one step"].calls == 1
    assert {kind for kind, _ in rows} == {"kernel", "forward", "backward", "step", "range"}


def test_times_nest(step):
    with profile() as seen, record_function("outer"):
        step()
    outer = next(event for event in seen.events if event.name == "outer")
    assert outer.depth == 0 and all(event.depth > 0 for event in seen.events if event is not outer)
    assert all(outer.start <= event.start <= event.stop <= outer.stop for event in seen.events)
    assert sum(event.own_seconds for event in seen.events) == pytest.approx(outer.seconds)
    assert all(event.own_seconds > -1e-9 for event in seen.events)
    convolution = next(event for event in seen.events if event.kind == "forward" and event.name == "Conv2d")
    assert convolution.inside > 0 and convolution.bytes == 0, "its kernel's bytes are counted with the kernel"


def test_the_same_bits_with_and_without():
    def gradient():
        x = mr.tensor(np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4), requires_grad=True)
        weight = mr.tensor(np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 3, 3, 3))
        F.conv2d(x, weight, padding=1).tanh().sum().backward()
        return x.grad.numpy()

    plain = gradient()
    with profile():
        watched = gradient()
    np.testing.assert_array_equal(plain, watched)


def test_threads_are_told_apart():
    def work():
        kernels.relu_forward(np.zeros((1, 2, 3, 3), np.float32))

    with profile() as seen:
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len({event.thread for event in seen.events}) == 2 and all(event.depth == 0 for event in seen.events)


def test_an_error_ends_the_profile():
    with pytest.raises(ZeroDivisionError), profile() as seen, record_function("broken"):
        raise ZeroDivisionError
    assert observe.observer is None and [event.name for event in seen.events] == ["broken"]


def test_no_profile_within_another():
    with profile(), pytest.raises(RuntimeError, match="running already"), profile():
        pass
    with record_function("alone"):
        assert observe.observer is None


def test_the_table(step):
    with profile() as seen:
        step()
    text = seen.table(row_limit=4, roofline=ROOFLINE)
    lines = text.splitlines()
    assert "100 GFLOP/s in products, 10.0 GB/s in copies" in lines[0]
    assert lines[1].split() == ["name", "calls", "ms", "own", "ms", "own", "GFLOP/s", "GB/s", "roof"]
    assert len(lines) == 2 + 4 + 1 and "others" in lines[-1]
    assert "2x3x6x6 8x3x3x3" in seen.table(100, True, ROOFLINE)


def test_the_roof():
    assert ROOFLINE.least_seconds(1e11, 0) == 1 and ROOFLINE.least_seconds(1e11, 2e10) == 2
    assert [ROOFLINE.bound(*pair) for pair in ((1e11, 1e9), (1e9, 1e10), (0, 0))] == ["product", "memory", ""]
    row = report.Row("kernel", "conv2d_forward", 1, 4.0, 4.0, 1e11, 1e9)
    line = report.table([row], ROOFLINE).splitlines()[-1]
    assert "25% product" in line and "25.0" in line


def test_measuring_the_machine():
    found = mr.profiler.measure_roofline(size=256, repeats=2)
    assert found.flops > 1e8 and found.bytes > 1e7 and found.threads >= 1


def test_an_array_counts_once():
    array = np.zeros((4, 4), np.float32)
    assert costs.bytes_moved((array, array, 3, None), (array,)) == 64
    assert costs.bytes_moved((array, np.zeros(2)), np.zeros((2, 2))) == 64 + 16 + 32


def test_the_trace(step, tmp_path):
    with profile() as seen:
        step()
    seen.export_chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    events = trace["traceEvents"]
    assert len(events) == len(seen.events) and {event["ph"] for event in events} == {"X"}
    assert {"name", "ts", "dur", "pid", "tid", "cat", "args"} <= set(events[0])
    assert any(event["name"] == "Linear backward" or event["name"].endswith(" backward") for event in events)
