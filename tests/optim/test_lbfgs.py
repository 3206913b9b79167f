"""LBFGS takes torch's steps: the same losses, evaluations and parameters; and its state is saved and goes on."""

import numpy as np
import pytest

import minires as mr


def rosenbrock(p):
    """A curved valley in which Newton's steps are too long: the line search has to zoom."""
    return (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()


def quartic(p):
    return (p**4).sum() + 0.1 * (p * p).sum() + (p[:1] * p[1:2]).sum()


def run(lib, function, steps=3, resume=False, **settings):
    """(losses, evaluations of the state, the parameter) after some steps."""
    p = lib.nn.Parameter(lib.tensor([-1.2, 1.0, 0.7, 1.5], dtype=lib.float64))
    optimizer, losses = lib.optim.LBFGS([p], **settings), []

    def closure():
        optimizer.zero_grad()
        loss = function(p)
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
        if resume:
            saved, optimizer = optimizer.state_dict(), lib.optim.LBFGS([p], **settings)
            optimizer.load_state_dict(saved)
    return losses, optimizer.state[p]["func_evals"], optimizer.state[p]["n_iter"], np.array(p.tolist())


SETTINGS = [
    {"lr": 1e-3, "max_iter": 4}, {"line_search_fn": "strong_wolfe"}, {"line_search_fn": "strong_wolfe", "max_iter": 6},
    {"line_search_fn": "strong_wolfe", "history_size": 2, "lr": 0.5}, {"line_search_fn": "strong_wolfe", "max_eval": 9},
]  # fmt: skip


@pytest.mark.parametrize("function", [rosenbrock, quartic])
@pytest.mark.parametrize("settings", SETTINGS)
def test_steps_as_in_torch(function, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = run(mr, function, **settings), run(torch, function, **settings)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-7)
    assert ours[1:3] == theirs[1:3]
    np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-7)


def test_a_minimum_is_found():
    losses, _, _, p = run(mr, rosenbrock, 8, line_search_fn="strong_wolfe")
    assert abs(losses[-1] - 3.70142861) < 1e-8 and p[0] < -0.7  # a local one, in four dimensions


def test_a_state_that_is_loaded_goes_on():
    settings = {"line_search_fn": "strong_wolfe", "max_iter": 3}
    plain, resumed = run(mr, rosenbrock, **settings), run(mr, rosenbrock, resume=True, **settings)
    assert plain[:3] == resumed[:3] and np.array_equal(plain[3], resumed[3])


def test_wrong_use():
    p = mr.nn.Parameter(mr.ones(2))
    with pytest.raises(ValueError, match="parameter groups"):
        mr.optim.LBFGS([{"params": [p]}, {"params": [mr.nn.Parameter(mr.ones(2))]}])
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        mr.optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(TypeError, match="closure"):
        mr.optim.LBFGS([p]).step()
