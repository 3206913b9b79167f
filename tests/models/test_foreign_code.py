"""A ResNet written for torch by somebody else runs here when the names in its import lines are replaced, no more."""

import pathlib
import re
import types

import numpy as np
import pytest

import minires as mr
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, compare_gradients  # noqa: E402

FOLDER = pathlib.Path(__file__).parent


def load(name, replace):
    """The program as a module; with `replace`, its import lines name minires."""
    text = (FOLDER / f"{name}.py.txt").read_text("utf-8")
    if replace:
        text, whole = re.subn(r"^import torch$", "import minires as torch", text, flags=re.M)
        text, parts = re.subn(r"^(import|from) torch\b", r"\1 minires", text, flags=re.M)
        assert whole == 1 and parts >= 3
    module = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module


def pair(name, builder="build"):
    """The same network in both frameworks, in float64 and with the same weights."""
    ours, theirs = load(name, True), load(name, False)
    mine, other = getattr(ours, builder)().double(), getattr(theirs, builder)().double()
    assert isinstance(mine, mr.nn.Module) and isinstance(other, torch.nn.Module)
    assert list(mine.state_dict()) == list(other.state_dict())
    mine.load_state_dict({key: tensor.numpy() for key, tensor in other.state_dict().items()})
    return ours, theirs, mine, other


def data():
    random = np.random.default_rng(0)
    return random.standard_normal((6, 3, 32, 32)), np.arange(6) % 6


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "builder"),
    [("foreign_functional", "build"), ("foreign_functional", "build_b"), ("foreign_classic", "build")],
)
def test_same_outputs_and_gradients(name, builder, training):
    ours, theirs, mine, other = pair(name, builder)
    images, labels = data()
    mine.train(training)
    other.train(training)
    assert_close(mine(Tensor(images)), other(torch.from_numpy(images)))
    a = ours.loss(mine, Tensor(images), Tensor(labels))
    b = theirs.loss(other, torch.from_numpy(images), torch.from_numpy(labels))
    assert_close(a, b)
    a.backward()
    b.backward()
    compare_gradients(mine, other, 1e-9)


def test_same_training():
    ours, theirs, mine, other = pair("foreign_classic")
    images, labels = data()
    losses, correct = ours.train(mine, Tensor(images), Tensor(labels), 6)
    expected, their_correct = theirs.train(other, torch.from_numpy(images), torch.from_numpy(labels), 6)
    assert np.allclose(losses, expected, rtol=1e-7)
    assert abs(correct - their_correct) < 1e-6 and losses[-1] < losses[0]
    for (name, a), (_, b) in zip(mine.named_parameters(), other.named_parameters(), strict=True):
        assert_close(a, b, name, 1e-7)


def test_initial_values_have_the_same_law():
    for name in ("foreign_functional", "foreign_classic"):
        _, _, mine, other = pair(name)
        fresh = load(name, True).build()
        for (key, a), (_, b) in zip(fresh.named_parameters(), other.named_parameters(), strict=True):
            if b.ndim > 1:
                assert abs(a.array.std() / b.std().item() - 1) < 8 / b.numel() ** 0.5, (name, key)
        assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in other.parameters())
