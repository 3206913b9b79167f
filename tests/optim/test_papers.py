"""Optimizers that torch does not have, against their papers' formulas written out here."""

import numpy as np
import pytest

from minires import optim
from minires.nn import Parameter
from minires.tensor import Tensor

SHAPES = ((4, 3), (5,))


def start():
    random = np.random.default_rng(3)
    return [random.standard_normal(shape) for shape in SHAPES]


def gradients(step):
    random = np.random.default_rng(50 + step)
    return [random.standard_normal(shape) * (1 + step % 3) for shape in SHAPES]


def length(*arrays):
    return np.sqrt(sum((array**2).sum() for array in arrays))


def run(name, steps=12, **settings):
    """The parameters after some steps; the second one is in a group without weight decay."""
    parameters = [Parameter(value) for value in start()]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
    optimizer = getattr(optim, name)(groups, **settings)
    for step in range(steps):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = Tensor(gradient)
        optimizer.step()
    return [parameter.array for parameter in parameters]


def by_formula(update, decay, steps=12):
    """The same with `update(step, parameter, gradient, decay, state, all gradients)`, which returns the parameter."""
    values, states = start(), [{}, {}]
    for step in range(steps):
        given = gradients(step)
        values = [update(step + 1, p, g, wd, state, given)
                  for p, g, wd, state in zip(values, given, (decay, 0.0), states, strict=True)]  # fmt: skip
    return values


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("maximize", [False, True])
def test_lion(maximize):
    def update(t, p, g, decay, state, _):  # Chen et al. 2023, program 1
        g, m = -g if maximize else g, state.get("m", 0 * p)
        c = 0.9 * m + (1 - 0.9) * g
        state["m"] = 0.95 * m + (1 - 0.95) * g
        return p - 0.01 * (np.sign(c) + decay * p)

    assert_same(run("Lion", lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, maximize=maximize), by_formula(update, 0.1))


@pytest.mark.parametrize("always_adapt", [False, True])
@pytest.mark.parametrize("trust_clip", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_lars(always_adapt, trust_clip, nesterov):
    lr, momentum, eta = 0.02, 0.9, 0.05

    def update(t, p, g, decay, state, _):  # You et al. 2017, algorithm 1, the rate outside of the momentum
        local = 1.0
        if decay or always_adapt:
            local = eta * length(p) / (length(g) + decay * length(p) + 1e-8)
            local = min(local / lr, 1.0) if trust_clip else local
        step = local * (g + decay * p)
        v = state["v"] = momentum * state["v"] + step if "v" in state else step
        return p - lr * (step + momentum * v if nesterov else v)

    found = run("LARS", lr=lr, momentum=momentum, weight_decay=0.1, trust_coeff=eta, nesterov=nesterov,
                always_adapt=always_adapt, trust_clip=trust_clip)  # fmt: skip
    assert_same(found, by_formula(update, 0.1))


@pytest.mark.parametrize("always_adapt", [False, True])
@pytest.mark.parametrize("max_grad_norm", [None, 2.0])
@pytest.mark.parametrize("bias_correction", [False, True])
def test_lamb(always_adapt, max_grad_norm, bias_correction):
    def update(t, p, g, decay, state, given):  # You et al. 2020, algorithm 2
        if max_grad_norm is not None:
            g = g * min(1.0, max_grad_norm / length(*given))
        m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
        v = state["v"] = 0.99 * state.get("v", 0) + 0.01 * g**2
        if bias_correction:
            m, v = m / (1 - 0.9**t), v / (1 - 0.99**t)
        r = m / (np.sqrt(v) + 1e-6) + decay * p
        ratio = length(p) / length(r) if decay or always_adapt else 1.0
        return p - 0.05 * ratio * r

    found = run("LAMB", lr=0.05, betas=(0.9, 0.99), weight_decay=0.1, always_adapt=always_adapt,
                max_grad_norm=max_grad_norm, bias_correction=bias_correction)  # fmt: skip
    assert_same(found, by_formula(update, 0.1))


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_parameters_of_zeros_have_no_trust_ratio(name):
    parameter = Parameter(np.zeros(3))
    optimizer = getattr(optim, name)([parameter], lr=0.1, weight_decay=0.1)
    parameter.grad = Tensor(np.array([0.1, -0.2, 0.0]))
    optimizer.step()
    assert np.isfinite(parameter.array).all() and parameter.array[0] < 0 < parameter.array[1]


def loss_and_gradient(p, q):
    """(sum of (p_i - i)^4 / 4 + sum of p times sum of q^2, its gradients)."""
    away = p - np.arange(p.size)
    return (away**4).sum() / 4 + p.sum() * (q**2).sum(), (away**3 + (q**2).sum(), 2 * q * p.sum())


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("by_hand", [False, True])
def test_sam(adaptive, by_hand):
    rho, lr, momentum = 0.1, 0.01, 0.5
    ours = [Parameter(np.array([1.0, -0.5, 2.0])), Parameter(np.array([0.3, -0.7]))]
    optimizer = optim.SAM(ours, optim.SGD, rho=rho, adaptive=adaptive, lr=lr, momentum=momentum)

    def closure():
        optimizer.zero_grad()
        p, q = ours
        loss = ((p - Tensor(np.arange(3.0))) ** 4).sum() / 4 + p.sum() * (q * q).sum()
        loss.backward()
        return loss

    values, buffers = [p.array.copy() for p in ours], [0.0, 0.0]
    for _ in range(6):
        loss, at_p = loss_and_gradient(*values)  # Foret et al. 2021, algorithm 1; Kwon et al. 2021, equation 6
        factors = [abs(v) if adaptive else 1.0 for v in values]
        size = length(*(t * g for t, g in zip(factors, at_p, strict=True)))
        places = [v + rho * t * t * g / size for v, t, g in zip(values, factors, at_p, strict=True)]
        _, there = loss_and_gradient(*places)
        buffers = [momentum * b + g for b, g in zip(buffers, there, strict=True)]
        values = [v - lr * b for v, b in zip(values, buffers, strict=True)]
        if by_hand:
            closure()
            optimizer.first_step()
            closure()
            optimizer.second_step()
        else:
            assert optimizer.step(closure).item() == pytest.approx(loss, rel=1e-12)
        for parameter, value in zip(ours, values, strict=True):
            assert np.allclose(parameter.array, value, rtol=1e-10)


def test_sam_s_state_and_errors():
    parameter = Parameter(np.ones(3))
    optimizer = optim.SAM([parameter], optim.Adam, lr=0.1)
    with pytest.raises(RuntimeError, match="closure"):
        optimizer.step()
    parameter.grad = Tensor(np.ones(3))
    optimizer.first_step()
    with pytest.raises(RuntimeError, match="twice"):
        optimizer.first_step()
    optimizer.second_step()
    other = optim.SAM([Parameter(np.ones(3))], optim.Adam, lr=5.0)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.1
    assert [entry["step"] for entry in other.state.values()] == [1]
    with pytest.raises(ValueError, match="Invalid rho"):
        optim.SAM([parameter], optim.SGD, rho=-1.0)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda p: optim.Lion(p, betas=(1.0, 0.9)), "beta parameter at index 0"),
        (lambda p: optim.Lion(p, lr=-1.0), "learning rate"),
        (lambda p: optim.LARS(p, nesterov=True), "Nesterov"),
        (lambda p: optim.LAMB(p, max_grad_norm=0.0), "max_grad_norm"),
        (lambda p: optim.RMSprop(p, alpha=-0.1), "alpha"),
        (lambda p: optim.Adadelta(p, rho=1.5), "rho"),
        (lambda p: optim.Rprop(p, etas=(1.5, 2.0)), "eta values"),
        (lambda p: optim.NAdam(p, momentum_decay=-1.0), "momentum_decay"),
    ],
)
def test_settings_out_of_range(build, words):
    with pytest.raises(ValueError, match=words):
        build([Parameter(np.ones(2))])
