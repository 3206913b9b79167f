"""Streams at work, with results that a missing wait would change: in small on the stand-in, and by `pytest -m gpu`.

On a GPU each check gives the computing stream more to do than the copying one, so that what is not waited for comes too
late; and where the machine has a second GPU, work goes there and back.
"""

import numpy as np
import pytest

import minires as mr
from minires.data import DataLoader, Prefetcher, TensorDataset
from tests.cuda.harness import needs_emulator


@pytest.fixture(params=[pytest.param(4, id="stand-in", marks=needs_emulator),
                        pytest.param(3000, id="gpu", marks=pytest.mark.gpu)])  # fmt: skip
def side(request):
    """Length of the matrices that keep the GPU busy."""
    if request.param == 4:
        request.getfixturevalue("two_devices")
    else:
        cupy = pytest.importorskip("cupy")
        if not cupy.cuda.is_available():
            pytest.skip("CuPy finds no GPU")
    return request.param


def busy(side, device="cuda:0"):
    """Some milliseconds of work in the present stream."""
    matrix = mr.full((side, side), 1 / side, device=device)
    for _ in range(8):
        matrix = matrix @ matrix
    return matrix


@pytest.mark.parametrize("pins", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_copied_ahead_are_right(side, pins, workers):
    values = np.random.default_rng(0).standard_normal((40, max(64, side * 100))).astype(np.float32)
    loader = DataLoader(TensorDataset(mr.tensor(values), mr.arange(40)), 4, pin_memory=pins, num_workers=workers)
    found, numbers = [], []
    for batch, labels in Prefetcher(loader, "cuda"):
        busy(side)
        found.append(batch.sum(1) + 0 * labels)
        numbers.append(labels)
        del batch, labels
    assert mr.cat(numbers).tolist() == list(range(40))
    assert np.allclose(mr.cat(found).cpu().numpy(), values.sum(1), atol=1e-2)


def test_memory_of_another_stream_is_kept(side):
    copying = mr.cuda.Stream()
    for number in range(6):
        with mr.cuda.stream(copying):
            x = mr.full((256, max(64, side)), float(number)).pin_memory().to("cuda", non_blocking=True)
        mr.cuda.current_stream().wait_stream(copying)
        busy(side)
        y = x * 2
        x.record_stream(mr.cuda.current_stream())
        del x
        with mr.cuda.stream(copying):  # would get the memory of x
            z = mr.full((256, max(64, side)), -1.0).pin_memory().to("cuda", non_blocking=True)
        assert bool((y == 2 * number).all()) and y.device == z.device == "cuda:0"


def test_an_event_orders_two_streams(side):
    first, second = mr.cuda.Stream(), mr.cuda.Stream()
    for _ in range(4):
        with mr.cuda.stream(first):
            y = mr.zeros(1000, device="cuda")
            busy(side)
            y += 1
            done = first.record_event()
        with mr.cuda.stream(second):
            done.wait()
            z = y * 3
            y.record_stream(second)
            assert z.tolist() == [3] * 1000


def test_two_gpus(side):
    if mr.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    x = mr.randn(max(8, side), 8)
    for _ in range(4):
        ours = x.to("cuda:1").requires_grad_()
        busy(side, "cuda:1")
        there = (ours * 2).to("cuda:0")
        busy(side, "cuda:0")
        (there.to("cuda:1") * there.to("cuda:1")).sum().backward()
        assert ours.grad.device == "cuda:1" and np.allclose(ours.grad.cpu().numpy(), 8 * x.numpy(), rtol=1e-5)
    model = mr.nn.Sequential(mr.nn.Conv2d(3, 8, 3), mr.nn.BatchNorm2d(8), mr.nn.ReLU())
    images = mr.randn(2, 3, 6, 6)
    expected = model(images)
    assert np.allclose(model.cuda(1)(images.cuda(1)).detach().cpu().numpy(), expected.detach().numpy(), atol=1e-3)
    assert mr.cuda.current_device() == 0
