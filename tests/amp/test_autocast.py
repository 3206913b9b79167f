"""autocast, on the stand-in for a GPU: which type each operation takes; parameters and gradients stay wide."""

import threading

import numpy as np
import pytest

import minires as mr
from tests.cuda import fake_cupy
from tests.cuda.harness import needs_emulator

functional = mr.nn.functional


@pytest.fixture
def stand_in(monkeypatch):
    with fake_cupy.in_place(monkeypatch) as cupy:
        yield cupy


def test_refused_on_the_cpu_and_for_other_types():
    with pytest.raises(RuntimeError, match="float16 and bfloat16 are emulated there"):
        mr.amp.autocast("cpu")
    with pytest.raises(ValueError, match="must be float16 or bfloat16, got float64"):
        mr.amp.autocast("cuda", mr.float64)
    with mr.amp.autocast("cpu", enabled=False):
        assert (mr.ones(2, 2) @ mr.ones(2, 2)).dtype == mr.float32
    assert mr.amp.is_autocast_available("cuda") and not mr.amp.is_autocast_available("cpu")


def test_the_tables_name_operations():
    from minires.amp.autocast import NARROW, WIDE
    from minires.autograd import Function

    def names(kind):
        return {kind.__name__}.union(*(names(child) for child in kind.__subclasses__()))

    assert not (NARROW | WIDE) - names(Function) and not NARROW & WIDE


@needs_emulator
def test_types_and_gradients(stand_in):
    layer, x = mr.nn.Linear(8, 4).cuda(), mr.ones(2, 8).cuda()
    with mr.amp.autocast("cuda"):
        y = layer(x)
        assert y.dtype == mr.float16 and (y + y).dtype == mr.float16 and y.relu().dtype == mr.float16
        assert mr.softmax(y, 1).dtype == y.sum().dtype == (y + mr.ones(2, 4).cuda()).dtype == mr.float32
        assert (mr.ones(2, 2) @ mr.ones(2, 2)).dtype == mr.float32, "tensors on the CPU are left alone"
        with mr.amp.autocast("cuda", enabled=False):
            assert layer(x).dtype == mr.float32
        functional.cross_entropy(y, mr.tensor(np.array([0, 3])).cuda()).backward()
    assert layer(x).dtype == mr.float32, "the block has ended"
    assert layer.weight.dtype == layer.weight.grad.dtype == layer.bias.grad.dtype == mr.float32


@needs_emulator
def test_a_parameter_is_cast_once_and_anew_when_it_changes(stand_in):
    weight, x = mr.nn.Parameter(mr.ones(2, 2).cuda()), mr.ones(2, 2).cuda()
    converted = []
    original = mr.ops.elementwise.Convert.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mr.ops.elementwise.Convert, "forward",
                      staticmethod(lambda ctx, array, *rest, **named: converted.append(array is weight.array)
                                   or original(ctx, array, *rest, **named)))  # fmt: skip
        with mr.amp.autocast("cuda"):
            (x @ weight) @ weight
            assert sum(converted) == 1
            with mr.no_grad():
                weight.mul_(2.0)
            assert (x @ weight).tolist() == [[4, 4], [4, 4]] and sum(converted) == 2
        with mr.amp.autocast("cuda", cache_enabled=False):
            (x @ weight) @ weight
            assert sum(converted) == 4


@needs_emulator
def test_a_cast_made_without_recording_is_not_used_with_it(stand_in):
    weight, x = mr.nn.Parameter(mr.ones(2, 2).cuda()), mr.ones(2, 2).cuda()
    with mr.amp.autocast("cuda"):
        with mr.no_grad():
            x @ weight
        (x @ weight).sum().backward()
    assert weight.grad.tolist() == [[2, 2], [2, 2]]


def test_a_thread_has_its_own(stand_in):
    seen = []
    with mr.amp.autocast("cuda"):
        thread = threading.Thread(target=lambda: seen.append((mr.ones(2, 2).cuda() @ mr.ones(2, 2).cuda()).dtype))
        thread.start()
        thread.join()
    assert seen == [mr.float32]


@needs_emulator
def test_mixed_precision_trains_as_float32_does(stand_in):
    """A convolution, batch norm, pooling and a head: losses within float16's rounding."""
    losses = []
    for enabled in (True, False):
        mr.manual_seed(1)
        model = mr.nn.Sequential(mr.nn.Conv2d(8, 8, 3, padding=1), mr.nn.BatchNorm2d(8), mr.nn.ReLU(),
                                 mr.nn.MaxPool2d(2), mr.nn.AdaptiveAvgPool2d(1), mr.nn.Flatten(),
                                 mr.nn.Linear(8, 4)).cuda()  # fmt: skip
        optimizer, scaler = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), mr.amp.GradScaler(enabled=enabled)
        images = mr.tensor(np.random.default_rng(0).standard_normal((4, 8, 4, 4)).astype(np.float32)).cuda()
        labels, history = mr.tensor(np.array([0, 1, 2, 3])).cuda(), []
        for _ in range(3):
            optimizer.zero_grad()
            with mr.amp.autocast("cuda", enabled=enabled):
                loss = functional.cross_entropy(model(images), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            history.append(loss.item())
        losses.append(history)
        assert {p.dtype for p in model.parameters()} == {mr.float32}
    assert np.allclose(*losses, atol=0.02) and losses[0] != losses[1] and losses[0][-1] < losses[0][0]
    assert any("conv_mma_forward<__half" in name for name in stand_in.launched)
