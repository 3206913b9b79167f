"""One line a call: the same words mean the same in both libraries, to the last argument, or both refuse.

`t` is the library. Names: s a number without axes, v a vector, w another, m and n matrices, p (2, 1, 3, 4), i and j
integers, b booleans, u bytes; those of real numbers need a gradient, and the gradients are compared too.
"""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

RANDOM = np.random.default_rng(0)
REAL = {
    "s": np.array(1.5), "v": RANDOM.standard_normal(5), "w": RANDOM.standard_normal(5),
    "m": RANDOM.standard_normal((3, 4)), "n": RANDOM.standard_normal((3, 4)), "q": RANDOM.standard_normal((3, 3)),
    "p": RANDOM.standard_normal((2, 1, 3, 4)), "e": np.zeros((0, 3)),
    "z": np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0]),
}  # fmt: skip
WHOLE = {
    "i": np.array([2, 0, 1]), "j": np.array([[0, 2, 1, 0], [1, 1, 0, 2]]), "k": np.array(0),
    "g": np.array([7, -3, 2, 2]),
    "b": np.array([True, False, True, True, False]), "c": np.arange(12).reshape(3, 4) % 3 == 0,
    "u": np.array([3, 250, 0, 7], np.uint8),
}  # fmt: skip

SAME = """
t.sum(s, 0) | t.sum(s, 0, True) | t.sum(s, dim=-1) | t.mean(s, 0, True) | t.amax(s, 0)
t.amin(s, dim=(0,), keepdim=True)
t.all(k, 0) | t.any(k, 0, True) | t.logsumexp(s, 0, True) | t.var(s, 0, correction=0) | t.count_nonzero(s, 0)
t.norm(s, 2, 0) | t.prod(s, 0) | t.cumsum(s, 0) | t.cumprod(s, 0) | t.max(s, 0) | t.argmax(s, 0) | t.median(s, 0)
t.softmax(s, 0) | t.log_softmax(s, 0) | t.sort(s, 0) | t.topk(s, 1) | t.squeeze(s, 0) | t.flip(s, (0,))
t.unique(s.detach())
t.gather(s, 0, k) | t.gather(v, 0, i) | t.gather(s, 0, k.reshape(1)) | t.index_select(s, 0, k.reshape(1))
t.scatter(s, 0, k, s * 2) | t.scatter_add(s, 0, k, s) | t.index_fill(s, 0, k, 2.0) | t.index_add(s, 0, k, s)
t.index_copy(s, 0, k, s * 3) | t.nn.functional.normalize(s, dim=0) | t.nn.functional.cosine_similarity(s, s, 0)
t.flip(m, dims=(0, 1)) | t.flip(m, [0]) | m.flip(0, 1) | m.flip(dims=(1,)) | t.permute(p, dims=(1, 0, 3, 2))
m.permute(dims=(1, 0))
t.reshape(m, shape=(4, 3)) | m.reshape(4, 3) | t.tile(m, dims=(2, 1)) | m.repeat(2, 1) | m.expand(2, 3, 4)
m.expand(size=(2, 3, 4))
m.view(size=(4, 3)) | m.repeat(repeats=(2, 1)) | m.view(2, -1) | t.squeeze(p, dim=()) | t.squeeze(p, (0, 1))
p.squeeze(1)
t.var(m, correction=None) | t.std(m, 1, True) | t.var(m, dim=(0, 1), keepdim=True) | t.std(m, unbiased=False)
t.var(m, 0, correction=2)
t.norm(m, 0) | t.norm(m, -1, 1) | t.norm(m, -2, 0) | t.norm(m, float("inf")) | t.norm(m, float("-inf"), 1)
t.norm(m, 0.5, (0, 1))
t.norm(m, "fro") | t.norm(m, "fro", (0, 1), True) | t.norm(m, "nuc") | t.norm(m, 3, 1, True)
t.norm(v, p=1, dtype=t.float64)
t.where(c, m, n) | t.where(c, 1.0, m) | t.where(c, m, 0) | m.where(c, n) | t.where(c)
t.scatter(v.detach(), 0, i, w.detach(), reduce="add") | t.scatter(v.detach(), 0, i, 2.0, reduce="multiply")
t.scatter(g, 0, i, g, reduce="multiply")
v.scatter_reduce(0, i, w[:3], "sum") | t.scatter_reduce(v, 0, i, w[:3], reduce="amax")
v.scatter_reduce(0, i, w[:3], "mean", include_self=False)
v.scatter_reduce(0, i, w[:3], "prod") | v.scatter_reduce(0, i, w[:3], "amin", include_self=False)
m.scatter_reduce(0, j, n[:2], "sum")
t.scatter_reduce(z.detach(), 0, i, w[:3].detach(), "amax")
t.scatter_reduce(z.detach(), 0, i, z[:3].detach(), "prod") | g.scatter_reduce(0, i, g[:3], "amin", include_self=False)
t.tensor(0.1, dtype=t.float64) | t.tensor([0.1, 1e-9], dtype=t.float64) | t.full((2,), 0.1, dtype=t.float64)
t.as_tensor(0.1, dtype=t.float64)
t.tensor([[1, 2], [3, 4.5]]) | t.tensor(True) | t.tensor([]) | t.tensor(3) | t.tensor([1, True]) | t.full((2,), 3)
t.full((2,), True) | t.asarray(0.1, dtype=t.float64)
t.searchsorted(t.sort(v).values.detach(), w.detach(), right=True)
t.searchsorted(t.sort(m, 1).values.detach(), n.detach())
t.searchsorted(t.sort(v).values.detach(), w.detach(), out_int32=True)
t.bucketize(w.detach(), t.sort(v).values.detach(), out_int32=True)
t.searchsorted(v.detach(), w.detach(), sorter=t.argsort(v.detach()))
t.bucketize(0.5, t.sort(v).values.detach(), right=True)
t.repeat_interleave(m, 2, 1, output_size=8) | t.repeat_interleave(m, i, dim=0) | t.repeat_interleave(i)
m.repeat_interleave(2)
t.unique_consecutive(j, dim=0) | t.unique_consecutive(g, return_inverse=True, return_counts=True, dim=0)
t.unique(j, dim=1)
t.all(u) | t.any(u, 0) | t.all(g, 0) | u.any() | t.all(m, (0, 1)) | t.any(m, dim=1, keepdim=True)
t.arange(-0.9, 2.1, 2, dtype=t.int64) | t.arange(5.5, dtype=t.int32) | t.arange(3, 0, -1) | t.arange(1, 2, 0.25)
t.arange(3.0)
t.linspace(0, 1, 5) | t.linspace(4.3, -3, 7, dtype=t.int64) | t.linspace(2, 3, 1) | t.linspace(1, 2, 0)
t.logspace(0, 2, 3, base=2)
t.take_along_dim(q, t.argsort(q, 1)[:, :2], 1) | t.take_along_dim(m, j[:1], 0)
t.take_along_dim(m, t.argsort(m, 1), dim=1)
t.masked_scatter(v, b.reshape(1, 5), v * 2) | t.masked_scatter(v, t.stack([b, b]), t.cat([v, w]))
m.masked_fill(c, 3)
t.cat([m, n], dim=-1) | t.cat((m, n)) | t.cat([m, e.reshape(0)[:0]], 0) | t.concat([v, w]) | t.stack([m, n], -1)
t.hstack([v, w])
t.clamp(u, max=5) | t.clamp(g, 0.5) | u.clone().clamp_(i.max()) | u.clone().add_(1) | t.add(u, u, alpha=2)
t.sub(g, 1, alpha=3)
t.nan_to_num(z) | t.log(z) | t.sqrt(z) | t.relu(z) | t.sigmoid(z) | t.softmax(z, 0) | t.max(z) | t.min(z, 0)
t.amax(z) | t.sign(z)
t.argmax(z) | t.sort(z) | t.cumsum(z, 0) | t.clamp(z, -1, 1) | t.maximum(z, z * 0) | t.topk(z, 2) | t.isfinite(z)
t.median(z) | t.std(z)
t.sum(e) | t.sum(e, 0) | t.prod(e, 0) | t.mean(e, 1) | t.var(e, 1) | t.all(e) | t.any(e, 1) | t.logsumexp(e, 0)
t.cumsum(e, 0) | t.norm(e)
t.softmax(e, 0) | t.sort(e, 0) | t.matmul(e, q) | t.matmul(e.T, e) | t.cat([e, q]) | t.argmax(e, 1) | t.amax(e, 1)
t.flip(e, (0,))
m @ v[:4] | v[:3] @ m | m[1:, ::2] | m[c] | m[i] | m[i, :2] | m[:, i] | m[None, ..., 1] | m[[0, 2], [1, 3]] | m[b[:3]]
v[k] | m[-1, -2]
+m | -m | abs(m) | m ** 2 | 2 ** m | 1 / m | 3 - m | m.detach() // 2 | m % 2 | 7 % g | ~b | b & b | b ^ (b|b) | g << 1
g >> 1 | 1 << i | g & 3
m == n | m != n | m > 0 | m <= n | s.is_nonzero() | m.nelement() | m.ndimension() | len(m) | m.size(-1) | m.numel()
(v.detach() * 0).bernoulli() | m.T | m.mT | m.t() | p.transpose(-1, 1) | p.swapaxes(0, 1) | p.movedim(0, -1)
t.swapaxes(p, axis0=1, axis1=2)
u.cumsum(0) | u.clone().cumsum_(0) | u.sum() | u.float().mean() | u + 1 | u * 1.5 | u / 2 | u // 2 | g.float() + u
b + 1 | b.sum() | b * m[0, 0]
t.nn.functional.avg_pool2d(p, 2, []) | t.nn.functional.max_pool2d(p, (2, 2), stride=[])
t.nn.functional.avg_pool2d(p, [2, 2], [1], [0])
t.nn.functional.pad(p, (1, 1, 0, 1), "reflect") | t.nn.functional.pad(p, [0, 1, -1, 2], value=2.0)
t.nn.functional.relu6(g) | t.nn.functional.hardtanh(g)
t.nn.functional.leaky_relu(z, 0.2) | t.nn.functional.gelu(z) | t.nn.functional.softplus(z)
t.nn.functional.feature_alpha_dropout(v, 0.5, False)
t.nn.functional.interpolate(u.reshape(1, 1, 2, 2), scale_factor=2) | t.nn.functional.threshold(g, 1, 5)
v.unfold(0, 2, 2) | s.unfold(0, 1, 1) | t.tensordot(m, n, dims=2) | t.tensordot(m, n, ([1], [1]))
t.einsum("ij,ij->i", m, n)
t.std_mean(m) | t.var_mean(m, 0, correction=0) | t.std_mean(m, dim=1, keepdim=True) | t.aminmax(m)
t.aminmax(m, dim=1) | t.aminmax(v, dim=0, keepdim=True)
t.fmax(z, z.flip(0)) | t.fmin(z, z.flip(0)) | t.cummax(m, 1) | t.cummin(m, dim=0) | t.logcumsumexp(m, 1)
t.cummax(g, 0)
t.nansum(z[1:2]) | t.nansum(t.cat([m, m * float("nan")]), 0) | t.nanmean(t.cat([m, m * float("nan")]), 0, True)
t.nansum(g)
t.quantile(v, 0.3) | t.quantile(m, t.tensor([0.1, 0.5, 1.0], dtype=t.float64), 1)
t.quantile(m, 0.4, dim=0, keepdim=True)
t.quantile(v, 0.3, interpolation="lower") | t.quantile(v, 0.3, interpolation="higher")
t.quantile(v, 0.3, interpolation="nearest")
t.quantile(v, 0.3, interpolation="midpoint") | t.nanquantile(t.cat([v, v[:2] * float("nan")]), 0.3)
t.quantile(z, 0.5) | t.mode(g) | t.mode(j, 1, True)
t.kron(m, q) | t.kron(v, w) | t.kron(m, v) | t.inner(m, n) | t.inner(v, w) | t.inner(s, m) | t.vdot(v, w)
t.addmv(v[:3], m, w[:4], beta=0.5, alpha=2)
t.addr(m, v[:3], w[:4]) | t.cdist(m, n) | t.cdist(m, n, p=1) | t.cdist(m, n, 3.0) | t.dist(m, n) | t.dist(v, w, 1)
t.cross(q, q.flip(0), dim=1)
t.linalg.norm(m) | t.linalg.norm(m, ord=1) | t.linalg.norm(m, float("inf")) | t.linalg.norm(v, 3)
t.linalg.norm(m, "fro", (0, 1)) | t.linalg.norm(m, dim=1)
t.linalg.vector_norm(m, 1, 0) | t.linalg.vector_norm(m, 3, dim=(0, 1), keepdim=True) | t.linalg.matrix_norm(m)
t.linalg.matrix_norm(m, -1) | t.linalg.matrix_norm(m, 2)
t.linalg.inv(q) | t.inverse(q) | t.linalg.det(q) | t.det(q) | t.linalg.slogdet(q) | t.logdet(q @ q.T)
t.linalg.solve(q, m) | t.linalg.solve(q, v[:3])
t.linalg.solve(q, m.T, left=False) | t.linalg.cholesky(q @ q.T) | t.linalg.matrix_power(q, 3)
t.linalg.matrix_power(q, -1)
t.linalg.svdvals(m) | t.linalg.qr(q) | t.linalg.cross(q, q.flip(1)) | t.linalg.vecdot(m, n)
t.linalg.multi_dot([m.T, n, v[:4]]) | t.trapezoid(v) | t.trapezoid(m, dx=0.5, dim=0) | t.trapz(m, w[:4])
t.column_stack([v, w]) | t.dstack([m, n]) | t.atleast_1d(s) | t.atleast_2d(v) | t.atleast_3d(m)
t.block_diag(m, q, v) | t.diagflat(v, 1)
t.tensor_split(v, 3) | t.tensor_split(m, (1, 2), dim=1) | t.hsplit(m, 2) | t.vsplit(m, 3) | t.split(m, [1, 2])
t.split(tensor=m, split_size_or_sections=2)
t.copysign(v, w) | t.copysign(v, -1.0) | t.heaviside(v.detach(), w.detach()) | t.signbit(z) | t.isposinf(z)
t.isneginf(z) | t.isreal(z) | t.positive(m)
t.erfinv(t.tanh(m) * 0.9999) | t.erfinv(z / 2) | v.detach().clone().clamp_(-0.9, 0.9).erfinv_() | t.erfinv(v * 1e-3)
t.cartesian_prod(i, g) | t.combinations(v, 2) | t.combinations(g, 3, with_replacement=True)
t.msort(m) | t.rsub(v, w) | t.rsub(v, 1, alpha=2) | t.select_scatter(m, v[:3], 1, 2)
t.slice_scatter(m, n[:, :2], 1, 0, 4, 2)
t.diagonal_scatter(q, v[:3]) | t.index_put(v, (i,), w[:3]) | t.index_put(v, (i,), w[:3], accumulate=True)
t.bitwise_left_shift(g, 1) | t.bitwise_right_shift(g, 1)
g.clone().bitwise_left_shift_(1) | g.bitwise_right_shift(1) | (v[:3] * 1).addmv_(m, w[:4], beta=2)
(m * 1).addr_(v[:3], w[:4])
v.detach().clone().heaviside_(w.detach()) | (v * 3).fix_() | p.detach().clone().squeeze_(1) | (p * 1).squeeze_()
(m * 1).unsqueeze_(0) | (m * 1).transpose_(0, 1) | (m * 1).t_()
(v * 2).eq_(0) | (v * 1).hypot_(w)
"""

RAISING = """
t.maximum(m, 1) | t.minimum(1, m) | t.atan2(m, 1) | t.hypot(m, 1.0) | t.logaddexp(m, 1) | t.logical_and(b, 1)
t.fmod(2, 3) | t.remainder(2, 3)
t.eq(2, m) | t.max(2, 3) | t.isclose(m, n, rtol=-1.0) | t.isclose(m, n, atol=-1.0) | t.isclose(m, 1.0) | t.hstack([])
t.vstack([]) | t.cat([])
t.cat([m, None]) | t.cat([m, v]) | t.stack([m, v]) | t.eye(-1) | t.linspace(0, 1, -1) | t.arange(1, 0) | t.zeros(-1)
t.full((-1,), 2)
t.narrow(s, 0, 0, 1) | t.roll(s, 0, 0) | t.amax(e) | t.amax(e, 0) | t.argmax(e) | t.max(e) | t.multinomial(i, 2)
t.multinomial(v.abs(), 0)
t.reshape(m, (5, 5)) | m.view(7) | t.squeeze(m, 2) | t.unsqueeze(m, 4) | t.sum(m, (0, 0)) | t.transpose(m, 0, 2)
m[5] | m[0, 0, 0] | m[:, 9] | m["a"]
t.mm(m, v) | t.bmm(m, n) | t.matmul(m, n) | t.dot(m, n) | t.mv(m, n) | m @ n | t.add(m, v) | m + "a"
t.where(m, m, n) | t.masked_fill(m, i, 0)
t.gather(m, 0, i) | t.gather(m, 0, m) | t.scatter(m, 0, j, v) | t.index_select(m, 0, j) | t.index_select(m, 0, i + 5)
t.take(v, i + 9) | t.topk(v, 9)
s.backward(v) | m.backward() | i.requires_grad_() | i.float().requires_grad_().numpy() | m.item() | bool(m) | len(s)
int(m) | list(s) | float(v)
t.quantile(v, 1.5) | t.quantile(v, 0.5, interpolation="odd") | t.linalg.inv(m) | t.linalg.solve(q, v)
t.linalg.cholesky(q - 9) | t.kthvalue(v, 9) | t.mode(e, 0)
t.tensor([1, [2]]) | t.tensor("a") | t.tensor([1]).sub(True) | t.sub(b, b) | -b | t.mean(g) | t.var(g)
t.softmax(g, 0) | t.prod(m, (0, 1)) | t.cumsum(m, 2)
t.scatter_reduce(v, 0, i, w[:3], "add") | t.scatter_reduce(v, 0, i, g, "sum") | t.scatter(v, 0, i, w, reduce="mean")
t.kron(2, m)
"""


def calls(text):
    return [call.strip() for line in text.strip().split("\n") for call in line.split(" | ") if call.strip()]


def run(call, library, make):
    names = {"t": library, **{name: make(array, True) for name, array in REAL.items()}}
    names |= {name: make(array, False) for name, array in WHOLE.items()}
    result = eval(call, names)
    results = list(result) if isinstance(result, tuple | list) else [result]
    total = None
    for number, y in enumerate(results):
        if not getattr(y, "requires_grad", False):
            continue
        weights = np.asarray(np.random.default_rng(number).standard_normal(tuple(y.shape)))
        part = (y * make(weights.astype(str(y.dtype).removeprefix("torch.")), False)).sum()
        total = part if total is None else total + part
    if total is not None:
        total.backward()
    return results, [names[name].grad for name in REAL]


def ours(array, real):
    return mr.tensor(array, requires_grad=real)


def theirs(array, real):
    return torch.tensor(array, requires_grad=real)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", calls(SAME))
def test_same(call):
    found, expected = run(call, mr, ours), run(call, torch, theirs)
    assert len(found[0]) == len(expected[0])
    for a, b in zip(found[0], expected[0], strict=True):
        if isinstance(b, torch.Tensor):
            same(a, b)
        else:
            assert a == b and type(a) is type(b)
    for a, b in zip(found[1], expected[1], strict=True):
        if a is not None and b is not None:
            same(a, b)
        else:  # a gradient of zeros and none are the same
            assert a is None or not a.array.any()
            assert b is None or not b.any()


def same(a, b):
    """NaN and infinities at the same places, the rest within the tolerance."""
    a, b = (np.asarray(x.array if isinstance(x, mr.Tensor) else getattr(x, "detach", lambda x=x: x)()) for x in (a, b))
    assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, a.dtype, b.shape, b.dtype)
    odd = ~np.isfinite(b)
    assert np.array_equal(a[odd], b[odd], equal_nan=True) and np.isfinite(a[~odd]).all()
    assert_close(a[~odd], b[~odd], tolerance=1e-10 if b.dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("call", calls(RAISING))
def test_both_refuse(call):
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError, AssertionError)):
        run(call, torch, theirs)
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError, AssertionError)):
        run(call, mr, ours)
