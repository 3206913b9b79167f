"""Expressions that once gave something else than in torch: types, values, gradients and kinds of errors are the same.

`L` is the library, `F` its nn.functional; x, y, z hold real numbers (2, 3), w some that are not finite, i whole
numbers, k 0 to 2, b booleans, u bytes.
"""

import warnings

import numpy as np
import pytest

import minires as mr
from tests.ops.test_bad_input import family, raised_by

torch = pytest.importorskip("torch")

SAME = """
L.cat([x, i]) | L.stack([i, x]) | L.cat([i, L.tensor([])]) | L.cat([x, y], axis=1) | L.stack([x, y], axis=0)
x.sum(axis=1) | x.mean(axis=0, keepdims=True) | x.max(axis=0) | x.argmax(axis=1) | x.softmax(1, L.float64)
F.softmax(x) | F.log_softmax(x[0]) | F.softmin(x) | L.nn.Softmax()(x) | x.split(split_size=2, dim=1)
i ** k | k ** i | L.pow(2, i) | L.pow(i, -1) | i ** -1 | L.tensor(True) ** L.tensor(True)
u + 300 | u * -1 | u // -2 | u & 300 | u > -1 | L.full((2,), 300, dtype=L.uint8) | u.clone().fill_(300)
L.add(b, b, alpha=2) | L.lerp(i, i, 0.5) | L.addcmul(i, i, i, value=0.5) | L.addcdiv(i, i, k + 1)
L.addmm(i[:, :2], i, i.T, beta=0.5, alpha=1.5) | L.addmv(i[:, 0], i, i[0], beta=0.5)
L.addr(i, i[:, 0], i[0], beta=0.5)
L.baddbmm(i[None, :, :2], i[None], i.T[None], beta=0.5) | L.addbmm(x[:, :2], x[None], y.T[None], beta=2)
i.masked_fill(b, 1.5) | b.masked_fill(b, -3.5) | L.clamp(w, y) | L.clamp(w, y, z) | L.copysign(w, y)
x[u[:, 0]] | x.index_select(1, k[0, 0]) | x.view(3, 2).amax() | L.zeros(0, 3).amax() | L.zeros(0, 3).norm(float("inf"))
x[0, 0].max(0) | x[0, 0].sort() | x[0, 0].topk(1) | x[0, 0].kthvalue(1)
x.quantile(q=L.sigmoid(y[0]), dim=1) | w.scatter_reduce(1, k, y, "amax") | x.scatter_reduce(1, k, w, "amin")
L.exp("a") | L.sqrt(2) | L.zeros(size=(2, 3)) | L.arange(end=4) | L.zeros(-1)
x.new_zeros(size=(2,)) | x.new_ones((2, 1)) | x.type_as(other=i) | L.zeros_like(x, memory_format=L.preserve_format)
L.empty(2, memory_format=L.contiguous_format).shape
x.clone().zero_() | x.clone().greater_(0) | L.relu_(x.clone()) | F.elu_(x.clone(), 0.5) | x.clone().arctan_()
F.mse_loss(x, y, size_average=False) | F.mse_loss(x, y, reduce=False) | L.nn.L1Loss(False)(x, y)
L.nn.KLDivLoss(reduction="batchmean", log_target=True)(x, y) | F.cross_entropy(x, L.tensor([-100, -100]))
F.cross_entropy(x, k[:, 0], z[0]) | F.kl_div(w, x.sigmoid()) | F.linear(x, y[0]) | F.linear(x, y, z[0, 0])
F.dropout2d(x, 0.0) | F.pad(x[:, None][:0], (1, 1), mode="reflect")
L.linalg.det(A=x @ y.T) | L.linalg.matrix_power(i @ i.T, 3) | L.det((w[:, :2])) | L.linalg.inv(x.half()[:, :2])
f"{x[0, 0] * 0}" | f"{L.tensor(3)}" | x.shape.numel() | x.shape[1:].numel() | x.storage_offset() | x[1].storage_offset()
L.trapezoid(i) | L.nanmedian(w) | L.nanmedian(w, 1) | L.cov(x) | L.corrcoef(y) | L.vander(i[0])
L.nn.Bilinear(3, 3, 2)(x, y).shape | L.nn.MultiLabelMarginLoss()(x, k) | F.multilabel_margin_loss(x[0], k[0])
F.embedding_bag(k, x.T) | F.embedding_bag(k, x.T, mode="sum", per_sample_weights=y)
F.embedding_bag(k, x.T, mode="max")
F.embedding_bag(k[0], x.T, L.tensor([0, 2])) | F.upsample_nearest(x[None, None], scale_factor=2)
L.device("cuda", 1).index | L.device("cpu", 0).type | x.uniform_(2, 1) | x.normal_(0, -1)
L.autograd.grad(x.sum(), x, None, True, False, True)
"""


def names(lib):
    """The tensors that expressions name, from the same numbers in each library."""
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal((2, 3)).astype(np.float32) for name in "xyzw"}
    arrays["w"].reshape(-1)[:4] = np.nan, np.inf, -np.inf, 0
    arrays |= {"i": random.integers(-9, 10, (2, 3)), "k": random.integers(0, 3, (2, 3))}
    arrays |= {"b": arrays["x"] > 0, "u": random.integers(0, 256, (2, 3)).astype(np.uint8)}
    made = {name: lib.from_numpy(array.copy()) for name, array in arrays.items()}
    for name in "xyzw":
        made[name].requires_grad_()
    return {"L": lib, "F": lib.nn.functional, **made}


def flat(result):
    return [part for value in result for part in flat(value)] if isinstance(result, tuple | list) else [result]


def outcome(lib, expression):
    """(results with their types, gradients), or (the error's kind, [])."""
    known = names(lib)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = raised_by(lambda *_: eval(expression, known), lib, None)
        if isinstance(result, Exception):
            return family(result), []
        found = flat(result)
        for y in found:
            if isinstance(y, lib.Tensor) and y.requires_grad and y.grad_fn is not None:
                y.backward(lib.ones_like(y) * 0.7, retain_graph=True)
    results = [
        (str(y.dtype).removeprefix("torch."), np.array(y.tolist())) if isinstance(y, lib.Tensor) else y for y in found
    ]
    gradients = [known[name].grad for name in "xyzw"]
    return results, [None if grad is None else np.array(grad.tolist()) for grad in gradients]


@pytest.mark.parametrize(
    "expression", [part.strip() for line in SAME.strip().splitlines() for part in line.split(" | ")]
)
def test_same(expression):
    (ours, our_gradients), (theirs, their_gradients) = outcome(mr, expression), outcome(torch, expression)
    if not isinstance(theirs, list):
        assert ours == theirs
        return
    assert isinstance(ours, list) and len(ours) == len(theirs), ours
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, tuple):
            assert a[0] == b[0]
            np.testing.assert_allclose(a[1], b[1], rtol=1e-5, atol=1e-6)
        else:
            assert a == b
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 3), (2, 9), (4, 5)])
@pytest.mark.parametrize("settings", [
    {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}, {"mode": "bilinear", "antialias": True},
    {"mode": "bicubic"}, {"mode": "bicubic", "align_corners": True}, {"mode": "bicubic", "antialias": True},
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_bytes_are_resized_to_the_same_bytes(settings, size, channels):
    pictures = np.random.default_rng(1).integers(0, 256, (2, channels, 4, 5)).astype(np.uint8)
    ours = mr.nn.functional.interpolate(mr.from_numpy(pictures), size, **settings)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(pictures), size, **settings)
    assert ours.dtype == np.uint8 and np.array_equal(ours.array, theirs.numpy())
