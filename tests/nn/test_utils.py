"""nn.utils, the further functions of nn.init and the containers of parameters, against torch's."""

import math

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.nn import utils
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, to_torch  # noqa: E402

SHAPES = [(4, 3), (5,), (2, 3, 3, 2)]


def parameters(factor=1.0):
    """Ours and torch's, with gradients; the last one has none."""
    random = np.random.default_rng(0)
    ours = [nn.Parameter(random.standard_normal(shape)) for shape in (*SHAPES, (2,))]
    theirs = [torch.nn.Parameter(to_torch(p)) for p in ours]
    for mine, other in zip(ours[:-1], theirs[:-1], strict=True):
        gradient = random.standard_normal(mine.shape) * factor
        mine.grad, other.grad = Tensor(gradient.copy()), torch.from_numpy(gradient.copy())
    return ours, theirs


def assert_same_gradients(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clip_grad_norm(norm_type, max_norm):
    ours, theirs = parameters()
    total = utils.clip_grad_norm_(iter(ours), max_norm, norm_type)
    assert_close(total, torch.nn.utils.clip_grad_norm_(iter(theirs), max_norm, norm_type))
    assert_same_gradients(ours, theirs)
    assert_close(utils.get_total_norm([p.grad for p in ours[:-1]], norm_type),
                 torch.nn.utils.get_total_norm([p.grad for p in theirs[:-1]], norm_type))  # fmt: skip


def test_clip_grad_norm_of_one_of_none_and_of_nan():
    ours, theirs = parameters()
    assert_close(utils.clip_grad_norm_(ours[0], 1.0), torch.nn.utils.clip_grad_norm_(theirs[0], 1.0))
    assert utils.clip_grad_norm_([ours[-1]], 1.0).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        assert utils.clip_grad_norm_((p for p in ()), 1.0).item() == 0
    ours[1].grad.array[0] = math.nan
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert math.isnan(utils.clip_grad_norm_(ours, 1.0).item()) and np.isnan(ours[0].grad.array).all()


def test_clip_grad_value():
    ours, theirs = parameters(3.0)
    utils.clip_grad_value_(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    assert_same_gradients(ours, theirs)
    assert max(abs(p.grad.array).max() for p in ours[:-1]) == 0.7


def test_vectors_of_parameters():
    ours, theirs = parameters()
    vector = utils.parameters_to_vector(ours)
    assert_close(vector, torch.nn.utils.parameters_to_vector(theirs))
    vector.sum().backward()
    assert all(p.grad is not None for p in ours)
    order = ours[2].array.strides
    utils.vector_to_parameters(vector.detach() * 2, ours)
    torch.nn.utils.vector_to_parameters(torch.nn.utils.parameters_to_vector(theirs) * 2, theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other)
    assert ours[2].array.strides == order
    with pytest.raises(RuntimeError, match="too short: parameter 1"):
        utils.vector_to_parameters(mr.zeros(13), ours)
    with pytest.raises(TypeError, match="expected a Tensor"):
        utils.vector_to_parameters([1.0], ours)


@pytest.mark.parametrize("padding_mode", ["reflect", "circular"])
def test_a_norm_is_folded_into_a_convolution_with_another_padding(padding_mode):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode=padding_mode), nn.BatchNorm2d(4), nn.ReLU())
    model[1].running_mean.array[...] = [0.3, -0.2, 0.1, 0.5]
    model[1].weight.array[...] = [1.5, -0.5, 2.0, 1.0]
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32))
    expected = model.eval()(x)
    assert np.allclose(utils.fuse_conv_bn_eval(model[0], model[1])(x).relu().array, expected.array, atol=1e-5)
    assert np.allclose(mr.compile_inference(model, x)(x).array, expected.array, atol=1e-5)


@pytest.mark.parametrize(("kind", "norm", "shape"), [
    ("Conv1d", "BatchNorm1d", (2, 3, 7)), ("ConvTranspose1d", "BatchNorm1d", (2, 3, 7)),
    ("ConvTranspose2d", "BatchNorm2d", (2, 3, 5, 4)),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_a_norm_is_folded_into_other_convolutions(kind, norm, shape, bias):
    conv, bn = getattr(nn, kind)(3, 4, 3, bias=bias).eval(), getattr(nn, norm)(4).eval()
    bn.running_mean.array[...], bn.running_var.array[...] = [0.3, -0.2, 0.1, 0.5], [1.5, 0.5, 2.0, 1.0]
    bn.weight.array[...], bn.bias.array[...] = [1.5, -0.5, 2.0, 1.0], [0.1, 0.2, 0.3, 0.4]
    x = Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    fused = utils.fuse_conv_bn_eval(conv, bn, transpose="Transpose" in kind)
    assert type(fused) is type(conv) and fused is not conv
    assert np.allclose(fused(x).array, bn(conv(x)).array, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------- nn.init


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 6, 3), 1), ((6, 2, 3, 4), 3), ((4, 4, 2, 3, 3), 2), ((2, 5, 1, 1), 1)]
)
def test_dirac(shape, groups):
    ours, theirs = mr.ones(shape), torch.ones(shape)
    assert nn.init.dirac_(ours, groups) is ours
    assert_close(ours, torch.nn.init.dirac_(theirs, groups))


def test_a_convolution_with_dirac_s_weight_is_the_identity():
    layer = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32))
    assert np.allclose(layer(x).array, x.array, atol=1e-6)
    for wrong, words in ((mr.ones(2, 3), "3, 4, or 5 dimensions"), (mr.ones(3, 2, 1), "divisible by groups")):
        with pytest.raises(ValueError, match=words):
            nn.init.dirac_(wrong, groups=2)


def test_sparse():
    matrix = nn.init.sparse_(mr.zeros(50, 40), sparsity=0.33, std=0.5)
    zeros = (matrix.array == 0).sum(0)
    assert (zeros == math.ceil(0.33 * 50)).all() and abs(matrix.array[matrix.array != 0].std() - 0.5) < 0.03
    assert len({tuple(column) for column in (matrix.array == 0).T}) > 30, "other rows in each column"
    with pytest.raises(ValueError, match="2 dimensions"):
        nn.init.sparse_(mr.zeros(3), 0.1)


# -------------------------------------------------------------------------------------------- containers of parameters


def built(library, tensor):
    class Model(library.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = library.nn.ParameterList([tensor([1.0, 2.0]), library.nn.Parameter(tensor([3.0]))])
            self.rows.append(tensor([[4.0]]))
            self.rows += [tensor([5.0])]
            self.named = library.nn.ParameterDict({"b": tensor([6.0]), "a": tensor([7.0])})
            self.named["c"] = library.nn.Parameter(tensor([8.0]))

    return Model()


def test_parameter_containers_have_torch_s_keys():
    ours, theirs = built(mr, mr.tensor), built(torch, torch.tensor)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert [value.tolist() for value in state.values()] == [value.tolist() for value in expected.values()]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert len(ours.rows) == 4 and [p.tolist() for p in ours.rows[1:3]] == [[3.0], [[4.0]]]
    assert isinstance(ours.rows[1:], nn.ParameterList) and ours.rows[-1] is ours.rows[3]
    ours.load_state_dict({name: value + 1 for name, value in state.items()})
    assert ours.rows[0].tolist() == [2.0, 3.0] and ours.named["a"].tolist() == [8.0]


def test_parameter_list_and_dict_as_containers():
    rows = nn.ParameterList([mr.ones(2), "text"])
    rows[0] = mr.zeros(3)
    assert isinstance(rows[0], nn.Parameter) and rows[1] == "text" and len(list(rows.parameters())) == 1
    assert repr(rows) == ("ParameterList(\n    (0): Parameter containing: [float32 of size 3]\n"
                          "    (1): Object of type: str\n)")  # fmt: skip
    with pytest.raises(IndexError, match="out of range"):
        rows[2]
    with pytest.raises(TypeError, match="should be called with an iterable"):
        rows.extend(mr.ones(2))
    with pytest.raises(RuntimeError, match="should not be called"):
        rows(mr.ones(2))
    named = nn.ParameterDict([("z", mr.ones(1)), ("a", mr.ones(2))])
    assert list(named) == ["z", "a"] and "z" in named and len(named) == 2 and named.get("y") is None
    assert named.setdefault("y", mr.ones(3)).shape == (3,) and list(named.copy().keys()) == ["z", "a", "y"]
    assert named.pop("a").shape == (2,) and named.popitem()[0] == "y" and [k for k, _ in named.items()] == ["z"]
    named.clear()
    assert not list(named.parameters()) and not list(named.values())
    with pytest.raises(KeyError):
        named["z"]
    with pytest.raises(TypeError, match="key must be a string"):
        named[1] = mr.ones(1)
