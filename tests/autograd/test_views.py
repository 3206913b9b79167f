"""In-place changes through views: memory and gradients as in torch, whatever looks at what."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies

import minires as mr

torch = pytest.importorskip("torch")

LOOKS = {
    "row": lambda x: x[0],
    "rows": lambda x: x[1:],
    "every other": lambda x: x[::2],
    "last": lambda x: x[-1:],
    "column": lambda x: x[..., 1],
    "transposed": lambda x: x.t() if x.ndim == 2 else x,
    "narrow": lambda x: x.narrow(0, 0, max(x.shape[0] - 1, 1)),
    "unsqueezed": lambda x: x.unsqueeze(0)[0],
    "viewed": lambda x: x.reshape(-1) if x.is_contiguous() else x,
    "diagonal": lambda x: x.diagonal() if x.ndim == 2 else x,
    "one": lambda x: x[(0,) * x.ndim],
}
CHANGES = {
    "mul": lambda x, w: x.mul_(3),
    "add": lambda x, w: x.add_(w),
    "relu": lambda x, w: x.relu_(),
    "log": lambda x, w: x.abs_().add_(1).log_(),
    "fill": lambda x, w: x.fill_(0.5),
    "copy": lambda x, w: x.copy_(w * 2),
    "item": lambda x, w: x.__setitem__(0 if x.ndim else (), w * w),
    "exp": lambda x, w: x.mul_(0.1).exp_(),
}
steps = strategies.lists(
    strategies.tuples(
        strategies.integers(0, 5), strategies.sampled_from(list(LOOKS)), strategies.sampled_from([None, *CHANGES])
    ),
    min_size=1,
    max_size=7,
)


def run(lib, program, leaf_in_graph):
    """All tensors at the end of a program of views and changes, and the gradients of a weighted sum of them."""
    x = lib.tensor(np.linspace(-1, 1.3, 12).reshape(3, 4), requires_grad=True)
    w = lib.tensor(np.array(0.7), requires_grad=True)
    tensors = [x * 2 if leaf_in_graph else lib.tensor(np.linspace(-1, 1.3, 12).reshape(3, 4)), x * w]
    for number, look, change in program:
        tensor = tensors[number % len(tensors)]
        if not tensor.ndim or 0 in tensor.shape or (tensor.shape[-1] < 2 and look == "column"):
            continue
        view = LOOKS[look](tensor)
        if change is not None and (change != "item" or (view.ndim and view.shape[0])):
            CHANGES[change](view, w)
        tensors.append(view)
    total = sum((tensor * (number + 1)).sum() for number, tensor in enumerate(tensors))
    total.backward()
    return tensors, [x.grad, w.grad]


@given(program=steps, leaf_in_graph=strategies.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_programs_of_views_and_changes(program, leaf_in_graph):
    try:
        theirs = run(torch, program, leaf_in_graph)
    except RuntimeError as error:  # torch overwrites what some of its backwards need, and takes old views for leaves
        assert "modified by an inplace operation" in str(error) or "a leaf Variable" in str(error)
        return
    ours = run(mr, program, leaf_in_graph)
    for kind in (0, 1):
        for a, b in zip(ours[kind], theirs[kind], strict=True):
            assert np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_a_view_follows_its_base():
    for lib in (mr, torch):
        x = lib.ones(2, requires_grad=True)
        y = x * 2
        view = y[:1]
        y.mul_(3)
        view.sum().backward()
        assert view.tolist() == [6.0] and x.grad.tolist() == [6.0, 0.0], lib.__name__


def test_a_tensor_joins_the_graph_through_its_view():
    x, buffer = mr.ones(2, requires_grad=True), mr.zeros(2, 2)
    row = buffer[0]
    other = buffer.t()[0]
    row.copy_(x)
    assert buffer.requires_grad and "ViewWritten" in repr(buffer.grad_fn) and "GetItem" in repr(row.grad_fn)
    (other * mr.tensor([5.0, 7.0])).sum().backward()
    assert x.grad.tolist() == [5.0, 0.0]


def test_saved_values_are_still_guarded():
    x = mr.ones(3, requires_grad=True)
    y = x * 2
    z = y.square()
    y[:1].zero_()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        z.sum().backward()


def test_negative_strides_and_gaps():
    memory = np.arange(24.0).reshape(4, 6)
    for base in (memory[::-1, ::2], memory[:, ::-1].T, memory[1:, 2:4]):
        w = mr.ones(base.shape, dtype=mr.float64, requires_grad=True)
        tensor = mr.from_numpy(base.copy(order="K"))
        tensor.array = base.copy()[..., ::-1][..., ::-1]
        tensor.mul_(w)
        tensor[1:, :1].mul_(10)
        tensor.sum().backward()
        factor = np.ones(base.shape)
        factor[1:, :1] = 10
        assert np.allclose(w.grad.numpy(), base * factor)
