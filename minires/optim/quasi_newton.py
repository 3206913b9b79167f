"""L-BFGS: Newton's steps, with what the last gradients tell about the curvature in place of a matrix of it.

Source: Nocedal and Wright 2006, "Numerical optimization", algorithms 7.4 (two loops), 3.5 and 3.6 (line search); the
constants and the order of the checks are PyTorch's, which come from Schmidt's minFunc.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from minires.autograd import enable_grad, no_grad
from minires.backend import Array, array_module, on_device_of
from minires.optim.optimizer import Optimizer
from minires.tensor import Tensor

DECREASE, CURVATURE = 1e-4, 0.9  # Wolfe's two conditions: how far the loss must fall, and its slope must flatten


class Point(NamedTuple):
    """What is known at one step along the direction."""

    step: float
    loss: float
    gradient: Array
    slope: float  # of the loss along the direction


def cubic_minimum(one: Point, two: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with their slopes is smallest, within the bounds (the points themselves)."""
    one, two = (one, two) if one.step <= two.step else (two, one)
    low, high = bounds or (one.step, two.step)
    a = one.slope + two.slope - 3 * (one.loss - two.loss) / (one.step - two.step)
    square = a * a - one.slope * two.slope
    if square < 0:
        return (low + high) / 2
    root = math.sqrt(square)
    found = two.step - (two.step - one.step) * ((two.slope + root - a) / (two.slope - one.slope + 2 * root))
    return min(max(found, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, step: float, reach: float, tolerance: float, most: int
) -> tuple[Point, int]:
    """(a point that satisfies both of Wolfe's conditions, evaluations); the best one found, after `most` of them.

    First steps grow until two points have such a one between them, then the bracket shrinks around it. reach: the
    largest element of the direction.
    """

    def is_too_high(point: Point) -> bool:
        return point.loss > start.loss + DECREASE * point.step * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    before, new, rounds, done, crowded = start, evaluate(step), 0, False, False
    while rounds < most:
        if is_too_high(new) or (rounds > 1 and new.loss >= before.loss) or (not is_flat(new) and new.slope >= 0):
            bracket = [before, new]
            break
        if is_flat(new):
            bracket, done = [new], True
            break
        step = cubic_minimum(before, new, (new.step + 0.01 * (new.step - before.step), 10 * new.step))
        before, new, rounds = new, evaluate(step), rounds + 1
    else:
        bracket = [start, new]
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and rounds < most:
        left, right = sorted(point.step for point in bracket)
        if (right - left) * reach < tolerance:
            break
        step, margin = cubic_minimum(bracket[0], bracket[1]), 0.1 * (right - left)
        near = min(right - step, step - left) < margin
        if near and (crowded or not left < step < right):
            step = right - margin if abs(step - right) < abs(step - left) else left + margin
            near = False
        crowded = near
        new, rounds = evaluate(step), rounds + 1
        if is_too_high(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        done = is_flat(new)
        if not done and new.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], rounds + 1


class LBFGS(Optimizer):
    """Up to max_iter steps in each `step(closure)`, all parameters in one group. Liu and Nocedal 1989.

    The closure clears the gradients, computes the loss and its backward, and returns the loss; it is called up to
    max_eval times (1.25 max_iter). tolerance_grad: done when no gradient is larger; tolerance_change: or when neither
    the loss nor a parameter moves more. history_size: how many differences of gradients are kept.
    line_search_fn: "strong_wolfe", or None for steps of length lr.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        if not group["lr"] >= 0:
            raise ValueError(f"Invalid learning rate: {group['lr']}")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, got line_search_fn={group['line_search_fn']!r}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """The only group. ValueError for a second one."""
        if self.param_groups:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's; what is kept belongs to all parameters together, and stands with the first."""
        super().load_state_dict({**state_dict, "state": {}})
        for entries in state_dict["state"].values():
            self.state[self.param_groups[0]["params"][0]] = copy.deepcopy(entries)

    def _gradient(self) -> Array:
        """All gradients in one vector; zeros for a parameter without."""
        parameters = self.param_groups[0]["params"]
        xp = array_module(parameters[0].array)
        return xp.concatenate([
            xp.zeros(p.numel(), p.dtype) if p.grad is None else p.grad.array.reshape(-1) for p in parameters
        ])  # fmt: skip

    def _move(self, step: float, direction: Array) -> None:
        """parameters += step direction."""
        start = 0
        for parameter in self.param_groups[0]["params"]:
            part = direction[start : start + parameter.numel()].reshape(parameter.shape)
            parameter.array[...] += (step * part).astype(parameter.dtype, copy=False)
            parameter.bump_version()
            start += parameter.numel()

    def _evaluated(self, closure: Callable[[], Any], direction: Array, step: float) -> Point:
        """The loss at a step along the direction; the parameters stay where they are."""
        parameters = self.param_groups[0]["params"]
        before = [parameter.array.copy(order="K") for parameter in parameters]
        self._move(step, direction)
        with enable_grad():
            loss = float(closure())
        gradient = self._gradient()
        for parameter, values in zip(parameters, before, strict=True):
            parameter.array[...] = values
            parameter.bump_version()
        return Point(step, loss, gradient, float(gradient @ direction))

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Several steps; returns the loss before the first."""
        if closure is None:
            raise TypeError("LBFGS computes the loss several times: give step a closure")
        self.steps_seen += 1
        self._call(self.step_pre_hooks, closure)
        group = self.param_groups[0]
        state, lr = self.state[group["params"][0]], group["lr"]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        with on_device_of(group["params"][0].array):
            self._steps(closure, state, group, lr, float(first))
        self._call(self.step_post_hooks, closure)
        return first

    def _steps(
        self, closure: Callable[[], Any], state: dict[str, Any], group: dict[str, Any], lr: float, loss: float
    ) -> None:
        gradient, calls, smallest = self._gradient(), 1, group["tolerance_change"]
        state["func_evals"] += 1
        for number in range(group["max_iter"]):
            if abs(gradient).max() <= group["tolerance_grad"]:
                return
            state["n_iter"] += 1
            direction = _direction(state, gradient, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"] = Tensor(gradient), loss
            step = min(1.0, 1.0 / float(abs(gradient).sum())) * lr if state["n_iter"] == 1 else lr
            state["d"], state["t"] = Tensor(direction), step
            slope, before, used = float(gradient @ direction), loss, 0
            if slope > -smallest:
                return
            if group["line_search_fn"] is not None:
                here = Point(0.0, loss, gradient, slope)
                best, used = strong_wolfe(
                    functools.partial(self._evaluated, closure, direction), here, step,
                    float(abs(direction).max()), 1e-9, group["max_eval"] - calls,
                )  # fmt: skip
                step, loss, gradient = best.step, best.loss, best.gradient
                state["t"] = step
            self._move(step, direction)
            if group["line_search_fn"] is None and number + 1 < group["max_iter"]:
                with enable_grad():
                    loss = float(closure())
                gradient, used = self._gradient(), 1
            calls += used
            state["func_evals"] += used
            too_small = abs(step * direction).max() <= smallest or abs(loss - before) < smallest
            if calls >= group["max_eval"] or too_small:
                return


def _direction(state: dict[str, Any], gradient: Array, size: int) -> Array:
    """-H g, H the inverse of the curvature that the differences of gradients y and of parameters s tell: two loops."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
        return -gradient
    y, s = gradient - state["prev_flat_grad"].array, state["d"].array * state["t"]
    curvature = float(y @ s)
    if curvature > 1e-10:
        for name, value in (("old_dirs", Tensor(y)), ("old_stps", Tensor(s)), ("ro", 1 / curvature)):
            state[name] = [*state[name], value][-size:]
        state["H_diag"] = curvature / float(y @ y)
    q, weights = -gradient, []
    pairs = [(y.array, s.array, ro) for y, s, ro in zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True)]
    for y, s, ro in reversed(pairs):
        weights.append(float(s @ q) * ro)
        q = q - weights[-1] * y
    q = q * state["H_diag"]
    for (y, s, ro), weight in zip(pairs, reversed(weights), strict=True):
        q = q + (weight - float(y @ q) * ro) * s
    return q.astype(gradient.dtype, copy=False)
