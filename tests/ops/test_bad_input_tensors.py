"""Wrong input, empty tensors, NaN and types of the operations on tensors: as in torch."""

import warnings

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F
from minires.ops import fold, one_hot, pad, unfold

torch = pytest.importorskip("torch")
from tests.torch_tools import assert_close  # noqa: E402

T = torch.nn.functional


class Functional:
    """nn.functional with the operations that this file is about."""

    fold, one_hot, pad, unfold = staticmethod(fold), staticmethod(one_hot), staticmethod(pad), staticmethod(unfold)


def zeros(lib, *shape, dtype="float32"):
    return lib.zeros(shape, dtype=getattr(lib, dtype))


def whole(lib, values):
    return lib.tensor(values, dtype=lib.int64)


WRONG = {
    "div rounding": lambda lib, f: lib.div(zeros(lib, 2), 2, rounding_mode="up"),
    "fmod by 0": lambda lib, f: lib.fmod(whole(lib, [1]), 0),
    "bits of real numbers": lambda lib, f: zeros(lib, 2) & zeros(lib, 2),
    "not of real numbers": lambda lib, f: ~zeros(lib, 2),
    "isclose of types": lambda lib, f: lib.isclose(zeros(lib, 2), zeros(lib, 2, dtype="float64")),
    "allclose of shapes": lambda lib, f: lib.allclose(zeros(lib, 2), zeros(lib, 3)),
    "clamp of shapes": lambda lib, f: lib.clamp(zeros(lib, 2), zeros(lib, 3)),
    "masked_fill of a mask": lambda lib, f: zeros(lib, 2).masked_fill(whole(lib, [0, 1]), 1),
    "masked_fill of a vector": lambda lib, f: zeros(lib, 2).masked_fill(zeros(lib, 2) > 0, zeros(lib, 2)),
    "masked_fill of shapes": lambda lib, f: zeros(lib, 2).masked_fill(zeros(lib, 3) > 0, 1),
    "lerp of types": lambda lib, f: lib.lerp(zeros(lib, 2), zeros(lib, 2, dtype="float64"), 0.5),
    "frac of integers": lambda lib, f: lib.frac(whole(lib, [1])),
    "scatter of types": lambda lib, f: zeros(lib, 2).scatter(0, whole(lib, [0]), whole(lib, [1])),
    "scatter out of range": lambda lib, f: zeros(lib, 2).scatter(0, whole(lib, [2]), 1.0),
    "scatter of a short source": lambda lib, f: zeros(lib, 3).scatter(0, whole(lib, [0, 1]), zeros(lib, 1)),
    "scatter of axes": lambda lib, f: zeros(lib, 3, 3).scatter(0, whole(lib, [0]), zeros(lib, 1)),
    "scatter_add of real numbers": lambda lib, f: zeros(lib, 3).scatter_add(0, zeros(lib, 1), zeros(lib, 1)),
    "index_select out of range": lambda lib, f: zeros(lib, 3).index_select(0, whole(lib, [3])),
    "index_select of negative": lambda lib, f: zeros(lib, 3).index_select(0, whole(lib, [-1])),
    "index_select of a matrix": lambda lib, f: zeros(lib, 3).index_select(0, whole(lib, [[0]])),
    "index_add of shapes": lambda lib, f: zeros(lib, 3, 2).index_add(0, whole(lib, [0]), zeros(lib, 2, 2)),
    "index_copy of types": lambda lib, f: zeros(lib, 3).index_copy(0, whole(lib, [0]), whole(lib, [1])),
    "take out of range": lambda lib, f: zeros(lib, 3).take(whole(lib, [3])),
    "take of real numbers": lambda lib, f: zeros(lib, 3).take(zeros(lib, 1)),
    "masked_select of a mask": lambda lib, f: zeros(lib, 3).masked_select(zeros(lib, 3)),
    "masked_scatter of too few": lambda lib, f: zeros(lib, 3).masked_scatter(zeros(lib, 3) == 0, zeros(lib, 1)),
    "prod of an axis": lambda lib, f: lib.prod(zeros(lib, 3), 1),
    "cumprod of an axis": lambda lib, f: lib.cumprod(zeros(lib, 3), 1),
    "diff of a number": lambda lib, f: lib.diff(zeros(lib)),
    "median of an empty axis": lambda lib, f: lib.median(zeros(lib, 2, 0), 1),
    "kthvalue of too many": lambda lib, f: lib.kthvalue(zeros(lib, 3), 4),
    "roll of axes": lambda lib, f: lib.roll(zeros(lib, 3), (1, 2), 0),
    "repeat of too few": lambda lib, f: zeros(lib, 2, 3).repeat(2),
    "repeat of less than none": lambda lib, f: zeros(lib, 2).repeat(-1),
    "repeat_interleave of counts": lambda lib, f: lib.repeat_interleave(zeros(lib, 3), whole(lib, [1, 2]), 0),
    "broadcast_to of lengths": lambda lib, f: lib.broadcast_to(zeros(lib, 2), (3,)),
    "broadcast_tensors": lambda lib, f: lib.broadcast_tensors(zeros(lib, 2), zeros(lib, 3)),
    "movedim of axes": lambda lib, f: lib.movedim(zeros(lib, 2, 3), (0, 1), (0,)),
    "movedim twice": lambda lib, f: lib.movedim(zeros(lib, 2, 3), (0, 0), (0, 1)),
    "select out of range": lambda lib, f: zeros(lib, 2).select(0, 2),
    "narrow beyond the end": lambda lib, f: zeros(lib, 3).narrow(0, 2, 2),
    "narrow to less than nothing": lambda lib, f: zeros(lib, 3).narrow(0, 0, -1),
    "unflatten": lambda lib, f: zeros(lib, 6).unflatten(0, (4, 2)),
    "unflatten with an unknown": lambda lib, f: zeros(lib, 6).unflatten(0, (4, -1)),
    "unbind of a number": lambda lib, f: zeros(lib).unbind(),
    "fliplr of a vector": lambda lib, f: lib.fliplr(zeros(lib, 2)),
    "flipud of a number": lambda lib, f: lib.flipud(zeros(lib)),
    "rot90 of a vector": lambda lib, f: lib.rot90(zeros(lib, 2)),
    "rot90 of one axis": lambda lib, f: lib.rot90(zeros(lib, 2, 2), 1, (0,)),
    "meshgrid of matrices": lambda lib, f: lib.meshgrid(zeros(lib, 2, 2), indexing="ij"),
    "meshgrid of a word": lambda lib, f: lib.meshgrid(zeros(lib, 2), indexing="yx"),
    "diagonal of one axis": lambda lib, f: zeros(lib, 2, 2).diagonal(0, 1, 1),
    "diag of three axes": lambda lib, f: lib.diag(zeros(lib, 2, 2, 2)),
    "trace of a vector": lambda lib, f: lib.trace(zeros(lib, 2)),
    "tril of a vector": lambda lib, f: lib.tril(zeros(lib)),
    "mm of vectors": lambda lib, f: lib.mm(zeros(lib, 2), zeros(lib, 2)),
    "bmm of matrices": lambda lib, f: lib.bmm(zeros(lib, 2, 2), zeros(lib, 2, 2)),
    "bmm of batches": lambda lib, f: lib.bmm(zeros(lib, 1, 2, 2), zeros(lib, 3, 2, 2)),
    "mv of matrices": lambda lib, f: lib.mv(zeros(lib, 2, 2), zeros(lib, 2, 2)),
    "dot of matrices": lambda lib, f: lib.dot(zeros(lib, 2, 2), zeros(lib, 2, 2)),
    "outer of matrices": lambda lib, f: lib.outer(zeros(lib, 2, 2), zeros(lib, 2)),
    "addmm of shapes": lambda lib, f: lib.addmm(zeros(lib, 3, 3), zeros(lib, 2, 2), zeros(lib, 2, 2)),
    "einsum of axes": lambda lib, f: lib.einsum("ij->i", zeros(lib, 2)),
    "einsum of lengths": lambda lib, f: lib.einsum("i,i->i", zeros(lib, 2), zeros(lib, 3)),
    "einsum of operands": lambda lib, f: lib.einsum("i,j->ij", zeros(lib, 2)),
    "einsum of letters": lambda lib, f: lib.einsum("i1->i", zeros(lib, 2, 2)),
    "einsum of results": lambda lib, f: lib.einsum("i->ij", zeros(lib, 2)),
    "einsum of a diagonal": lambda lib, f: lib.einsum("ii->i", zeros(lib, 2, 3)),
    "tensordot": lambda lib, f: lib.tensordot(zeros(lib, 2, 3), zeros(lib, 2, 3), 1),
    "bincount of negative": lambda lib, f: lib.bincount(whole(lib, [-1])),
    "bincount of real numbers": lambda lib, f: lib.bincount(zeros(lib, 2)),
    "bincount of weights": lambda lib, f: lib.bincount(whole(lib, [1]), zeros(lib, 2)),
    "histc of no bins": lambda lib, f: lib.histc(zeros(lib, 2), 0),
    "histc of a range": lambda lib, f: lib.histc(zeros(lib, 2), 4, 2, 1),
    "one_hot of a large class": lambda lib, f: f.one_hot(whole(lib, [3]), 3),
    "one_hot of a negative class": lambda lib, f: f.one_hot(whole(lib, [-1])),
    "one_hot of real numbers": lambda lib, f: f.one_hot(zeros(lib, 2)),
    "pad reflect of too much": lambda lib, f: f.pad(zeros(lib, 1, 3), (3, 0), "reflect"),
    "pad circular of too much": lambda lib, f: f.pad(zeros(lib, 1, 3), (4, 0), "circular"),
    "pad reflect of a vector": lambda lib, f: f.pad(zeros(lib, 3), (1, 1), "reflect"),
    "pad reflect of a value": lambda lib, f: f.pad(zeros(lib, 1, 3), (1, 1), "reflect", 2.0),
    "unfold of a small picture": lambda lib, f: f.unfold(zeros(lib, 1, 1, 2, 2), 3),
    "fold of rows": lambda lib, f: f.fold(zeros(lib, 1, 5, 4), 3, 2),
    "fold of columns": lambda lib, f: f.fold(zeros(lib, 1, 4, 5), 3, 2),
    "windows too long": lambda lib, f: zeros(lib, 3).unfold(0, 4, 1),
    "windows without a step": lambda lib, f: zeros(lib, 3).unfold(0, 2, 0),
}
FAMILIES = ((RuntimeError, NotImplementedError), (IndexError,), (TypeError,), (ValueError, RuntimeError))


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_input_raises_as_in_torch(name):
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError, NotImplementedError)) as theirs:
        WRONG[name](torch, T)
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError, NotImplementedError)) as ours:
        WRONG[name](mr, Functional)
    assert any(issubclass(theirs.type, family) and issubclass(ours.type, family) for family in FAMILIES), ours.value


EMPTY = {
    "prod": lambda lib, f: lib.prod(zeros(lib, 0, 3), 0),
    "prod of all": lambda lib, f: lib.prod(zeros(lib, 0)),
    "cumprod": lambda lib, f: lib.cumprod(zeros(lib, 0, 3), 0),
    "erf": lambda lib, f: lib.erf(zeros(lib, 0, 3)),
    "clamp": lambda lib, f: lib.clamp(zeros(lib, 0), zeros(lib, 1), zeros(lib, 1)),
    "scatter": lambda lib, f: zeros(lib, 3).scatter(0, whole(lib, []), zeros(lib, 0)),
    "scatter_add": lambda lib, f: zeros(lib, 3).scatter_add(0, whole(lib, []), zeros(lib, 0)),
    "index_select": lambda lib, f: zeros(lib, 3, 2).index_select(0, whole(lib, [])),
    "index_add": lambda lib, f: zeros(lib, 3, 2).index_add(0, whole(lib, []), zeros(lib, 0, 2)),
    "masked_select": lambda lib, f: zeros(lib, 3).masked_select(zeros(lib, 3) > 0),
    "take": lambda lib, f: zeros(lib, 3).take(whole(lib, [])),
    "roll": lambda lib, f: lib.roll(zeros(lib, 0, 3), 1, 1),
    "repeat": lambda lib, f: zeros(lib, 0, 3).repeat(2, 2),
    "repeat 0 times": lambda lib, f: zeros(lib, 2, 3).repeat(0, 1),
    "tile": lambda lib, f: lib.tile(zeros(lib, 2), (0,)),
    "diagonal": lambda lib, f: zeros(lib, 0, 3).diagonal(),
    "far diagonal": lambda lib, f: zeros(lib, 2, 3).diagonal(5),
    "tril": lambda lib, f: lib.tril(zeros(lib, 0, 3)),
    "bmm": lambda lib, f: lib.bmm(zeros(lib, 0, 2, 3), zeros(lib, 0, 3, 2)),
    "mm over nothing": lambda lib, f: lib.mm(zeros(lib, 2, 0), zeros(lib, 0, 3)),
    "einsum": lambda lib, f: lib.einsum("ij,jk->ik", zeros(lib, 2, 0), zeros(lib, 0, 3)),
    "nonzero": lambda lib, f: lib.nonzero(zeros(lib, 2, 3)),
    "unique": lambda lib, f: lib.unique(zeros(lib, 0)),
    "bincount": lambda lib, f: lib.bincount(whole(lib, [])),
    "bincount of a length": lambda lib, f: lib.bincount(whole(lib, []), minlength=3),
    "histc": lambda lib, f: lib.histc(zeros(lib, 0), 4),
    "count_nonzero": lambda lib, f: lib.count_nonzero(zeros(lib, 0)),
    "median": lambda lib, f: lib.isnan(lib.median(zeros(lib, 0))),
    "pad replicate of no rows": lambda lib, f: f.pad(zeros(lib, 0, 2, 3), (1, 1), "replicate"),
    "unfold": lambda lib, f: f.unfold(zeros(lib, 0, 2, 3, 3), 2),
    "fold": lambda lib, f: f.fold(zeros(lib, 0, 8, 4), 3, 2),
    "diff": lambda lib, f: lib.diff(zeros(lib, 1)),
    "movedim": lambda lib, f: lib.movedim(zeros(lib, 0, 3), 0, 1),
    "nan_to_num": lambda lib, f: lib.nan_to_num(zeros(lib, 0)),
    "where": lambda lib, f: lib.where(zeros(lib, 0) > 0)[0],
}


@pytest.mark.parametrize("name", list(EMPTY))
def test_empty_tensors_as_in_torch(name):
    assert_close(EMPTY[name](mr, Functional), EMPTY[name](torch, T))


nan, inf = float("nan"), float("inf")
SPECIAL = [1.0, -1.0, 0.0, nan, inf, -inf, 30.0, -0.0, 0.5]
NAMES = """
    exp2 expm1 log1p log2 log10 rsqrt sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc floor ceil round
    trunc sign frac nan_to_num sinc logit deg2rad
""".split()  # noqa: SIM905
MORE = {
    "max of all": lambda lib, x: x.max(),
    "min of all": lambda lib, x: x.min(),
    "amax": lambda lib, x: x.amax(),
    "max of an axis": lambda lib, x: x.max(0)[0],
    "median": lambda lib, x: x.median(),
    "median of an axis": lambda lib, x: x.median(0)[0],
    "prod": lambda lib, x: x[:3].prod(),
    "clamp to tensors": lambda lib, x: lib.clamp(x, lib.zeros_like(x), lib.ones_like(x)),
    "fmod": lambda lib, x: lib.fmod(x, 2.0),
    "div floor": lambda lib, x: lib.div(x, 2.0, rounding_mode="floor"),
    "div trunc": lambda lib, x: lib.div(x, 2.0, rounding_mode="trunc"),
    "atan2": lambda lib, x: lib.atan2(x, lib.ones_like(x)),
    "hypot": lambda lib, x: lib.hypot(x, lib.ones_like(x)),
    "logaddexp": lambda lib, x: lib.logaddexp(x, lib.ones_like(x)),
    "xlogy": lambda lib, x: lib.xlogy(x, lib.ones_like(x) * 2),
    "masked_fill": lambda lib, x: x.masked_fill(lib.isnan(x), 0.0),
    "lerp": lambda lib, x: lib.lerp(x, lib.ones_like(x), 0.3),
}


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_nan_and_infinity_as_in_torch(name):
    compute = MORE.get(name, lambda lib, x: getattr(lib, name)(x))
    for dtype in (np.float32, np.float64):
        array = np.array(SPECIAL if name != "logit" else [*SPECIAL[:-2], 0.5], dtype)  # torch's slope at -0 is inf
        x, y = mr.tensor(array, requires_grad=True), torch.from_numpy(array.copy()).requires_grad_()
        ours, theirs = compute(mr, x), compute(torch, y)
        assert np.allclose(ours.tolist(), theirs.tolist(), rtol=1e-5, atol=1e-7, equal_nan=True), (ours, theirs)
        ours.backward(mr.ones_like(ours))
        theirs.backward(torch.ones_like(theirs))
        assert np.allclose(x.grad.tolist(), y.grad.tolist(), rtol=1e-4, atol=1e-6, equal_nan=True), (x.grad, y.grad)


TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
OF_ONE = {name: (lambda lib, x, name=name: getattr(lib, name)(x)) for name in NAMES}
OF_ONE |= {
    "prod": lambda lib, x: lib.prod(x),
    "cumprod": lambda lib, x: lib.cumprod(x, 0),
    "clamp": lambda lib, x: lib.clamp(x, 0.5, 1.5),
    "clamp to int": lambda lib, x: lib.clamp(x, 1, 2),
    "masked_fill": lambda lib, x: x.masked_fill(x > 1, 1),
    "roll": lambda lib, x: lib.roll(x, 1),
    "repeat": lambda lib, x: x.repeat(2),
    "diag": lambda lib, x: lib.diag(x),
    "tril": lambda lib, x: lib.tril(lib.diag(x)),
    "outer": lambda lib, x: lib.outer(x, x),
    "diff": lambda lib, x: lib.diff(x),
    "unique": lambda lib, x: lib.unique(x),
    "count_nonzero": lambda lib, x: lib.count_nonzero(x),
    "median": lambda lib, x: lib.median(x),
    "atan2": lambda lib, x: lib.atan2(x, x),
    "div trunc": lambda lib, x: lib.div(x, 2, rounding_mode="trunc"),
    "fmod": lambda lib, x: lib.fmod(x, 2),
    "where of numbers": lambda lib, x: lib.where(x > 1, 1.5, 2.0),
    "where of a number": lambda lib, x: lib.where(x > 1, x, 2.5),
    "scatter": lambda lib, x: x.scatter(0, whole(lib, [0]), 1),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_as_in_torch(kind):
    wrong = []
    for name, compute in OF_ONE.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = compute(torch, torch.tensor([1, 2], dtype=getattr(torch, kind)))
        except (RuntimeError, NotImplementedError, ValueError):
            continue  # torch has no kernel for this type; we may compute or refuse
        ours = compute(mr, mr.tensor([1, 2], dtype=getattr(mr, kind)))
        same = str(theirs.dtype).removeprefix("torch.") == str(ours.dtype)
        if not same or not np.allclose(np.array(ours.tolist(), float), np.array(theirs.tolist(), float), 1e-3,
                                       equal_nan=True):  # fmt: skip
            wrong.append((name, ours, theirs))
    assert wrong == []


def test_functional_has_them():
    for name in ("fold", "one_hot", "unfold", "pad"):
        assert getattr(F, name) is getattr(Functional, name)
