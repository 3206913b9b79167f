"""Model files written for torch run here when the word torch is replaced by minires throughout, and nothing else.

Each file of tests/models/ported/ is executed twice, as it stands and with the word replaced; the weights are copied.
"""

import numpy as np
import pytest

from minires.tensor import Tensor
from tests.models.ported_files import FILES, load

torch = pytest.importorskip("torch")

PICTURES = np.random.default_rng(0).standard_normal((4, 3, 32, 32))
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}  # through a whole network, some of whose gradients nearly vanish
ROUGH_IN_TORCH = {"mobilenet": 1e-7}  # torch's hardsigmoid rounds 1 / 6 to float32 in float64, too


def outputs(result):
    """The tensors of a result: itself, or those of a tuple or a dict; a name in place of None."""
    values = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else [result]
    return [value for value in values if value is not None]


def compare(found, expected, tolerance):
    """Two lists of arrays: each within the tolerance of its own largest value, or of a thousandth of the largest of
    all, since where the value is 0 (the gradient of a bias in front of a batch norm) only roundings are left.
    """
    largest = max((float(b.detach().abs().max()) for b in expected if b is not None), default=0.0)
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a is None) == (b is None), number
        if b is not None:
            assert a.dtype.name == str(b.dtype).removeprefix("torch."), number
            error = float(np.abs(a.array - b.detach().numpy()).max())
            assert error <= tolerance * max(float(b.detach().abs().max()), largest / 1000), number


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FILES)
def test_same_outputs_and_gradients(name, dtype, training):
    tolerance = max(TOLERANCE[dtype], ROUGH_IN_TORCH.get(name, 0))
    torch.manual_seed(0)
    mine, other = load(name, "minires").build(), load(name, "torch").build()
    mine, other = mine.to(dtype).train(training), other.to(getattr(torch, dtype)).train(training)
    assert list(mine.state_dict()) == list(other.state_dict())
    assert repr(mine) == repr(other).replace("NonDynamicallyQuantizableLinear", "Linear")
    mine.load_state_dict({key: tensor.numpy() for key, tensor in other.state_dict().items()})
    pictures = PICTURES.astype(dtype)
    ours, theirs = Tensor(pictures, requires_grad=True), torch.tensor(pictures, requires_grad=True)
    found, expected = outputs(mine(ours)), outputs(other(theirs))
    compare(found, expected, tolerance)
    for a, b in zip(found, expected, strict=True):
        weights = np.random.default_rng(1).standard_normal(a.shape).astype(dtype)
        (a * Tensor(weights)).sum().backward(retain_graph=True)
        (b * torch.from_numpy(weights)).sum().backward(retain_graph=True)
    names = [[name for name, _ in model.named_parameters()] for model in (mine, other)]
    assert names[0] == names[1]
    gradients = [[x.grad, *(p.grad for p in model.parameters())] for x, model in ((ours, mine), (theirs, other))]
    compare(*gradients, tolerance)
    compare(list(mine.buffers()), list(other.buffers()), tolerance)


def test_there_are_model_files():
    assert len(FILES) >= 13
