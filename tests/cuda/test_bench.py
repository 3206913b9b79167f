"""`minires bench --device cuda` and profiles of a GPU, on the stand-in with a clock of its own."""

import json
import re

import pytest

import minires as mr
from minires.cli import bench, main
from minires.kernels.cuda import autotune, switches
from minires.models.resnet import CifarResNet
from minires.profiler import profile, record_function, roofline
from minires.profiler.clocks import Gpu, Processor, clock_of
from tests.cuda.harness import needs_emulator

SMALL = ("bench", "resnet20", "-b", "2", "--img-size", "8", "--repeats", "1", "--device", "cuda")


@pytest.fixture
def ticks(stand_in, monkeypatch):
    """Events that lie 1 ms apart, in the order in which they are recorded; only after a wait are they there."""

    class Tick:
        count, waited = 0, 0

        def __init__(self, block=False, disable_timing=False):
            assert not disable_timing

        def record(self, stream=None):
            Tick.count += 1
            self.place, self.device = Tick.count, stand_in.cuda.runtime.getDevice()

        @property
        def done(self):
            Tick.waited = max(Tick.waited, self.place)
            return True

    def elapsed(first, last):
        assert last.place <= Tick.waited, "nobody has waited for this event"
        return float(last.place - first.place)

    monkeypatch.setattr(stand_in.cuda, "Event", Tick)
    monkeypatch.setattr(stand_in.cuda, "get_elapsed_time", elapsed)
    monkeypatch.setattr(stand_in.cuda.Device, "synchronize", lambda self: setattr(Tick, "waited", Tick.count))
    return Tick


@pytest.fixture
def small(monkeypatch):
    """Little to measure: small matrices, and a network of 8 layers."""
    monkeypatch.setattr(roofline, "GPU_SIDE", 16)
    monkeypatch.setattr(roofline, "GPU_NUMBERS", 1 << 8)
    monkeypatch.setattr(bench, "find_model", lambda name, classes: (CifarResNet(8), None))


def test_a_profile_by_events(ticks):
    x = mr.ones(2, 2, device="cuda", requires_grad=True)
    with profile("cuda") as seen, record_function("outer"):
        (x @ x).sum().backward()
    outer = next(event for event in seen.events if event.name == "outer")
    assert outer.seconds == pytest.approx((ticks.waited - 2) * 1e-3), "all marks but the profile's own"
    assert sum(event.own_seconds for event in seen.events) == pytest.approx(outer.seconds)
    kernel = next(event for event in seen.events if event.name == "matmul")
    assert kernel.seconds == pytest.approx(1e-3) and kernel.flops == 16 and kernel.bytes == 32


def test_the_clock_of_the_second_gpu(two_devices, ticks):
    with mr.cuda.device(0), profile("cuda:1") as seen:
        x = mr.ones(2, device="cuda:1")
        x + x
    assert {mark.event.device for event in seen.events for mark in event.marks} == {1}
    with pytest.raises(RuntimeError, match="no device cuda:2"):
        profile("cuda:2")


def test_clocks(ticks):
    assert isinstance(clock_of("cpu"), Processor) and isinstance(clock_of("cuda:0"), Gpu)
    assert roofline.times(lambda: None, 3, clock_of("cuda")) == [1e-3] * 3
    assert len(roofline.times(lambda: None, 3, Processor())) == 3


@pytest.mark.parametrize(("kind", "told"), [("float32", []), ("tf32", [("float32", 7)]), ("float16", [])])
def test_the_roof_of_a_gpu(kind, told, ticks, small, stand_in):
    stand_in.compute_types.clear()
    found = mr.profiler.measure_gpu_roofline(kind)
    assert found.flops == pytest.approx(2 * 16**3 / 1e-3) and found.bytes == pytest.approx(2 * 4 * 256 / 1e-3)
    assert found.where == f"stand-in, {kind}" and stand_in.compute_types == told


@needs_emulator
def test_for_people(ticks, small, capsys, stand_in):
    pytest.importorskip("ml_dtypes")
    assert main([*SMALL, "--training", "--profile", "--amp", "bf16"]) == 0
    out, err = capsys.readouterr()
    where = r"resnet20, 2 pictures of 3 x 8 x 8, cuda(:0)? \(stand-in\), in mixed precision \(bfloat16 and float32\)"
    assert err == "" and re.match(where, out)
    assert "the matrix product of stand-in, bfloat16" in out and "this machine, stand-in, bfloat16: " in out
    assert "conv2d_gradients" in out and "BatchNormTraining backward" in out
    assert any("conv_mma" in kernel for kernel in stand_in.launched)


@needs_emulator
def test_as_json_with_the_ways(ticks, small, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path))
    monkeypatch.setattr(autotune, "TRIES", 1)
    monkeypatch.setattr(switches, "convolutions", True)
    try:
        assert main([*SMALL, "--inference", "--autotune", "--json", "--trace", str(tmp_path / "trace.json")]) == 0
    finally:
        mr.backends.cudnn.benchmark = False
    found = json.loads(capsys.readouterr().out)
    (entry,) = found["work"]
    assert found["device"].startswith("cuda") and found["gpu"] == "stand-in, tf32" and found["amp"] is None
    assert entry["seconds"] == [1e-3] and entry["images_per_second"] == pytest.approx(2000)
    assert entry["ways"] and all(trial["chosen"] in trial["milliseconds"] for trial in entry["ways"].values())
    assert (tmp_path / "trace.json").exists() and (tmp_path / "autotune.json").exists()


@needs_emulator
def test_the_way_of_each_convolution(ticks, small, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path))
    monkeypatch.setattr(autotune, "TRIES", 1)
    try:
        assert main([*SMALL, "--inference", "--autotune", "--by-shape", "--amp", "fp16"]) == 0
    finally:
        mr.backends.cudnn.benchmark = False
    out = capsys.readouterr().out
    assert re.search(r"inference, convolutions by mma 128 \(\d+\)", out), "all ways take as long: the first is taken"
    assert re.search(r"forward 2x8x8x16 \* 16x3x3x16 .* float16 .* mma 128 +mma 128 1\.000, mma 128x64 1\.000, ", out)


@pytest.mark.parametrize(("words", "message"), [
    (("--device", "cuda"), "--device cuda: CUDA needs CuPy"),
    (("--device", "gpu"), "--device is cpu, cuda, cuda:N or auto; got 'gpu'"),
    (("--amp",), "--amp float16 is for a GPU"),
])  # fmt: skip
def test_one_line_without_a_gpu(words, message, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert main(["bench", "resnet20", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""
