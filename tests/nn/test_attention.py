"""Attention: every argument as in torch, gradients included; and what is refused."""

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.tensor import Tensor

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close, compare_gradients  # noqa: E402

RANDOM = np.random.default_rng(0)
MASK = np.triu(np.ones((4, 4), bool), 1)
SETTINGS = (
    {}, {"batch_first": True}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True},
    {"kdim": 3, "vdim": 5}, {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
)  # fmt: skip
CALLS = (
    {}, {"need_weights": False}, {"average_attn_weights": False}, {"attn_mask": MASK},
    {"attn_mask": MASK, "need_weights": False, "is_causal": True},
    {"attn_mask": RANDOM.standard_normal((4, 4)), "need_weights": False},
    {"attn_mask": np.repeat(MASK[None], 4, 0)},
    {"key_padding_mask": np.array([[False, False, False, True], [False, True, False, False]])},
    {"key_padding_mask": np.array([[False, False, False, True]] * 2), "attn_mask": MASK, "need_weights": False},
)  # fmt: skip


def pair(**settings):
    mine, other = (
        nn.MultiheadAttention(6, 2, **settings).double(),
        torch.nn.MultiheadAttention(6, 2, **settings).double(),
    )
    assert list(mine.state_dict()) == list(other.state_dict())
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    mine.load_state_dict({key: value.numpy() for key, value in other.state_dict().items()})
    return mine, other


def compare(mine, other, arrays, call, shared=False):
    ours = [Tensor(array.copy(), requires_grad=True) for array in arrays]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    a = mine(
        *(ours[:1] * 3 if shared else ours), **{k: Tensor(v) if hasattr(v, "dtype") else v for k, v in call.items()}
    )
    b = other(*(theirs[:1] * 3 if shared else theirs),
              **{k: torch.from_numpy(v) if hasattr(v, "dtype") else v for k, v in call.items()})  # fmt: skip
    assert_close(a[0], b[0])
    assert (a[1] is None) == (b[1] is None)
    losses = [(a[0] ** 2).sum(), (b[0] ** 2).sum()]
    if b[1] is not None:
        assert_close(a[1], b[1])
        losses = [losses[0] + (a[1] ** 3).sum(), losses[1] + (b[1] ** 3).sum()]
    losses[0].backward()
    losses[1].backward()
    for x, y in zip(ours, theirs, strict=True):
        assert (x.grad is None) == (y.grad is None)
        if y.grad is not None:
            assert_close(x.grad, y.grad)
    compare_gradients(mine, other)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: "-".join(call) or "plain")
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings) or "plain")
def test_as_torch(settings, call):
    if "is_causal" in call and ("add_bias_kv" in settings or "add_zero_attn" in settings):
        pytest.skip("torch then forgets the mask, and which keys may be seen depends on need_weights")
    mine, other = pair(**settings)
    shape = (2, 4) if settings.get("batch_first") else (4, 2)
    widths = (6, settings.get("kdim", 6), settings.get("vdim", 6))
    compare(mine, other, [RANDOM.standard_normal((*shape, width)) for width in widths], call)


@pytest.mark.parametrize("call", [{}, {"need_weights": False}])
def test_of_a_sequence_to_itself_and_of_a_single_one(call):
    compare(*pair(), [RANDOM.standard_normal((4, 2, 6))], call, shared=True)
    compare(*pair(), [RANDOM.standard_normal((n, 6)) for n in (3, 4, 4)], call)


@pytest.mark.parametrize("settings", [{}, {"norm_first": True}, {"activation": "gelu"}, {"bias": False}])
def test_encoder(settings):
    theirs = torch.nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True, **settings)
    theirs = torch.nn.TransformerEncoder(theirs, 2, torch.nn.LayerNorm(6), enable_nested_tensor=False).double()
    ours = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True, **settings)
    ours = nn.TransformerEncoder(ours, 2, nn.LayerNorm(6)).double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x, padding = RANDOM.standard_normal((2, 4, 6)), np.array([[False] * 4, [False, False, True, True]])
    a = ours(Tensor(x), Tensor(MASK), Tensor(padding), is_causal=True)
    b = theirs(torch.from_numpy(x), torch.from_numpy(MASK), torch.from_numpy(padding), is_causal=True)
    assert_close(a, b)
    (a**3).sum().backward()
    (b**3).sum().backward()
    compare_gradients(ours, theirs)


def test_function_in_full():
    q, k, v = (RANDOM.standard_normal((2, 4, n, 3)) for n in (3, 5, 5))
    few = [k[:, :2], v[:, :2]]
    blind = np.ones((3, 5), bool)
    blind[1] = False
    for arrays, call in (((q, *few), {"enable_gqa": True}), ((q, k[:1], v), {}), ((q, k, v), {"attn_mask": blind}),
                         ((q[..., :0, :], k, v), {}), ((q, k, v), {"is_causal": True, "scale": 2.0})):  # fmt: skip
        found, expected = [], []
        for make, function, into in ((Tensor, nn.functional, found), (torch.tensor, torch.nn.functional, expected)):
            inputs = [make(array, requires_grad=True) for array in arrays]
            mask = {key: make(value) if hasattr(value, "dtype") else value for key, value in call.items()}
            y = function.scaled_dot_product_attention(*inputs, **mask)
            (y**2).sum().backward()
            into += [y, *(x.grad for x in inputs)]
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)


def test_dropout_is_drawn_and_scaled():
    q = Tensor(np.zeros((200, 4)))
    y = nn.functional.scaled_dot_product_attention(q, q, Tensor(np.ones((200, 1))), dropout_p=0.25)
    assert 0.95 < float(y.mean()) < 1.05 and float(y.std()) > 0
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = mr.randn(5, 1, 4)
    assert not mr.equal(layer(x, x, x)[0], layer(x, x, x)[0])
    layer.eval()
    assert mr.equal(layer(x, x, x)[0], layer(x, x, x)[0])


def test_what_is_refused():
    q = mr.randn(2, 3, 4)
    F = nn.functional
    for arguments, settings in (((q, q, q[..., :2, :]), {}), ((q, q.double(), q), {}), ((q, q[..., :3], q), {}),
                                ((q, q, q, mr.ones(3, 3)), {"is_causal": True}), ((q[0, 0], q, q), {}),
                                ((q, q, q, mr.ones(5, 3)), {}), ((q, q, q, mr.ones(3, 3).double()), {}),
                                ((q, q, q), {"dropout_p": 2.0}), ((q.long(),) * 3, {})):  # fmt: skip
        with pytest.raises(RuntimeError):
            F.scaled_dot_product_attention(*arguments, **settings)
    with pytest.raises(AssertionError, match="divisible"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(ValueError, match="greater than 0"):
        nn.MultiheadAttention(0, 2)
    layer = nn.MultiheadAttention(4, 2)
    with pytest.raises(AssertionError, match="expecting embedding dimension"):
        layer(mr.randn(3, 2, 6), q, q)
    with pytest.raises(AssertionError, match="3-D"):
        layer(q, q[0], q[0])
    with pytest.raises(RuntimeError, match="is_causal"):
        layer(q, q, q, is_causal=True)
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh")
