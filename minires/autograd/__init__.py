"""Reverse-mode automatic differentiation: the graph, the walk back through it, and `Function`.

Every operation on tensors that require a gradient leaves behind a `Node`, which remembers what its backward needs and
which tensors the operation was applied to. `run_backward` walks the nodes from the result back to the leaves and
multiplies by each operation's Jacobian on the way (the chain rule; Baydin et al. 2018, "Automatic differentiation in
machine learning: a survey", section 3.2).

Why the order of the walk matters: in `b = a + a; c = b * b`, the node of `b` is reached twice from `c`. Its backward
must run once, after both contributions have been added up. Nodes are numbered as they are made, and an operation's node
is always younger than those of its inputs: going through them in falling order is a topological order.

The graph points backwards only (a node knows its inputs, never its outputs), so there are no reference cycles, and
dropping the last tensor frees the graph at once.
"""

from minires.autograd import functional
from minires.autograd.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from minires.autograd.functional import backward, grad
from minires.autograd.graph import (
    Application,
    Edge,
    Function,
    Guard,
    Node,
    Variable,
    Version,
    look,
    looking,
    refresh,
    tape,
    youngest,
)
from minires.autograd.modes import (
    _mode,
    enable_grad,
    inference_mode,
    is_casting,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    quiet,
    set_grad_enabled,
    swap_cast,
)
from minires.autograd.views import note_written, write_through
from minires.autograd.walk import nodes_below, run_backward, seed_of

__all__ = [
    "Application", "Edge", "Function", "Guard", "Node", "Variable", "Version", "_mode", "backward", "detect_anomaly",
    "enable_grad", "functional", "grad", "inference_mode", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
    "is_grad_enabled", "is_inference_mode_enabled", "look", "looking", "no_grad", "nodes_below", "note_written",
    "quiet", "refresh", "run_backward", "seed_of", "set_detect_anomaly", "set_grad_enabled", "tape", "write_through",
    "youngest",
]  # fmt: skip
