"""GradScaler against torch.amp.GradScaler, on the CPU: the same scales, the same skipped steps, the same errors."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")
SETTINGS = {"init_scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.25, "growth_interval": 2}


def sides():
    """(minires, torch) scalers with a parameter and its optimizer."""
    ours, theirs = mr.nn.Parameter(mr.ones(3)), torch.nn.Parameter(torch.ones(3))
    return (
        (mr, mr.amp.GradScaler("cpu", **SETTINGS), ours, mr.optim.SGD([ours], lr=0.1)),
        (torch, torch.amp.GradScaler("cpu", **SETTINGS), theirs, torch.optim.SGD([theirs], lr=0.1)),
    )


@pytest.mark.parametrize("clips", [False, True])
def test_as_torch(clips):
    factors = [1.0, 2.0, np.inf, 0.5, np.nan, 1.0, 1.0, 1.0, 1.0]
    seen = []
    for library, scaler, parameter, optimizer in sides():
        history = []
        for factor in factors:
            optimizer.zero_grad()
            scaler.scale((parameter * factor).sum()).backward()
            if clips:
                scaler.unscale_(optimizer)
                library.nn.utils.clip_grad_norm_([parameter], 1.0)
            scaler.step(optimizer)
            scaler.update()
            history.append((scaler.get_scale(), scaler.state_dict(), parameter.tolist()))
        seen.append(history)
    for (scale, state, values), (scale_, state_, values_) in zip(*seen, strict=True):
        assert scale == scale_ and state == state_ and np.allclose(values, values_)
    assert len({scale for scale, _, _ in seen[0]}) > 2


def wrong_uses():
    def twice(scaler, optimizer):
        scaler.step(optimizer)
        scaler.step(optimizer)

    def unscaled_twice(scaler, optimizer):
        scaler.unscale_(optimizer)
        scaler.unscale_(optimizer)

    def unscaled_late(scaler, optimizer):
        scaler.step(optimizer)
        scaler.unscale_(optimizer)

    return [twice, unscaled_twice, unscaled_late, lambda scaler, optimizer: scaler.update(),
            lambda scaler, optimizer: scaler.step(optimizer, closure=lambda: 0),
            lambda scaler, optimizer: scaler.load_state_dict({})]  # fmt: skip


@pytest.mark.parametrize("use", wrong_uses())
def test_wrong_use_as_torch(use):
    for _, scaler, parameter, optimizer in sides():
        scaler.scale(parameter.sum()).backward()
        with pytest.raises((RuntimeError, AssertionError) if scaler.__module__.startswith("torch") else RuntimeError):
            use(scaler, optimizer)


def test_no_gradients_and_narrow_gradients_are_refused():
    scaler, parameter = mr.amp.GradScaler(), mr.nn.Parameter(mr.ones(3).half())
    optimizer = mr.optim.SGD([parameter], lr=0.1)
    with pytest.raises(RuntimeError, match="has no gradients"):
        scaler.step(optimizer)
    parameter.grad = mr.ones(3).half()
    with pytest.raises(ValueError, match="unscale FP16"):
        scaler.unscale_(optimizer)
    for setting in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(ValueError):
            mr.amp.GradScaler(**setting)
    with pytest.raises(ValueError, match="must be a Tensor"):
        scaler.scale(3.0)


def test_small_gradients_survive_float16():
    """1e-8 is 0 in float16, 1e-8 * 2**16 is not."""
    for scaler, survives in ((mr.amp.GradScaler(), True), (mr.amp.GradScaler(enabled=False), False)):
        weight = mr.nn.Parameter(mr.ones(2))
        narrow = weight.half() * mr.tensor([0.01, 0.01]).half()
        scaler.scale((narrow.float() * 1e-6).sum()).backward()
        scaler.unscale_(mr.optim.SGD([weight], lr=1.0))
        assert (weight.grad.numpy() > 0).all() == survives


def test_disabled_does_nothing_and_a_state_goes_on():
    scaler, parameter = mr.amp.GradScaler(enabled=False), mr.nn.Parameter(mr.ones(2))
    loss = parameter.sum()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
    loss.backward()
    scaler.step(mr.optim.SGD([parameter], lr=1.0))
    scaler.update()
    assert parameter.tolist() == [0, 0] and not scaler.is_enabled()
    saved, other = mr.amp.GradScaler(**SETTINGS), mr.amp.GradScaler()
    other.load_state_dict(saved.state_dict())
    assert other.state_dict() == saved.state_dict() and other.get_growth_interval() == 2
