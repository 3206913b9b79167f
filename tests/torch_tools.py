"""Helpers of the tests that compare minires with torch; import after pytest.importorskip("torch")."""

import numpy as np
import torch

from minires.tensor import Tensor

TOLERANCE = {np.dtype("float64"): 1e-10, np.dtype("float32"): 1e-5}


def to_torch(tensor):
    """A torch tensor with a copy of the values."""
    array = tensor.array if isinstance(tensor, Tensor) else tensor
    return torch.from_numpy(np.array(array, order="C"))


def assert_close(ours, theirs, name="", tolerance=None):
    """Shapes and types equal; values within the tolerance, relative to the largest value of the expected array."""
    ours = ours.array if isinstance(ours, Tensor) else np.asarray(ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{name}: shapes {ours.shape} and {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{name}: types {ours.dtype} and {theirs.dtype}"
    if theirs.dtype.kind != "f":
        assert np.array_equal(ours, theirs), name
        return
    tolerance = TOLERANCE[theirs.dtype] if tolerance is None else tolerance
    scale = np.abs(theirs).max() if theirs.size else 0.0
    error = np.abs(ours.astype(np.float64) - theirs).max() if theirs.size else 0.0
    assert error <= tolerance * max(scale, 1e-30), f"{name}: off by {error:.3g}, largest value {scale:.3g}"


def load_into_torch(ours, theirs):
    """Give a torch module the weights of one of ours; strict, so that names and shapes must agree."""
    theirs.load_state_dict({name: to_torch(tensor) for name, tensor in ours.state_dict().items()})


def compare_modules(ours, theirs, shapes, seed=0, dtype=None, tolerance=None):
    """Forward and backward of two modules that hold the same weights, with random inputs and a random cotangent."""
    random = np.random.default_rng(seed)
    floats = [t.dtype for t in (*ours.parameters(), *ours.buffers()) if t.dtype.kind == "f"]
    dtype = dtype or floats[0]
    arrays = [random.standard_normal(shape).astype(dtype) for shape in shapes]
    mine = [Tensor(array.copy(), requires_grad=True) for array in arrays]
    other = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
    y = ours(*mine)
    expected = theirs(*(tensor.clone() for tensor in other))  # clones, since a leaf cannot be changed in place
    assert_close(y, expected, "output", tolerance)
    cotangent = np.asarray(random.standard_normal(expected.shape), dtype=dtype)
    y.backward(Tensor(cotangent))
    expected.backward(torch.from_numpy(cotangent))
    for number, (a, b) in enumerate(zip(mine, other, strict=True)):
        assert_close(a.grad, b.grad, f"gradient of input {number}", tolerance)
    compare_gradients(ours, theirs, tolerance)
    for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert_close(a, b, name, tolerance)


def compare_gradients(ours, theirs, tolerance=None):
    """The gradients of all parameters, by name."""
    expected = dict(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(expected)
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == (expected[name].grad is None), name
        if parameter.grad is not None:
            assert_close(parameter.grad, expected[name].grad, f"gradient of {name}", tolerance)
